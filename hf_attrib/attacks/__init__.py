"""Attacks, one file each: rules that say where an input moves. A new one is imported here.

An attack sees an objective on a field and walks; what is made of the walk is for methods, which
integrate along it, and for the search for the radius of robustness.
"""

from hf_attrib.attacks.advgan import AdvGAN
from hf_attrib.attacks.base import Attack, GoesOn, UpdateRule, attack, attacks, held_attack
from hf_attrib.attacks.bim import BIM
from hf_attrib.attacks.climb import Ball, Climb, Objective, Walk, mean_size, sizes
from hf_attrib.attacks.cw import CarliniWagner
from hf_attrib.attacks.dim import DIM
from hf_attrib.attacks.fgsm import FGSM
from hf_attrib.attacks.gra import GRA
from hf_attrib.attacks.mig import MIG
from hf_attrib.attacks.mim import MIM
from hf_attrib.attacks.momentum import MomentumRule
from hf_attrib.attacks.naa import NAA
from hf_attrib.attacks.pgd import PGD
from hf_attrib.attacks.sia import SIA
from hf_attrib.attacks.sinim import SINIM
from hf_attrib.attacks.ssa import SSA
from hf_attrib.attacks.tim import TIM

__all__ = [
    "BIM",
    "DIM",
    "FGSM",
    "GRA",
    "MIG",
    "MIM",
    "NAA",
    "PGD",
    "SIA",
    "SINIM",
    "SSA",
    "TIM",
    "AdvGAN",
    "Attack",
    "Ball",
    "CarliniWagner",
    "Climb",
    "GoesOn",
    "MomentumRule",
    "Objective",
    "UpdateRule",
    "Walk",
    "attack",
    "attacks",
    "held_attack",
    "mean_size",
    "sizes",
]
