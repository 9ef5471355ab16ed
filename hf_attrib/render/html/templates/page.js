"use strict";
(() => {
  const STRONGEST = 10;
  // As in palette.py: of so many scores, if they are not few, one may be stronger than full colour,
  // where the others would be below this fraction of it; which is so many times the strongest of
  // these, and at least this fraction of the largest.
  const ONE_IN = 40;
  const FEW_SCORES = 10;
  const PALE = 0.1;
  const TIMES = 2.5;
  const LEAST = 0.01;
  const SHADES = 10;
  const CONTEXT = 18; // characters
  // Scores of a selection are shaded relative to its largest, but noise is not blown up.
  const FAINTEST = 0.1;
  // Pixels: of a cell that has room for a label, and of a whole matrix whose cells have none.
  const CELL = 16;
  const MATRIX = { height: 600, names: 140 };
  const FEW = 60; // columns that all get a label, scrolled if need be

  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const data = JSON.parse($("#data").textContent);
  const panels = data.panels.map(unpack);
  const options = $$("#rows .row");
  const listbox = $("#rows");
  const tip = $("#tip");

  let pinned = null; // [anchor, head] in rows; null is the whole response
  let preview = null; // the row under the pointer

  // ---- data

  function unpack(panel, number) {
    const root = $(`.panel[data-panel="${number}"]`);
    const elements = $$(".unit", root);
    const made = { ...panel, number, root, elements: [] };
    made.scores = decode(panel.scores, Float32Array);
    made.errors = decode(panel.errors, Float32Array);
    for (const name of ["totals", "sum", "sumErrors", "difference", "probability", "resolution"]) {
      made[name] = decode(panel[name], Float64Array);
    }
    for (const element of elements) made.elements[element.dataset.i] = element;
    const paired = data.pairs && new Set(data.pairs.map((pair) => pair[number]));
    made.isPaired = (i) => !paired || paired.has(i);
    made.plain = made.elements.map((element, i) => {
      const kept = ["quiet", "written"].filter((name) => element.classList.contains(name));
      const quiet = kept.map((name) => ` ${name}`).join("");
      return `unit${quiet}${made.isPaired(i) ? "" : " unpaired"}`;
    });
    return made;
  }

  function decode(text, Type) {
    if (text === null) return null;
    return new Type(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
  }

  function rowOf(panel, t, values = panel.scores) {
    const width = panel.units.length;
    return values.subarray(t * width, (t + 1) * width);
  }

  function shownRange() {
    if (preview !== null) return [preview, preview];
    return pinned && [Math.min(...pinned), Math.max(...pinned)];
  }

  function scoresOf(panel, range) {
    if (!range) return panel.totals;
    const [first, last] = range;
    return first === last ? rowOf(panel, first) : sumsOf(panel, range, panel.scores);
  }

  function sumsOf(panel, range, values) {
    const [first, last] = range ?? [0, data.rows.length - 1];
    const sums = new Float64Array(panel.units.length);
    for (let t = first; t <= last; t++) rowOf(panel, t, values).forEach((x, i) => (sums[i] += x));
    return sums;
  }

  function viewOf(panel, range) {
    const scores = scoresOf(panel, range);
    const sizes = [...scores].map(Math.abs).filter((size) => size && Number.isFinite(size)).sort((a, b) => b - a);
    const [largest = 0] = sizes;
    const limit = Math.max(fullColour(sizes), range ? FAINTEST * panel.limit : 0);
    const longest = Math.max(largest, range ? FAINTEST * panel.strongest : 0); // bars have no end but this
    const errors = panel.errors && sumsOf(panel, range, panel.errors); // at most, where added up
    return { scores, errors, largest, limit, longest };
  }

  /** The magnitude from which on a score has the full colour, of sizes with the largest first. */
  function fullColour(sizes) {
    if (!sizes.length) return 0;
    const rest = sizes[Math.min(Math.ceil(sizes.length / ONE_IN), sizes.length - 1)];
    return sizes.length < FEW_SCORES || rest >= PALE * sizes[0] ? sizes[0] : Math.max(TIMES * rest, LEAST * sizes[0]);
  }

  function words({ largest, limit }) {
    const full = `full colour from ${digits(limit, limit, false)}`;
    return largest > limit ? `${full}; underlined: stronger, up to ${digits(largest, limit, false)}` : full;
  }

  function written(panel, i) {
    const { scores, errors, largest, limit } = panel.view;
    // Digits for those that are many, not for one that stands out.
    return digits(scores[i], Math.min(largest, limit), panel.signed) + (errors ? errorBar(errors[i]) : "");
  }

  function sumOf(values, range) {
    const [first, last] = range ?? [0, values.length - 1];
    return values.slice(first, last + 1).reduce((a, b) => a + b, 0);
  }

  // ---- words

  function digits(score, limit, signed) {
    if (Number.isNaN(score)) return "nan";
    const sign = signed && score > 0 ? "+" : "";
    if (!Number.isFinite(score)) return score > 0 ? `${sign}inf` : "-inf";
    if (score === 0) return "0";
    if (limit < 1e-3 || limit >= 1e5) return sign + score.toExponential(1);
    return sign + score.toFixed(Math.max(0, 2 - Math.floor(Math.log10(limit))));
  }

  function general(x, places = 4) {
    return Number.isFinite(x) ? String(Number(x.toPrecision(places))) : digits(x, 1, false);
  }

  const errorBar = (error) => ` ± ${general(error, 2)}`;

  function chance(p) {
    if (Number.isNaN(p)) return "nan";
    return p >= 0.01 || p === 0 ? p.toFixed(2) : p.toExponential(0);
  }

  function percent(fraction) {
    const value = 100 * fraction;
    if (!Number.isFinite(value)) return digits(value, 1, false);
    if (value < 0.05) return "<0.1 %";
    return value < 100 ? `${value.toFixed(1)} %` : `${general(value)} %`;
  }

  function nameOf(range) {
    if (!range) return data.whole;
    const [first, last] = range;
    if (first === last) return `“${data.rows[first]}”`;
    return `“${data.rows[first]}” to “${data.rows[last]}”`;
  }

  function placeOf(panel, i) {
    const [first, last] = panel.spans[i];
    const place = first === last ? `input ${first}` : `inputs ${first} to ${last}`;
    return panel.isPaired(i) ? place : `${place}, no counterpart`;
  }

  function factsOf(panel, range) {
    const count = range ? range[1] - range[0] + 1 : data.rows.length;
    const facts = [];
    const product = sumOf(panel.probability.map(Math.log), range);
    facts.push([count === 1 ? "probability" : "product of probabilities", chance(Math.exp(product))]);
    const sum = sumOf(panel.sum, range);
    const error = panel.sumErrors ? errorBar(sumOf(panel.sumErrors, range)) : "";
    if (!panel.complete) return [...facts, ["sum of scores", general(sum) + error]];
    const difference = sumOf(panel.difference, range);
    const gap = Math.abs(sum - difference) / Math.max(Math.abs(difference), panel.resolution[0]);
    const [first, last] = range ?? [0, data.rows.length - 1];
    const converged = panel.converged.slice(first, last + 1).filter(Boolean).length;
    const missed = converged < count;
    const state = count === 1 ? panel.states[first] : `${missed ? "!" : "✓"} ${converged} of ${count}`;
    return [
      ...facts,
      [panel.identity, general(difference)],
      ["sum of scores", general(sum) + error],
      ["gap", percent(gap)],
      ["converged", state, missed],
    ];
  }

  // ---- drawing

  function make(tag, { text, ...properties } = {}, ...children) {
    const element = Object.assign(document.createElement(tag), properties);
    if (text !== undefined) element.textContent = text;
    element.append(...children);
    return element;
  }

  /** The shade of a finite score: none for next to nothing, up to SHADES for the largest. */
  function level(score, limit) {
    return limit ? Math.min(Math.floor((Math.abs(score) / limit) * SHADES + 0.5), SHADES) : 0;
  }

  function shade(score, limit, signed, least = 0) {
    if (!Number.isFinite(score)) return "odd";
    const found = Math.max(level(score, limit), least);
    const beyond = Math.abs(score) > limit ? " beyond" : "";
    return found ? `${!signed ? "size" : score < 0 ? "opposes" : "supports"} l${found}${beyond}` : "";
  }

  function paint(panel) {
    const { scores, limit } = panel.view;
    panel.elements.forEach((element, i) => {
      const wanted = `${panel.plain[i]} ${shade(scores[i], limit, panel.signed)}`.trim();
      if (element.className !== wanted) element.className = wanted;
    });
    $(".low", panel.root).textContent = panel.signed ? digits(-limit, limit, true) : "0";
    $(".high", panel.root).textContent = digits(limit, limit, panel.signed);
    $(".words", panel.root).textContent = words(panel.view);
  }

  function ranked(scores, count) {
    const size = (i) => (Number.isFinite(scores[i]) ? Math.abs(scores[i]) : Infinity);
    const order = [...scores.keys()].filter((i) => scores[i] !== 0);
    return order.sort((a, b) => size(b) - size(a)).slice(0, count);
  }

  /** What stands before an input without a name, to tell its like apart. */
  function before(panel, i) {
    if (panel.units[i].length > CONTEXT || $(".name", panel.elements[i])) return "";
    let text = "";
    let node = panel.elements[i].previousSibling;
    for (; node && text.length < CONTEXT; node = node.previousSibling) text = node.textContent + text;
    const characters = [...text.replace(/[\s⏎]+/g, " ")];
    const end = characters.slice(-CONTEXT).join("");
    return (characters.length > CONTEXT ? end.replace(/^\S*\s/, "") : end).trimStart(); // no half a word
  }

  function entry(panel, i) {
    const { scores, limit, longest } = panel.view;
    const bar = make("i", { className: shade(scores[i], limit, panel.signed, 1) });
    bar.style.width = `${100 * Math.min(1, Math.abs(scores[i]) / longest || 0)}%`;
    const button = make(
      "button",
      { type: "button", title: placeOf(panel, i) },
      make(
        "span",
        { className: "input" },
        make("bdi", { className: "before", text: before(panel, i) }),
        make("bdi", { text: panel.units[i] }),
      ),
      make("span", { className: "track" }, bar),
      make("span", { className: "number", text: written(panel, i) }),
    );
    const element = panel.elements[i];
    button.addEventListener("mouseenter", () => element.classList.add("pointed"));
    button.addEventListener("mouseleave", () => element.classList.remove("pointed"));
    button.addEventListener("click", () => reveal(element));
    return make("li", {}, button);
  }

  function reveal(element) {
    element.scrollIntoView({ block: "center" });
    element.classList.add("pointed");
    setTimeout(() => element.classList.remove("pointed"), 1500);
  }

  function listing(panel) {
    const shown = ranked(panel.view.scores, STRONGEST / panels.length);
    const className = panel.errors ? "sampled" : "";
    const list = make("ol", { className }, ...shown.map((i) => entry(panel, i)));
    return panels.length > 1 ? [make("h3", { text: panel.name }), list] : [list];
  }

  /** The facts of all panels, a line each: a fact that a panel lacks is left blank. */
  function numbers(range) {
    const facts = panels.map((panel) => factsOf(panel, range));
    const most = Math.max(...facts.map((own) => own.length));
    const places = Array.from({ length: most }, (_, i) => facts.flatMap((own) => own.slice(i, i + 1)));
    const names = [...new Set(places.flat().map(([name]) => name))]; // alike ones next to each other
    const lines = names.map((name) => [name, ...facts.map((own) => own.find(([n]) => n === name))]);
    const heads = panels.length > 1 ? [["", ...panels.map((panel) => ["", panel.name])]] : [];
    return definitions([...heads, ...lines], panels.length > 1 ? "two" : "");
  }

  function definitions(lines, className) {
    const cells = lines.flatMap(([name, ...values]) => [
      make("dt", { text: name }),
      ...values.map((fact) => {
        const [, value, warned] = fact ?? ["", ""];
        return make("dd", { text: value, className: warned ? "warned" : "" });
      }),
    ]);
    return make("dl", { className }, ...cells);
  }

  /** How alike the panels are, which is known of the whole and of each row, not of a span. */
  function likeness(range) {
    const known = data.agreement;
    const values = range ? range[0] === range[1] && known?.rows[range[0]] : known?.total;
    if (!values) return [];
    const lines = known.measures.map((name, i) => [name, [name, values[i]]]);
    return [make("h3", { text: "Agreement of a and b" }), definitions(lines, "")];
  }

  function mark(range) {
    const selected = pinned && [Math.min(...pinned), Math.max(...pinned)];
    options.forEach((option, t) => {
      const inside = Boolean(selected) && t >= selected[0] && t <= selected[1];
      option.setAttribute("aria-selected", inside);
      option.classList.toggle("previewed", t === preview);
      option.classList.toggle("active", Boolean(pinned) && t === pinned[1] && pinned[0] !== pinned[1]);
    });
    if (pinned) listbox.setAttribute("aria-activedescendant", options[pinned[1]].id);
    else listbox.removeAttribute("aria-activedescendant");
    $("#whole").setAttribute("aria-pressed", range === null);
  }

  function draw() {
    const range = shownRange();
    for (const panel of panels) {
      panel.view = viewOf(panel, range);
      paint(panel);
    }
    mark(range);
    $("#chosen-title").textContent = nameOf(range);
    $(".chosen .numbers").replaceChildren(numbers(range), ...likeness(range));
    $(".strongest .lists").replaceChildren(...panels.flatMap(listing));
    for (const panel of panels) outline(panel, range);
  }

  function announce() {
    const range = shownRange();
    const told = panels.map((panel) => {
      const facts = factsOf(panel, range).map(([name, value]) => `${name} ${value}`);
      const inputs = ranked(panel.view.scores, 3);
      const best = inputs.map((i) => `${panel.units[i]} ${written(panel, i)}`);
      return `${panel.name ?? ""} ${facts.join(", ")}. Strongest: ${best.join(", ")}.`.trim();
    });
    $("#status").textContent = `${nameOf(range)}: ${told.join(" ")}`;
  }

  // ---- selection

  function select(anchor, head) {
    pinned = anchor === null ? null : [anchor, head];
    preview = null;
    draw();
    announce();
    if (pinned) keepInView(options[head]);
  }

  /** Scroll within the response only: the page stays where the reader looks. */
  function keepInView(option) {
    const below = option.offsetTop + option.offsetHeight - listbox.clientHeight;
    listbox.scrollTop = Math.min(Math.max(listbox.scrollTop, below), option.offsetTop);
  }

  function choose(t, extend) {
    const alone = pinned && pinned[0] === t && pinned[1] === t;
    if (extend && pinned) select(pinned[0], t);
    else if (alone) select(null);
    else select(t, t);
  }

  function look(t) {
    if (t === preview || t === undefined) return; // between two tokens the first one stays
    preview = t;
    draw();
  }

  function step(key, extend) {
    const last = options.length - 1;
    const from = pinned ? pinned[1] : null;
    const targets = {
      ArrowRight: from === null ? 0 : Math.min(from + 1, last),
      ArrowLeft: from === null ? last : Math.max(from - 1, 0),
      Home: 0,
      End: last,
    };
    if (!(key in targets) || last < 0) return false;
    select(extend && pinned ? pinned[0] : targets[key], targets[key]);
    return true;
  }

  /** Arrow keys work wherever nothing else needs them, Home and End in the response only. */
  function onKey(event) {
    const taken = event.target.closest("details, .scroll") || event.ctrlKey || event.altKey || event.metaKey;
    const jumps = event.key === "Home" || event.key === "End";
    if (taken || (jumps && event.target !== listbox)) return;
    if (event.key === "Escape") select(null);
    else if (step(event.key, event.shiftKey)) listbox.focus({ preventScroll: true });
    else return;
    event.preventDefault();
  }

  const rowAt = (event) => {
    const option = event.target.closest(".row");
    return option ? Number(option.dataset.i) : undefined;
  };

  listbox.addEventListener("mouseover", (event) => look(rowAt(event)));
  listbox.addEventListener("mouseleave", () => look(null));
  listbox.addEventListener("mousedown", (event) => event.shiftKey && event.preventDefault());
  listbox.addEventListener("click", (event) => {
    const t = rowAt(event);
    if (t !== undefined) choose(t, event.shiftKey);
  });
  $("#whole").addEventListener("click", () => select(null));
  document.addEventListener("keydown", onKey);

  // ---- reading single scores

  function scoreLine(panel, i, score) {
    const name = panel.name ? `${panel.name}: ` : "";
    return make("div", {}, name, make("bdi", { text: panel.units[i] }), `  ${score}`);
  }

  function showTip(x, y, scores, place) {
    tip.replaceChildren(...scores, make("div", { text: place }));
    tip.hidden = false;
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(4, Math.min(x, innerWidth - width - 4))}px`;
    tip.style.top = `${y - height - 6 < 0 ? y + 26 : y - height - 6}px`;
  }

  function hideTip() {
    tip.hidden = true;
  }

  /** An input of one panel and what is the same in the other one, if there are two. */
  function counterparts(panel, i) {
    const pair = data.pairs?.find((one) => one[panel.number] === i);
    return pair ? pair.map((unit, number) => [panels[number], unit]) : [[panel, i]];
  }

  function point(panel, i) {
    const found = counterparts(panel, i);
    if (found.length > 1) for (const [own, unit] of found) own.elements[unit].classList.add("pointed");
    const box = panel.elements[i].getClientRects()[0];
    const scores = found.map(([own, unit]) => scoreLine(own, unit, written(own, unit)));
    showTip(box.left, box.top, scores, `${placeOf(panel, i)}, for ${nameOf(shownRange())}`);
  }

  function unpoint() {
    hideTip();
    for (const element of $$(".unit.pointed")) element.classList.remove("pointed");
  }

  for (const panel of panels) {
    panel.root.addEventListener("mouseover", (event) => {
      const element = event.target.closest(".unit");
      unpoint();
      if (element) point(panel, Number(element.dataset.i));
    });
    panel.root.addEventListener("mouseleave", unpoint);
  }
  document.addEventListener("scroll", hideTip, { capture: true, passive: true });

  // ---- matrix

  /** Colours of a matrix's scale as bytes, from lowest to highest, and that of odd scores. */
  function palette(root) {
    const shades = $$(".shades i, .alarm", root);
    const pen = make("canvas", { width: shades.length, height: 1 }).getContext("2d");
    shades.forEach((element, x) => {
      pen.fillStyle = getComputedStyle(document.body).backgroundColor;
      pen.fillRect(x, 0, 1, 1);
      pen.fillStyle = getComputedStyle(element).backgroundColor;
      pen.fillRect(x, 0, 1, 1);
    });
    return new Uint32Array(pen.getImageData(0, 0, shades.length, 1).data.buffer);
  }

  function fill(panel, canvas) {
    const colours = palette(canvas.closest("details"));
    const zero = panel.signed ? SHADES + 1 : 0;
    const odd = colours.length - 1;
    const pen = canvas.getContext("2d");
    const image = pen.createImageData(canvas.width, canvas.height);
    const pixels = new Uint32Array(image.data.buffer);
    panel.scores.forEach((score, k) => {
      const size = level(score, panel.limit) + (Math.abs(score) > panel.limit);
      const steps = size * (panel.signed && score < 0 ? -1 : 1);
      pixels[k] = colours[Number.isFinite(score) ? zero + steps : odd];
    });
    pen.putImageData(image, 0, 0);
  }

  function cellSize(panel, root) {
    const labelled = data.rows.length * CELL <= 1.6 * MATRIX.height;
    const height = labelled ? CELL : Math.max(2, Math.floor(MATRIX.height / data.rows.length));
    if (panel.units.length <= FEW) return [CELL, height];
    const room = root.clientWidth - (labelled ? MATRIX.names : 4);
    return [Math.max(1, Math.min(Math.floor(room / panel.units.length), CELL)), height];
  }

  function labels(className, texts, axis, size) {
    const made = texts.map((text) => {
      const element = make("bdi", { text });
      element.style[axis] = `${size}px`;
      if (axis === "height") element.style.lineHeight = `${size}px`;
      return element;
    });
    return make("div", { className }, ...made);
  }

  function openMatrix(panel, root) {
    const grid = $(".grid", root);
    const [width, height] = cellSize(panel, root);
    if (panel.matrix?.width === width && panel.matrix.height === height) return;
    const canvas = make("canvas", { width: panel.units.length, height: data.rows.length });
    canvas.style.width = `${width * canvas.width}px`;
    canvas.style.height = `${height * canvas.height}px`;
    const band = make("div", { className: "band", hidden: true });
    panel.matrix = { canvas, band, width, height };
    grid.replaceChildren();
    if (width === CELL) grid.append(labels("heads", panel.units, "width", width));
    if (height === CELL) grid.append(labels("names", data.rows, "height", height));
    grid.append(make("div", { className: "sheet" }, canvas, band));
    fill(panel, canvas);
    outline(panel, shownRange());
    listen(panel, canvas);
  }

  function listen(panel, canvas) {
    const cell = (event) => {
      const box = canvas.getBoundingClientRect();
      const i = Math.floor(((event.clientX - box.left) / box.width) * canvas.width);
      const t = Math.floor(((event.clientY - box.top) / box.height) * canvas.height);
      return [Math.min(Math.max(t, 0), canvas.height - 1), Math.min(Math.max(i, 0), canvas.width - 1)];
    };
    canvas.addEventListener("mousemove", (event) => {
      const [t, i] = cell(event);
      const error = panel.errors ? errorBar(rowOf(panel, t, panel.errors)[i]) : "";
      const score = digits(rowOf(panel, t)[i], panel.limit, panel.signed) + error;
      const place = `${placeOf(panel, i)}, for “${data.rows[t]}”`;
      showTip(event.clientX + 12, event.clientY, [scoreLine(panel, i, score)], place);
    });
    canvas.addEventListener("mouseleave", hideTip);
    canvas.addEventListener("click", (event) => choose(cell(event)[0], event.shiftKey));
  }

  function outline(panel, range) {
    if (!panel.matrix) return;
    const { band, height } = panel.matrix;
    band.hidden = !range;
    if (!range) return;
    band.style.top = `${range[0] * height}px`;
    band.style.height = `${(range[1] - range[0] + 1) * height}px`;
  }

  for (const root of $$("details.matrix")) {
    const panel = panels[root.dataset.panel];
    const open = () => root.open && panel.scores.length && openMatrix(panel, root);
    root.addEventListener("toggle", open);
    new ResizeObserver(open).observe(root);
  }

  // ---- light and dark

  const night = matchMedia("(prefers-color-scheme: dark)");
  const followsSystem = new AbortController();
  let dark = night.matches;

  function dress(chosen) {
    dark = chosen;
    document.documentElement.style.colorScheme = dark ? "dark" : "light";
    $("#theme").textContent = dark ? "Light" : "Dark";
    for (const panel of panels) if (panel.matrix) fill(panel, panel.matrix.canvas);
  }

  night.addEventListener("change", (event) => dress(event.matches), followsSystem);
  addEventListener("scheme", (event) => {
    // A notebook has a light of its own: at dusk, when the system's changes, its frame must not.
    followsSystem.abort();
    dress(event.detail === "dark");
  });
  $("#theme").addEventListener("click", () => dress(!dark));

  // ---- what works by scripts only shows now

  for (const element of $$("#theme, #whole, .chosen, .strongest")) element.hidden = false;
  dress(dark);
  draw();
})();
