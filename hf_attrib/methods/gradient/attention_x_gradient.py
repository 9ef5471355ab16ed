"""Attention times gradient. Chefer, Gur, Wolf 2021, arXiv:2103.15679."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from hf_attrib.field import AttentionPass, Decomposition, Field, Linearisation
from hf_attrib.methods.base import Claims, Cost, Method

__all__ = ["AttentionXGradient"]

#: By so many roundings of f may the pass that shows attention differ from the model's own.
_ROUNDINGS = 40
_ANOTHER = (
    "the pass that shows attention computes another f than the model's own does, as where a fused "
    "kernel leaves out a cap; to explain one and the same, load the model with "
    "attn_implementation='eager'"
)


@dataclass(frozen=True)
class AttentionXGradient(Method, name="attention_x_gradient"):
    r"""Attention that raises f, followed from layer to layer.

    .. math:: \bar A^l_t = \frac1H \sum_h \max\big(0,
        A^l_h \odot \tfrac{\partial f_t}{\partial A^l_h}\big), \qquad
        R \leftarrow R + \bar A^l_t R, \qquad A_{t,n} = (R - I)_{p_t, n}

    R starts as the identity, l goes from the first layer to the last, and :math:`p_t` is the
    position that predicts token t. What R starts from is taken away again: it is a score of 1 for
    the last token read, whatever the model is. (The authors' programs, in which a class token is
    read last, set its own entry to 0.) An encoder has a matrix of its own, :math:`R^{ee}`, and the
    decoder's relevance to it starts at 0. In each layer

    .. math:: R^{de} \leftarrow R^{de} + \bar A^{dd} R^{de}, \qquad
        R^{de} \leftarrow R^{de} + (\hat R^{dd})^\top \bar A^{de} \hat R^{ee}

    with :math:`\hat R = I + (R - I) / \mathrm{rowsum}(R - I)`, the rows that sum to 0 left as they
    are. Of a span, f is the sum of its tokens, and the rows that predict them are added up.

    Only attention is followed: what the layers between do to a token is not seen, nor is attention
    that lowers f, so that no score argues against a token. Products over layers have no unit. A
    token that f ignores may score, if it is attended to.

    The model is run with the implementation of attention that gives its probabilities (eager), and
    is left with its own. They take memory that grows with the square of the length.

    Returns:
        scores [B, T, N], never negative (no unit).

    Raises:
        UnsupportedModelError: when it is called: a layer has no attention that could be read.

    Source: arXiv:2103.15679.
    """

    CLAIMS: ClassVar[Claims] = Claims(
        signed=False,
        cost="2 forward rows, T backward rows",
        axioms=frozenset(),
        baseline=None,
        attention=True,
    )

    def cost(self, targets: int, inputs: int) -> tuple[Cost, Cost]:
        """Return the rows run at least and at most."""
        return Cost(gradients=1).exactly()

    def __call__(self, field: Field, x: Tensor, baseline: Tensor) -> Decomposition:
        """Follow attention at the input; there is no baseline."""
        found = field.at(x, x, contract=_kept, linearise=partial(_followed, field))
        notes = _reservations(field, x, found.value[0])
        return Decomposition(found.gradient[0], start_value=None, notes=notes)


def _reservations(field: Field, x: Tensor, value: Tensor) -> dict[str, Tensor]:
    """Return what is to be said where f of the pass with attention, [B, T], is not f(x)."""
    known = field.known
    if known is None or field.inputs is None or not torch.equal(field.inputs, x):
        return {}
    rounding = _ROUNDINGS * field.precision * (1 + known.abs())
    moved = (value - known).abs() > rounding.clamp_min(field.resolution)
    return {_ANOTHER: moved.cpu()} if moved.any() else {}


def _kept(relevance: Tensor, _: Tensor) -> Tensor:
    return relevance[..., 0]


def _followed(field: Field, points: Tensor, sequence: Tensor, target: Tensor) -> Linearisation:
    """Return F, and what maps weights of targets to the relevance of each input, [R, N, 1]."""
    attended = field.attended(points, sequence, target)
    inputs = points.shape[1]

    def pullback(weights: Tensor) -> Tensor:
        parts = [_relevance(one, weights) for one in attended.passes]
        whole = [pad(part, (0, inputs - part.shape[1])) for part in parts]  # where it has ended
        return torch.stack(whole).sum(0).to(points)[..., None]

    return Linearisation(attended.value, pullback)


def _relevance(one: AttentionPass, weights: Tensor) -> Tensor:
    """Return the relevance of the inputs that a pass has read, [R, S + L]."""
    gradient, maps = one.gradient(weights), one.maps
    rows = one.places(weights)[:, None].to(maps.decoder[0].device)
    rows = rows.to(torch.promote_types(maps.decoder[0].dtype, torch.float32))
    start = torch.eye(maps.decoder[0].shape[-1]).to(rows)
    own, encoded, crossed = start, None, None
    for attention, slope in zip(maps.encoder, gradient.encoder, strict=True):
        added = _raising(attention, slope)
        encoded = torch.eye(added.shape[-1]).to(added) if encoded is None else encoded
        encoded = encoded + added @ encoded
    for layer, (attention, slope) in enumerate(zip(maps.decoder, gradient.decoder, strict=True)):
        added = _raising(attention, slope).to(rows)
        own = own + added @ own
        if encoded is None:
            continue
        across = _raising(maps.cross[layer], gradient.cross[layer]).to(rows)
        crossed = torch.zeros_like(across) if crossed is None else crossed + added @ crossed
        crossed = crossed + _normalised(own).mT @ across @ _normalised(encoded).to(rows)
    read = rows @ (own - start)
    return (read if crossed is None else torch.cat([rows @ crossed, read], -1))[:, 0]


def _raising(attention: Tensor, slope: Tensor) -> Tensor:
    """Return the mean over heads of attention [R, H, Q, K] times its gradient where positive."""
    product = attention * slope
    return product.clamp_min(0).mean(1, dtype=torch.promote_types(product.dtype, torch.float32))


def _normalised(relevance: Tensor) -> Tensor:
    """Return relevance [R, Q, Q] whose rows sum to 1 beyond the identity, but for empty rows."""
    start = torch.eye(relevance.shape[-1]).to(relevance)
    gained = relevance - start
    size = gained.sum(-1, keepdim=True)
    return start + gained / size.masked_fill(size == 0, 1)
