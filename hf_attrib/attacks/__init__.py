"""Attacks, one file each: rules that say where an input moves. A new one is imported here."""

from hf_attrib.attacks.base import Attack, GoesOn, UpdateRule, attack, attacks, held_attack
from hf_attrib.attacks.bim import BIM
from hf_attrib.attacks.climb import Ball, Climb, Objective, Walk, mean_size
from hf_attrib.attacks.fgsm import FGSM
from hf_attrib.attacks.mim import MIM

__all__ = [
    "BIM",
    "FGSM",
    "MIM",
    "Attack",
    "Ball",
    "Climb",
    "GoesOn",
    "Objective",
    "UpdateRule",
    "Walk",
    "attack",
    "attacks",
    "held_attack",
    "mean_size",
]
