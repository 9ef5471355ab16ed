"""Explain language models: which input tokens made them say what they said.

>>> import hf_attrib
>>> model, tokenizer = hf_attrib.embedded.load("keys-llama")
>>> model = hf_attrib.attach(model, tokenizer)
>>> prompt = "Ada's key is red. Bob's key is blue. Q: What color is Bob's key? A:"
>>> result = model.explain(prompt)
>>> "".join(result.response_pieces)
"Bob's key is blue.</s>"
"""

from importlib.metadata import version

from hf_attrib import render as render  # results look as it registers
from hf_attrib.engine import Estimate
from hf_attrib.errors import (
    AttributionWarning,
    HFAttribError,
    InputError,
    MemoryLimitError,
    ProcessError,
    ResultFileError,
    UnsupportedModelError,
)
from hf_attrib.explainer import Explainer, attach, estimate
from hf_attrib.methods import Method, methods
from hf_attrib.results import Attribution, Comparison, compare, load
from hf_attrib.robustness import RobustAccuracy, Robustness, robust_accuracy

__all__ = [
    "Attribution",
    "AttributionWarning",
    "Comparison",
    "Estimate",
    "Explainer",
    "HFAttribError",
    "InputError",
    "MemoryLimitError",
    "Method",
    "ProcessError",
    "ResultFileError",
    "RobustAccuracy",
    "Robustness",
    "UnsupportedModelError",
    "attach",
    "compare",
    "embedded",
    "estimate",
    "load",
    "methods",
    "robust_accuracy",
]

__version__ = version("hf_attrib")
