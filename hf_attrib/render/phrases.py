"""What every view says of a result in words: how it was made, and whether it adds up."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from hf_attrib.integration import ROW_TOLERANCE
from hf_attrib.render.safe_text import label, visible
from hf_attrib.results import Agreement, Attribution, Interactions, Run, Status
from hf_attrib.robustness import AttackRun, Robustness

__all__ = [
    "about",
    "about_attack",
    "agreement",
    "bracket",
    "completeness",
    "cost",
    "count",
    "gap",
    "line",
    "mark",
    "meaning",
    "measures",
    "of_pairs",
    "pair_sums",
    "probability",
    "shared",
    "state",
    "summary",
    "unconverged",
]

#: Targets that say how likely the generated token is.
_LIKELIHOODS = ("log_odds", "log_prob", "prob")
#: Characters of an answer that is quoted.
_LONGEST = 60
#: Targets of a token's logit or probability, which a contrast sets against those of another token.
_OF_TOKEN = (*_LIKELIHOODS, "logit", "margin")
#: What is known of a row, behind a mark; marks alone stand where there is no room for words.
_STATES: Mapping[Status, str] = {
    "converged": "✓ yes",
    "sum converged": "✓ sum",
    "below resolution": "~ too small",
    "row uncertain": "? sum only",
    "not converged": "! no",
    "no identity": "",
}


def agreement(values: Agreement) -> list[str]:
    """Write rank correlations, the cosine, and the overlap.

    Args:
        values: how alike two lists of scores are.
    """
    numbers = [values.spearman, values.kendall, values.cosine]
    overlap = "nan" if math.isnan(values.overlap) else f"{100 * values.overlap:.0f} %"
    return [*("nan" if math.isnan(x) else f"{x:+.2f}" for x in numbers), overlap]


def measures(k: int) -> list[str]:
    """Return what :func:`agreement` writes.

    Args:
        k: how many of the strongest inputs the overlap looks at.
    """
    return ["Spearman", "Kendall", "cosine", f"top {k} in common"]


def shared(runs: Sequence[Run]) -> tuple[list[str], list[list[str]]]:
    """Return how all results were made, the model first, and how each of them alone.

    Args:
        runs: their records.
    """
    every = [[line(run.model), *about(run)] for run in runs]
    common = [part for part in every[0] if all(part in parts for parts in every)]
    return common, [[part for part in parts if part not in common] for parts in every]


def line(text: str) -> str:
    """Make text from outside safe, on one line.

    Args:
        text: any text.
    """
    return visible(" ".join(text.split("\n")))


def about(run: Run) -> list[str]:
    """Return how a result was made, besides the model: method, target, baseline, what is unusual.

    Args:
        run: the record of the run.
    """
    fields = ", ".join(f"{k}={v}" for k, v in run.method_fields.items() if v is not None)
    parts = [f"{run.method}({fields})" if fields else run.method]
    contrast = _contrast(run)
    parts.append(f"target {run.target}" + (f" less that of {contrast}" if contrast else ""))
    if run.baseline is not None:
        parts.append(f"baseline {run.baseline}")
    if run.attribute_to != "prompt":
        parts.append(f"attributed to {run.attribute_to}")
    if run.movable != "content":
        parts.append(f"movable {run.movable}")
    if eps := run.sizes.get("eps"):
        ends = dict.fromkeys(f"{end:.3g}" for end in (min(eps), max(eps)))
        parts.append(f"within {' to '.join(ends)} embedding scales")
    return [line(part) for part in parts]


def about_attack(run: AttackRun) -> list[str]:
    """Return how tokens were attacked, besides the model.

    Args:
        run: the record of the attack.
    """
    fields = ", ".join(f"{k}={v}" for k, v in run.attack_fields.items() if v is not None)
    bound = "each coordinate" if run.norm == "linf" else "the whole perturbation"
    parts = [
        f"{run.attack}({fields})" if fields else run.attack,
        f"radii up to {run.eps:g} embedding scales (of {run.scale:.3g}) for {bound}",
    ]
    if run.baseline is not None:
        parts.append(f"baseline {run.baseline}")
    if run.attribute_to != "prompt":
        parts.append(f"attacked: {run.attribute_to}")
    if run.movable != "content":
        parts.append(f"movable {run.movable}")
    return [line(part) for part in parts]


def summary(result: Robustness) -> str:
    """Return the weakest token of an answer in a sentence.

    Args:
        result: what was found.
    """
    weakest = int(result.radius.argmin())
    radius, to = float(result.radius[weakest]), result.flips_to_piece(weakest)
    if to is None:
        return f"no token flipped within {result.run.eps:g}"
    token = label(result.response.pieces[weakest])
    if radius == 0:
        return f"“{token}” is not the likeliest even unattacked: “{label(to)}” is"
    return f"the weakest token is “{token}”, which flips to “{label(to)}” at {radius:.3g}"


def bracket(result: Robustness, token: int) -> str:
    """Write between which radii a token flips.

    Args:
        result: what was found.
        token: which of the T generated tokens.
    """
    failed, radius = float(result.failed[token]), float(result.radius[token])
    if math.isinf(radius):
        return f"> {result.run.eps:g}"
    if failed == 0:  # of the token as it is, or because no radius was tried in vain
        return "0" if radius == 0 else f"<= {radius:.3g}"
    return f"{failed:.3g} to {radius:.3g}"


def _contrast(run: Run) -> str | None:
    """Name what the generated tokens are contrasted with."""
    if run.contrast_text is not None:
        return _quoted(run.contrast_text)
    if run.contrast_pieces is None:
        return None
    pieces = set(run.contrast_pieces)
    return repr(pieces.pop()) if len(pieces) == 1 else "another token each"


def _quoted(text: str) -> str:
    return repr(text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…")


def why(result: Attribution | Interactions) -> list[str]:
    """Return why this answer and not that one, if one is explained against another.

    Args:
        result: what has the scores.
    """
    if result.run.fork is None:
        return []
    own = _quoted(result.response.piece(result.rows[0]))
    return [line(f"why {own} and not {_contrast(result.run)}")]


def meaning(result: Attribution | Interactions) -> str:
    """Return what the sign of a score means, which depends on the target.

    Args:
        result: what has the scores.
    """
    run = result.run
    if not run.signed:
        return "scores without sign: how much a token mattered, not which way"
    single = all(span.stop - span.start == 1 for span in result.rows)
    generated = "the generated token" if single else "the generated tokens"
    contrast = _contrast(run)
    if contrast and run.target in _OF_TOKEN:
        return line(f"+ favours {generated} over {contrast}, - the other way")
    if contrast:
        return line(f"+ raised {run.target} less that of {contrast}, - lowered it")
    if run.target in _LIKELIHOODS:
        return f"+ made {generated} more likely, - less"
    if run.target == "entropy":
        return f"+ made the next {'token' if single else 'tokens'} more uncertain, - less"
    return line(f"+ raised {run.target}, - lowered it")


def of_pairs(result: Interactions) -> str:
    """Return what main effects and pairs are, and what their signs mean.

    Args:
        result: what was found.
    """
    alone = "Shapley value" if result.run.identity is None else "what an input does by itself"
    beyond = "what two inputs do together beyond what each does alone, each pair in two places"
    return f"diagonal, underlined: {alone}; pairs: {beyond}; {meaning(result)}"


def pair_sums(result: Interactions) -> str:
    """Return what main effects and pairs sum to, and what they should.

    Args:
        result: what was found.
    """
    run, change = result.run, float((result.end_value - result.start_value).sum())
    if run.identity is None:
        main = float(result.main.sum())
        return (
            "no completeness identity: the pairs of this index need not add up to anything; main "
            f"effects alone sum to {main:.4g}, the change of f is {change:.4g}"
        )
    what = "main effects and pairs" if result.token is None else "all inputs at the same nodes"
    sums = f"{what} sum to {float(result.sums.sum()):.4g}, {run.identity} is {change:.4g}"
    if missed := int((~result.converged).sum()):
        sums += f" (! {missed} of {count(len(result), 'target')} miss theirs by more than "
        sums += f"{100 * run.tolerance:.3g} %)"
    worst = float(result.disagreement.max())
    named = "integrated gradients" if "nodes" in str(run.method_fields) else "Shapley values"
    # Drawn orders have no second way to what an input has.
    checked = result.standard_error is None
    return sums + (f"; row sums are within {worst:.1g} of {named}" if checked else "")


def completeness(result: Attribution) -> str:
    """Return what the scores sum to, and what they should.

    Args:
        result: the attribution.
    """
    if result.run.identity is None:
        return "no completeness identity: the scores need not add up to anything"
    scores = float(result.scores.double().sum())
    difference = float((result.value - result.reference_value).double().sum())
    sums = f"scores sum to {scores:.4g}, {result.run.identity} is {difference:.4g}"
    if result.sum_standard_error is not None:
        error = float(result.sum_standard_error.double().sum())
        sums += f" (samples explain a difference of about {error:.2g})"
    decided, first = result.decided, result.top_decided
    if decided is not None and first is not None and result.standard_error is not None:
        ranked = int(((result.total != 0) | (result.standard_error != 0).any(0)).sum())
        sums += f"; {int(decided.sum())} of {count(ranked, 'rank')} are decided, and the strongest "
        sums += f"input of {int(first.sum())} of {count(len(first), 'row')}"
    elif result.error_bound is None:
        sums += "; single scores have no bound"
    return line(sums)


def cost(run: Run | AttackRun) -> str:
    """Return how many rows were run, and for how long.

    Args:
        run: the record of the run.
    """
    directional = f", {run.directional_rows:,} directional" if run.directional_rows else ""
    rows = f"{run.forward_rows:,} forward{directional} and {run.backward_rows:,} backward rows"
    return f"{rows}, {run.seconds:.3g} s"


def state(status: Status) -> str:
    """Write whether a row has converged: a mark, and what of it has.

    Args:
        status: what is known of the row.
    """
    return _STATES[status]


def mark(status: Status) -> str:
    """Write the mark of a row that has not converged, else nothing.

    Args:
        status: what is known of the row.
    """
    return "" if state(status)[:1] == "✓" else state(status)[:1]


def unconverged(result: Attribution) -> list[str]:
    """Return a sentence for each way in which rows have not converged, behind its mark.

    Args:
        result: the attribution.
    """
    run, rows = result.run, len(result.rows)
    tolerance = 100 * run.tolerance

    def said(status: Status, one: str, many: str, remedy: str | None) -> Iterator[str]:
        number = result.status.count(status)
        if number:
            start = f"{mark(status)} {number} of {count(rows, 'target')}"
            yield line(" ".join(filter(None, (start, one if number == 1 else many, remedy))))

    missed = f"scores miss {run.identity} by more than {tolerance:.3g} %."
    cancel = f"but errors that cancel may be over {ROW_TOLERANCE * tolerance:.3g} % of it."
    small = f"{run.identity} is below {run.resolution:.3g}, and the scores are no more exact."
    return [
        *said(
            "not converged",
            f"has not converged: its {missed}",
            f"have not converged: their {missed}",
            run.remedy,
        ),
        *said(
            "row uncertain",
            f"is uncertain: its scores sum to {run.identity}, {cancel}",
            f"are uncertain: their scores sum to {run.identity}, {cancel}",
            run.remedy,
        ),
        *said(
            "below resolution",
            f"has nothing to share out: {small}",
            f"have nothing to share out: {small}",
            None,
        ),
    ]


def count(n: int, noun: str) -> str:
    """Write how many there are of something.

    Args:
        n: how many.
        noun: what one is called.
    """
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def probability(p: float) -> str:
    """Write a probability: two decimals, or the power of ten of a small one.

    Args:
        p: the probability.
    """
    return f"{p:.2f}" if math.isnan(p) or p >= 0.01 or p == 0 else f"{p:.0e}"


def gap(fraction: float) -> str:
    """Write a relative gap in percent.

    Args:
        fraction: the gap.
    """
    percent = 100 * fraction
    if not math.isfinite(percent):
        return f"{percent:.0f}"
    if percent < 0.05:
        return "<0.1 %"
    return f"{percent:.1f} %" if percent < 100 else f"{percent:.3g} %"


def contest(run: Run) -> list[str]:
    """Write what methods a method was chosen among, a line for each; nothing if none was.

    Args:
        run: the record of the run.
    """
    found = []
    for place, (name, numbers) in enumerate(run.contest.items(), 1):
        told = zip(run.contest_heads, numbers, strict=True)
        said = ", ".join(f"{head} {number:.3g}" for head, number in told if number == number)
        found.append(line(f"contest {place}: {name}: {said}"))
    return found
