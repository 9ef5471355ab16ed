"""Functions that attacks walk on, of which it is known where the walk must end."""

import torch

from helpers.problems import PROBLEMS
from helpers.reference import scale
from hf_attrib.attacks import Objective, UpdateRule, attacks
from hf_attrib.field import FunctionField

U = scale()
SMOOTH = PROBLEMS[2]
RULES = [n for n, kind in attacks().items() if issubclass(kind, UpdateRule) and n != "naa"]
MOMENTUM = ["dim", "mig", "mim", "sia", "sinim", "ssa", "tim"]
_DRAW = torch.Generator().manual_seed(5)


def random(*shape):
    return torch.randn(*shape, generator=_DRAW, dtype=torch.float64)


def walk(made, problem=SMOOTH, each=False, field=None):
    field = problem.field() if field is None else field
    objective = Objective.of_each(field) if each else Objective.shared(field)
    return made.walk(objective, problem.x)


_INNER, _OUTER = random(3, 5) / 2, random(20, 3) / 3


def hidden(z):
    return torch.tanh(z @ _INNER)


def after(h):
    return torch.tanh(h.flatten(1) @ _OUTER)


CUBES = random(4, 3)


def additive(z):
    return (CUBES * z + z**3 / 7 + z.sin()).sum(-1) @ torch.tensor([[1.0], [2], [3], [4]]).double()


def phi(z):
    """The part of each input in the additive function, [N]."""
    return (CUBES * z + z**3 / 7 + z.sin()).sum(-1) * torch.arange(1, 5).double()


_WAY = random(4, 3)


def two_classes(lead):
    """Logits [R, 1, 2] of which the first leads by w (x - x_0) + lead."""

    def logits(z):
        margin = ((z - SMOOTH.x[0]) * _WAY).sum((1, 2)) + lead
        return torch.stack([margin, torch.zeros_like(margin)], -1)[:, None]

    return FunctionField.of_logits(logits, [0], 4, space=SMOOTH.space())


def boundary(lead):
    """x - w (w x + b) / |w|^2."""
    return SMOOTH.x[0, 0] - _WAY * lead / _WAY.square().sum()


def head(z):
    """Logits [R, 2, 5]."""
    return (torch.tanh(z.flatten(1) @ _MIXED) @ _TO).reshape(-1, 2, 5)


_MIXED, _TO = random(12, 6) / 3, random(6, 10)


def with_logits(budget=8):
    ids = head(SMOOTH.x[0]).argmax(-1)[0].tolist()
    return FunctionField.of_logits(head, ids, 4, space=SMOOTH.space(), row_budget=budget), ids
