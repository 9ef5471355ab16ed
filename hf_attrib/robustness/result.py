"""The frozen results of attacks: how far each had to go, what moved, and which share held."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from hf_attrib.errors import InputError
from hf_attrib.results import Result
from hf_attrib.targets import TARGETS
from hf_attrib.text import Tokens, TokenSequence

__all__ = ["AttackRun", "RobustAccuracy", "Robustness", "robust_accuracy"]

_BY_TOKEN = ("probability", "margin", "attacked_margin", "radius", "failed", "flips_to")
_BY_INPUT = ("drop", "share", "nearest", "towards")


@dataclass(frozen=True)
class AttackRun:
    """How tokens were attacked, and at what cost.

    Args:
        attack: registered name of the attack.
        attack_fields: its hyperparameters besides the radius.
        norm: ``"linf"``, where radii bound each coordinate, or ``"l2"``, where they bound the
            length of the whole perturbation.
        eps: the largest radius tried.
        bisections: how often the interval around a radius was halved.
        baseline: reference of the attack, ``None`` if it takes none.
        scale: length that radii are given in, a typical coordinate of an embedding; under
            ``"l2"`` a vector of such coordinates over all inputs that moved.
        attribute_to: ``"prompt"`` or ``"all"`` (prompt and generated prefix).
        movable: which tokens could move: ``"content"``, ``"all"`` or ``"given"`` by flags.
        tolerance: relative gap up to which the drops of a token count as converged.
        model: name or path of the model.
        model_revision: commit of the model, where known.
        dtype: floating point type of the model.
        versions: versions of the packages that matter.
        seconds: wall time, without generation.
        forward_rows: sequences run forward.
        backward_rows: (sequence, target) pairs run backward.
        directional_rows: (sequence, group) pairs run forward with their derivative.
        notes: what a reader must know before relying on the radii.
    """

    attack: str
    attack_fields: Mapping[str, Any]
    norm: str
    eps: float
    bisections: int
    baseline: str | None
    scale: float
    attribute_to: str
    movable: str
    tolerance: float
    model: str
    model_revision: str | None
    dtype: str
    versions: Mapping[str, str]
    seconds: float
    forward_rows: int
    backward_rows: int
    directional_rows: int
    notes: tuple[str, ...]

    def __post_init__(self) -> None:
        for name in ("eps", "scale", "tolerance", "seconds"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}, which is no size")
        if self.eps == 0:
            raise ValueError("eps is 0, which is no radius")
        if self.norm not in ("linf", "l2"):
            raise ValueError(f"norm is {self.norm!r}, expected 'linf' or 'l2'")


@dataclass(frozen=True, eq=False)
class Robustness(Result):
    r"""How far an attack had to move the inputs before each of T generated tokens flipped.

    A token has flipped where another one is likelier, under teacher forcing: its *margin*, the
    lead of its logit over the best of the others, is below 0. Radii are upper bounds: another
    attack may flip a token nearer by.

    All tensors are on the CPU, numbers in float64.

    Args:
        inputs: the N tokens that could move, or were held.
        response: the T generated tokens.
        probability: the model's probability of each of them, [T].
        margin: of each of them, where nothing is moved, [T].
        radius: of the nearest point found that flips each of them, in embedding scales, [T];
            0 where it is not the likeliest even at x, infinite where none was found.
        failed: the largest radius below it at which the attack failed, [T]; 0 if there is none.
        attacked_margin: the margin at that point, [T]; where none was found, the smallest met.
        flips_to: id of the likeliest other token there, [T].
        drop: what moving each input to that point took from the margin, [T, N]: integrated
            gradients between x and the point, which sum to ``margin - attacked_margin``.
        share: of the squared length of the perturbation on each input, [T, N]; 0 if there is none.
        nearest: id of the token whose embedding is nearest to each perturbed one, [T, N]; -1 where
            that is the input itself.
        towards: id of the token whose embedding each perturbation heads for, by the cosine, [T, N];
            -1 where it heads for none more than a direction drawn at random would.
        names: text of each token of ``flips_to``, ``nearest`` and ``towards`` by id.
        run: attack, model, cost.
        sequence: all that the model read and generated, from which ``inputs`` and ``response`` are
            taken; with its ids the question can be asked again. ``None`` in results of files of
            version 1.
    """

    inputs: Tokens
    response: Tokens
    probability: Tensor
    margin: Tensor
    radius: Tensor
    failed: Tensor
    attacked_margin: Tensor
    flips_to: Tensor
    drop: Tensor
    share: Tensor
    nearest: Tensor
    towards: Tensor
    names: Mapping[int, str] = field(repr=False)
    run: AttackRun = field(repr=False)
    sequence: TokenSequence | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        expected = (len(self.response), len(self.inputs))
        if not expected[0]:
            raise ValueError("no generated token was attacked")
        if self.sequence is not None:
            self.sequence.check_parts(self.inputs, self.response, self.run.attribute_to)
        for name in (*_BY_TOKEN, *_BY_INPUT):
            shape = expected[:1] if name in _BY_TOKEN else expected
            if tuple(getattr(self, name).shape) != shape:
                given = tuple(getattr(self, name).shape)
                raise ValueError(f"{name} is {given}, expected {shape}")
        for name in ("probability", "share"):
            shares = getattr(self, name)
            if bool(((shares < 0) | (shares > 1 + 1e-9)).any()):
                raise ValueError(f"{name} reaches beyond 0 to 1")
        if not bool(((self.failed >= 0) & (self.radius >= self.failed)).all()):
            raise ValueError("some radius is no radius, or below one that failed")
        if bool((self.flips_to < 0).any()):
            raise ValueError("flips_to is no token")
        others = torch.cat([self.flips_to, self.nearest.flatten(), self.towards.flatten()])
        named = {*others.tolist()} - {-1}
        if missing := sorted(named - set(self.names)):
            raise ValueError(f"token {missing[0]} has no name")

    def __len__(self) -> int:
        return len(self.response)

    @property
    def flipped(self) -> Tensor:
        """Which tokens the attack flipped, or were not the likeliest before it, [T] bool."""
        return self.radius.isfinite()

    @property
    def gap(self) -> Tensor:
        """Relative distance of the drops of each token from what they sum to, [T]."""
        change = self.margin - self.attacked_margin
        missed = (self.drop.sum(-1) - change).abs()
        return missed / change.abs().clamp_min(TARGETS["margin"].resolution)

    def flips_to_piece(self, token: int) -> str | None:
        """Return the text of what a generated token flips to, if it was flipped.

        Args:
            token: which of the T generated tokens.
        """
        return self.names[int(self.flips_to[token])] if bool(self.flipped[token]) else None

    def turned(self, token: int, input: int) -> str | None:
        """Return the text of what an input has come nearest to, if that is not itself.

        Args:
            token: which of the T generated tokens was attacked.
            input: which of the N inputs.
        """
        found = int(self.nearest[token, input])
        return None if found < 0 else self.names[found]

    def headed(self, token: int, input: int) -> str | None:
        """Return the text of what an input was moved towards, if that stands out.

        Args:
            token: which of the T generated tokens was attacked.
            input: which of the N inputs.
        """
        found = int(self.towards[token, input])
        return None if found < 0 else self.names[found]


#: Radii of a curve, unless they are given.
_RADII = 21


@dataclass(frozen=True)
class RobustAccuracy(Result):
    """What withstands an attack within each radius.

    Args:
        radii: in embedding scales, rising.
        tokens: share of the generated tokens that no attack within the radius flipped.
        answers: share of the answers of which it flipped no token.
    """

    radii: tuple[float, ...]
    tokens: tuple[float, ...]
    answers: tuple[float, ...]


def robust_accuracy(
    results: Robustness | Sequence[Robustness], radii: Sequence[float] | None = None
) -> RobustAccuracy:
    """Return which share of tokens, and of whole answers, withstood an attack within each radius.

    Args:
        results: of one or many prompts, by the same attack.
        radii: in embedding scales; by default 21 from 0 to the largest that was tried.

    Raises:
        InputError: there is no result, results of several attacks, or a radius beyond those tried.
    """
    several = [results] if isinstance(results, Robustness) else list(results)
    if not several:
        raise InputError("there is no result; give at least one.")
    runs = [r.run for r in several]
    fields = [str(sorted(run.attack_fields.items())) for run in runs]
    ways = {(r.attack, own, r.norm, r.baseline) for r, own in zip(runs, fields, strict=True)}
    if len(ways) > 1:
        raise InputError("the results are of several attacks; give those of one.")
    largest = min(result.run.eps for result in several)
    even = [largest * i / (_RADII - 1) for i in range(_RADII)]
    chosen = sorted(even if radii is None else map(float, radii))
    if not chosen or not 0 <= chosen[0] <= chosen[-1] <= largest * (1 + 1e-9):
        raise InputError(
            f"radii are {chosen!s:.80}; expected some from 0 to {largest:g}, the largest tried."
        )
    held = [torch.stack([result.radius > r for r in chosen]) for result in several]  # [R, T] each
    tokens, answers = torch.cat(held, 1), torch.stack([one.all(1) for one in held], 1)
    shares = (tuple(each.double().mean(1).tolist()) for each in (tokens, answers))
    return RobustAccuracy(tuple(chosen), *shares)
