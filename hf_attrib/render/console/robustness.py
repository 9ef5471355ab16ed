"""The robustness of an answer, for any console rich can print to."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from hf_attrib.render import phrases
from hf_attrib.render.safe_text import label
from hf_attrib.render.sheet import short
from hf_attrib.robustness import RobustAccuracy, Robustness, robust_accuracy

__all__ = ["CurveView", "RobustnessView"]

_LABEL_CELLS = 14
#: Cells below which tables have no more than their first columns.
_CRAMPED = 60
#: Inputs listed for a token, at most; those that took less than a tenth of its margin are not.
_INPUTS, _FAINTEST = 6, 0.1
#: Radii of the curve between 0 and the largest.
_STEPS = 8
_BAR = 24


class RobustnessView:
    """A robustness result as a rich renderable.

    Args:
        result: what to show.
    """

    def __init__(self, result: Robustness) -> None:
        self.result = result

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        result, run = self.result, self.result.run
        name = Text(phrases.line(run.model), "bold", overflow="fold")
        yield Text.assemble(name, *(f" · {part}" for part in phrases.about_attack(run)))
        yield Text(phrases.line(phrases.summary(result)))
        yield Text()
        yield Text("Generated tokens", "bold")
        yield _table(result, options.max_width)
        yield Text()
        radii = [run.eps * i / _STEPS for i in range(_STEPS + 1)]
        yield CurveView(robust_accuracy(result, radii))
        yield Text()
        yield Text(_LEGEND, "dim")
        yield Text(phrases.cost(run), "dim")
        for note in run.notes:
            yield Text(phrases.line(f"note: {note}"))


class CurveView:
    """A robust-accuracy curve as a rich renderable.

    Args:
        curve: what to show.
    """

    def __init__(self, curve: RobustAccuracy) -> None:
        self.curve = curve

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        for head in ("radius", "tokens", "answers"):
            table.add_column(head, justify="right", no_wrap=True)
        roomy = options.max_width >= _CRAMPED
        if roomy:
            table.add_column("", no_wrap=True)
        for radius, tokens, answers in zip(
            self.curve.radii, self.curve.tokens, self.curve.answers, strict=True
        ):
            shares = (f"{100 * share:.0f} %" for share in (tokens, answers))
            bar = ["#" * round(_BAR * tokens)] if roomy else []
            table.add_row(f"{radius:.3g}", *shares, *bar)
        yield Text("Share that withstands the attack within each radius", "bold")
        yield table


_LEGEND = (
    "radius: between the largest that was tried in vain, if any, and the smallest that flipped the "
    "token; an upper bound that depends on the attack. Inputs: what moving each of them took from "
    "the token's lead (logits); a>b: moved towards b, a>>b: nearer to b now than to itself."
)


def _table(result: Robustness, width: int) -> Table:
    table = Table(box=None, expand=True, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("token", no_wrap=True)
    roomy = width >= _CRAMPED
    if roomy:
        table.add_column("p", justify="right", no_wrap=True)
    table.add_column("radius", no_wrap=True)
    table.add_column("flips to", no_wrap=True)
    if roomy:
        table.add_column("inputs that took most from its lead", no_wrap=True, ratio=1)
    for t, piece in enumerate(result.response.pieces):
        token = short(piece, min(_LABEL_CELLS, width // 4))
        token.stylize("bold")
        to = result.flips_to_piece(t)
        flips = Text("") if to is None else short(to, min(_LABEL_CELLS, width // 4))
        parts: list[RenderableType] = [token, Text(phrases.bracket(result, t)), flips]
        if roomy:
            parts.insert(1, Text(phrases.probability(float(result.probability[t]))))
            inputs = Text("  ", no_wrap=True, overflow="ellipsis").join(_inputs(result, t))
            parts.append(inputs)
        table.add_row(*parts)
    return table


def _inputs(result: Robustness, token: int) -> Iterator[Text]:
    """Yield the inputs whose moves took most from a token's lead."""
    drop = result.drop[token].nan_to_num(0)
    taken = float((result.margin - result.attacked_margin)[token])
    for n in drop.argsort(descending=True, stable=True)[:_INPUTS].tolist():
        if not float(drop[n]) > max(0.0, _FAINTEST * taken):
            return
        turned, headed = result.turned(token, n), result.headed(token, n)
        to = f">>{label(turned)}" if turned is not None else f">{label(headed)}" if headed else ""
        piece = short(result.inputs.pieces[n], _LABEL_CELLS)
        taken_here = float(drop[n])
        yield Text.assemble(piece, to, f" {taken_here:.{1 if taken_here >= 0.1 else 3}f}")
