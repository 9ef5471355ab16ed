"""Attacks, one file each: rules that say where an input moves. A new one is imported here."""

from hf_attrib.attacks.advgan import AdvGAN
from hf_attrib.attacks.base import Attack, GoesOn, UpdateRule, attack, attacks, held_attack
from hf_attrib.attacks.bim import BIM
from hf_attrib.attacks.boundary import Boundary, boundary, boundary_rows
from hf_attrib.attacks.climb import Ball, Climb, Objective, Walk, mean_size, sizes
from hf_attrib.attacks.cw import CarliniWagner
from hf_attrib.attacks.dim import DIM
from hf_attrib.attacks.elimination import elimination, rank_code
from hf_attrib.attacks.fgsm import FGSM
from hf_attrib.attacks.gra import GRA
from hf_attrib.attacks.leading import WhileLeading
from hf_attrib.attacks.mig import MIG
from hf_attrib.attacks.mim import MIM
from hf_attrib.attacks.momentum import MomentumRule
from hf_attrib.attacks.naa import NAA
from hf_attrib.attacks.pgd import PGD
from hf_attrib.attacks.released import VARIANTS, own_products, reanchored
from hf_attrib.attacks.rivals import until_they_lead, walks_to
from hf_attrib.attacks.sia import SIA
from hf_attrib.attacks.sinim import SINIM
from hf_attrib.attacks.ssa import SSA
from hf_attrib.attacks.tim import TIM
from hf_attrib.attacks.uncut import Uncut

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
    "VARIANTS",
    "AdvGAN",
    "Attack",
    "Ball",
    "Boundary",
    "CarliniWagner",
    "Climb",
    "GoesOn",
    "MomentumRule",
    "Objective",
    "Uncut",
    "UpdateRule",
    "Walk",
    "WhileLeading",
    "attack",
    "attacks",
    "boundary",
    "boundary_rows",
    "elimination",
    "held_attack",
    "mean_size",
    "own_products",
    "rank_code",
    "reanchored",
    "sizes",
    "until_they_lead",
    "walks_to",
]
