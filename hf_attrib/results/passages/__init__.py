"""Which passages of a prompt an answer rests on: a table of subsets, and all that follows from it.

``coalitions`` is the table and its formulas, ``confirmation`` decides what is cited, ``citations``
looks at each sentence and ``styles`` writes them down for others; ``result`` is what is left.
"""

from hf_attrib.results.passages import storage as storage  # it registers
from hf_attrib.results.passages.citations import Citation, CitedPassage
from hf_attrib.results.passages.coalitions import Coalitions, Rows, SubsetMissing
from hf_attrib.results.passages.confirmation import THRESHOLDS, Confirmation, confirm
from hf_attrib.results.passages.result import Passages, checked_threshold
from hf_attrib.results.passages.styles import STYLES

__all__ = [
    "STYLES",
    "THRESHOLDS",
    "Citation",
    "CitedPassage",
    "Coalitions",
    "Confirmation",
    "Passages",
    "Rows",
    "SubsetMissing",
    "checked_threshold",
    "confirm",
]
