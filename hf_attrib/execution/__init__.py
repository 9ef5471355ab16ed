"""How rows are run: so many at once, fewer where memory ends, shared between processes.

A row is one sequence run forward, or one (sequence, target) pair run backward. This folder counts
rows and bytes and does not know what is computed on them.
"""

from hf_attrib.execution.foresight import PATIENCE, Foresight, say
from hf_attrib.execution.meter import Meter
from hf_attrib.execution.processes import ALONE, Processes, connected, session
from hf_attrib.execution.rows import Progress, RowRunner, silent
from hf_attrib.execution.turns import Turn

__all__ = [
    "ALONE",
    "PATIENCE",
    "Foresight",
    "Meter",
    "Processes",
    "Progress",
    "RowRunner",
    "Turn",
    "connected",
    "say",
    "session",
    "silent",
]
