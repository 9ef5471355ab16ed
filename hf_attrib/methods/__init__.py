"""Attribution methods, one file each. A new one is registered by its import here.

A method is a frozen dataclass of hyperparameters and one call on a field. It knows paths, integrals
and attacks, and neither models nor results.
"""

from hf_attrib.methods.adversarial.agi import AGI
from hf_attrib.methods.adversarial.attexplore import AttEXplore
from hf_attrib.methods.adversarial.big import BIG
from hf_attrib.methods.adversarial.bsm import BSM
from hf_attrib.methods.adversarial.fundamental import Fundamental
from hf_attrib.methods.adversarial.isa import ISA
from hf_attrib.methods.adversarial.la import LA
from hf_attrib.methods.adversarial.mfaba import MFABA
from hf_attrib.methods.average.baseline_average import BaselineAverage
from hf_attrib.methods.average.noise_average import NoiseAverage
from hf_attrib.methods.base import AXIOMS, Claims, Cost, Method, method, methods
from hf_attrib.methods.gradient.attention_x_gradient import AttentionXGradient
from hf_attrib.methods.gradient.input_x_gradient import InputXGradient
from hf_attrib.methods.gradient.saliency import Saliency
from hf_attrib.methods.gradient.smooth_grad import SmoothGrad
from hf_attrib.methods.gradient.square_grad import SquareGrad
from hf_attrib.methods.gradient.var_grad import VarGrad
from hf_attrib.methods.interaction.base import (
    Interaction,
    PairScores,
    interaction,
    interactions,
    row_sums,
)
from hf_attrib.methods.interaction.integrated_hessians import SPENT, IntegratedHessians
from hf_attrib.methods.interaction.shapley import ShapleyInteractions, ShapleyTaylor
from hf_attrib.methods.path.discretized_ig import DiscretizedIG
from hf_attrib.methods.path.expected_gradients import ExpectedGradients
from hf_attrib.methods.path.guided_ig import GuidedIG
from hf_attrib.methods.path.idgi import IDGI
from hf_attrib.methods.path.integrated_gradients import IntegratedGradients
from hf_attrib.methods.path.sequential_ig import SequentialIG
from hf_attrib.methods.perturbation.banzhaf import Banzhaf
from hf_attrib.methods.perturbation.c_lime import CLime
from hf_attrib.methods.perturbation.context_cite import ContextCite
from hf_attrib.methods.perturbation.kernel_shap import KernelShap
from hf_attrib.methods.perturbation.lime import Lime
from hf_attrib.methods.perturbation.loo_shapley import LooShapley
from hf_attrib.methods.perturbation.occlusion import Occlusion
from hf_attrib.methods.perturbation.owen import Owen
from hf_attrib.methods.perturbation.rise import Rise
from hf_attrib.methods.perturbation.shapley import Shapley
from hf_attrib.methods.perturbation.sobol import Sobol

__all__ = [
    "AGI",
    "AXIOMS",
    "BIG",
    "BSM",
    "IDGI",
    "ISA",
    "LA",
    "MFABA",
    "SPENT",
    "AttEXplore",
    "AttentionXGradient",
    "Banzhaf",
    "BaselineAverage",
    "CLime",
    "Claims",
    "ContextCite",
    "Cost",
    "DiscretizedIG",
    "ExpectedGradients",
    "Fundamental",
    "GuidedIG",
    "InputXGradient",
    "IntegratedGradients",
    "IntegratedHessians",
    "Interaction",
    "KernelShap",
    "Lime",
    "LooShapley",
    "Method",
    "NoiseAverage",
    "Occlusion",
    "Owen",
    "PairScores",
    "Rise",
    "Saliency",
    "SequentialIG",
    "Shapley",
    "ShapleyInteractions",
    "ShapleyTaylor",
    "SmoothGrad",
    "Sobol",
    "SquareGrad",
    "VarGrad",
    "interaction",
    "interactions",
    "method",
    "methods",
    "row_sums",
]
