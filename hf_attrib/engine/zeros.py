"""Zeros that tell nothing of the model: what was asked has no other answer, and a note says why."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from hf_attrib.text import Grouping, Span, Tokens, TokenSequence, chosen

__all__ = ["contrasted", "fixed", "standing", "unseen"]


def fixed(
    inputs: Tokens,
    moves: Tensor,
    groups: Sequence[Span],
    asked: Grouping | None,
    movable: str | Sequence[bool],
) -> list[str]:
    """Say which parts that the caller named hold nothing that moves.

    Args:
        inputs: the tokens that are scored.
        moves: which of them may move, and perhaps of more behind them, bool.
        groups: that partition them.
        asked: the groups that were named, if any were.
        movable: as the caller gave it.
    """
    advice = "movable='all' moves special and template tokens, too"
    if not isinstance(movable, str):
        advice = "set their flags in movable"
    return [
        f"The group {inputs.piece(span)!r} scores 0, since none of its tokens may move; {advice}."
        for span in _named(inputs, groups, asked)
        if not moves[span.start : span.stop].any()
    ]


def unseen(
    sequence: TokenSequence,
    inputs: Tokens,
    targets: Sequence[Span],
    groups: Sequence[Span],
    asked: Grouping | None,
) -> list[str]:
    """Say which parts that the caller named stand behind all that is explained.

    Args:
        sequence: what the model read and generated.
        inputs: the tokens that are scored.
        targets: spans of the response that are explained.
        groups: as for :func:`fixed`.
        asked: as for :func:`fixed`.
    """
    last = max(span.stop for span in targets) - 1
    read = len(sequence.prompt) + len(sequence.start) + last
    return [
        f"The group {inputs.piece(span)!r} scores 0, since the model reads it after all that is "
        "explained; explain later tokens."
        for span in _named(inputs, groups, asked)
        if span.start >= read
    ]


def contrasted(response: Tokens, contrast: Tensor | None) -> list[str]:
    """Say how many tokens are contrasted with themselves.

    Args:
        response: the generated tokens.
        contrast: id that each is contrasted with, [T], or ``None``.
    """
    count = 0 if contrast is None else int((response.ids == contrast).sum())
    if not count:
        return []
    return [
        f"{count} of {len(response)} tokens are contrasted with themselves, so their scores are 0; "
        "contrast them with another token."
    ]


def standing(
    inputs: Tokens,
    moves: Tensor,
    differs: Tensor,
    groups: Sequence[Span],
    asked: Grouping | None,
    baseline: str,
) -> list[str]:
    """Say what is the baseline already, so that nothing changes on the way from one to the other.

    Args:
        inputs: the N tokens that are scored.
        moves: which of them may move, [N] bool.
        differs: which of them are not what the reference has in their place, or score all the
            same, [N] bool.
        groups: as for :func:`fixed`.
        asked: as for :func:`fixed`.
        baseline: what the reference is, in words.
    """
    count, total = int((moves & ~differs).sum()), int(moves.sum())
    if count == total:
        return [
            f"All scores are 0, since every token that may move is the baseline ({baseline}) "
            "already; take another baseline."
        ]
    if asked is None or isinstance(asked, str):
        tokens = f"{count} of {total} tokens that may move"
        are, scores = ("is", "scores") if count == 1 else ("are", "score")
        return [
            f"{tokens} {are} the baseline ({baseline}) already, and so {scores} 0; take another "
            "baseline to score them."
        ] * (count > 0)
    return [
        f"The group {inputs.piece(span)!r} scores 0, since all of it that may move is the baseline "
        f"({baseline}) already; take another baseline."
        for span in _named(inputs, groups, asked)
        if moves[span.start : span.stop].any()
        and not (moves & differs)[span.start : span.stop].any()
    ]


def _named(inputs: Tokens, groups: Sequence[Span], asked: Grouping | None) -> list[Span]:
    """Return the groups that the caller named, each by itself."""
    if asked is None or isinstance(asked, str):
        return []
    starts = {span.start for span in chosen(inputs, asked)}
    return [span for span in groups if span.start in starts]
