"""What an explanation is once it is made: frozen, on the CPU, saved and compared without a model.

Results are cut, grouped, compared, written to files and read from them here. How they look is not
known here: views are registered by :mod:`hf_attrib.render`.
"""

from hf_attrib.results.agreement import Agreement, agreement
from hf_attrib.results.attribution import Attribution
from hf_attrib.results.comparison import Comparison, compare
from hf_attrib.results.files import write_atomically
from hf_attrib.results.run import Run
from hf_attrib.results.storage import from_json, load, to_json

__all__ = [
    "Agreement",
    "Attribution",
    "Comparison",
    "Run",
    "agreement",
    "compare",
    "from_json",
    "load",
    "to_json",
    "write_atomically",
]
