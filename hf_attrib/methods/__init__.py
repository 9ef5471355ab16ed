"""Attribution methods, one file each. A new one is registered by its import here."""

from hf_attrib.methods.base import AXIOMS, Claims, Method, method, methods
from hf_attrib.methods.input_x_gradient import InputXGradient
from hf_attrib.methods.integrated_gradients import IntegratedGradients
from hf_attrib.methods.saliency import Saliency

__all__ = [
    "AXIOMS",
    "Claims",
    "InputXGradient",
    "IntegratedGradients",
    "Method",
    "Saliency",
    "method",
    "methods",
]
