"""How little it takes to change an answer: the radius at which attacks flip each token.

``search`` finds it on a field, ``measure`` on a batch of the engine, ``result`` is what is left.
"""

from hf_attrib.robustness import storage as storage  # files hold results as it registers
from hf_attrib.robustness.measure import measure, search_question
from hf_attrib.robustness.result import AttackRun, RobustAccuracy, Robustness, robust_accuracy
from hf_attrib.robustness.search import Search, search_of

__all__ = [
    "AttackRun",
    "RobustAccuracy",
    "Robustness",
    "Search",
    "measure",
    "robust_accuracy",
    "search_of",
    "search_question",
]
