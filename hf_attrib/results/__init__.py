"""What an explanation is once it is made: frozen, on the CPU, saved and compared without a model.

Results are cut, grouped, compared, written to files and read from them here. How they look is not
known here: views are registered by :mod:`hf_attrib.render`, and formats of files by whoever knows a
kind of result. A new kind derives from :class:`Result`.
"""

from hf_attrib.results import interactions_storage as interactions_storage  # it registers
from hf_attrib.results import storage as storage  # likewise
from hf_attrib.results.agreement import Agreement, agreement
from hf_attrib.results.attribution import NO_CITATIONS, Attribution
from hf_attrib.results.comparison import Comparison, compare
from hf_attrib.results.convergence import Status
from hf_attrib.results.files import write_atomically
from hf_attrib.results.formats import FORMATS, Format, from_json, to_json
from hf_attrib.results.interactions import Interactions, Pair
from hf_attrib.results.logs import Log, LogComparison, LogRow, read_log
from hf_attrib.results.masses import Mass, Masses
from hf_attrib.results.passages import Citation, Coalitions, Confirmation, Passages
from hf_attrib.results.protocol import Result, Told, figure, frame, latex, load, page, text, view
from hf_attrib.results.run import Run
from hf_attrib.results.selection import take
from hf_attrib.results.tokens_storage import tokens_read, tokens_written

__all__ = [
    "FORMATS",
    "NO_CITATIONS",
    "Agreement",
    "Attribution",
    "Citation",
    "Coalitions",
    "Comparison",
    "Confirmation",
    "Format",
    "Interactions",
    "Log",
    "LogComparison",
    "LogRow",
    "Mass",
    "Masses",
    "Pair",
    "Passages",
    "Result",
    "Run",
    "Status",
    "Told",
    "agreement",
    "compare",
    "figure",
    "frame",
    "from_json",
    "latex",
    "load",
    "page",
    "read_log",
    "take",
    "text",
    "to_json",
    "tokens_read",
    "tokens_written",
    "view",
    "write_atomically",
]
