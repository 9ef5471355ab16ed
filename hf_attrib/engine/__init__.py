"""From token sequences and a question to results: one model, its memory, its costs.

The engine opens a batch, fits its rows into memory, lets the method work on the field and records
what came out. It knows models, methods and results, and no screen.
"""

from hf_attrib.engine.engine import Engine, Opened
from hf_attrib.engine.estimation import Estimate, Rehearsal
from hf_attrib.engine.memory import Memory, size_of
from hf_attrib.engine.question import Question, split_arguments
from hf_attrib.engine.sharing import Sharing

__all__ = [
    "Engine",
    "Estimate",
    "Memory",
    "Opened",
    "Question",
    "Rehearsal",
    "Sharing",
    "size_of",
    "split_arguments",
]
