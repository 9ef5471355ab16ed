"""How little it takes to change an answer: the radius at which attacks flip each token.

``search`` finds it on a field, ``measure`` on a batch of the engine, ``result`` is what is left.
"""

from hf_attrib.robustness import storage as storage  # files hold results as it registers
from hf_attrib.robustness.measure import margin_question, measure_robustness
from hf_attrib.robustness.result import AttackRun, RobustAccuracy, Robustness, robust_accuracy
from hf_attrib.robustness.search import RadiusSearch, radius_search

__all__ = [
    "AttackRun",
    "RadiusSearch",
    "RobustAccuracy",
    "Robustness",
    "margin_question",
    "measure_robustness",
    "radius_search",
    "robust_accuracy",
]
