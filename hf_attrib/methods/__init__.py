"""Attribution methods, one file each. A new one is registered by its import here."""

from hf_attrib.methods.agi import AGI
from hf_attrib.methods.attexplore import AttEXplore
from hf_attrib.methods.base import AXIOMS, Claims, Method, method, methods
from hf_attrib.methods.baseline_average import BaselineAverage
from hf_attrib.methods.big import BIG
from hf_attrib.methods.bsm import BSM
from hf_attrib.methods.discretized_ig import DiscretizedIG
from hf_attrib.methods.expected_gradients import ExpectedGradients
from hf_attrib.methods.fundamental import Fundamental
from hf_attrib.methods.guided_ig import GuidedIG
from hf_attrib.methods.idgi import IDGI
from hf_attrib.methods.input_x_gradient import InputXGradient
from hf_attrib.methods.integrated_gradients import IntegratedGradients
from hf_attrib.methods.isa import ISA
from hf_attrib.methods.la import LA
from hf_attrib.methods.mfaba import MFABA
from hf_attrib.methods.noise_average import NoiseAverage
from hf_attrib.methods.saliency import Saliency
from hf_attrib.methods.sequential_ig import SequentialIG
from hf_attrib.methods.smooth_grad import SmoothGrad
from hf_attrib.methods.square_grad import SquareGrad
from hf_attrib.methods.var_grad import VarGrad

__all__ = [
    "AGI",
    "AXIOMS",
    "BIG",
    "BSM",
    "IDGI",
    "ISA",
    "LA",
    "MFABA",
    "AttEXplore",
    "BaselineAverage",
    "Claims",
    "DiscretizedIG",
    "ExpectedGradients",
    "Fundamental",
    "GuidedIG",
    "InputXGradient",
    "IntegratedGradients",
    "Method",
    "NoiseAverage",
    "Saliency",
    "SequentialIG",
    "SmoothGrad",
    "SquareGrad",
    "VarGrad",
    "method",
    "methods",
]
