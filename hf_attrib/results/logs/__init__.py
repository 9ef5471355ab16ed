"""Answers that other engines wrote and logged: read as they ran, explained, and compared.

Lines become rows here: ids stay the ids that they are, and log-probabilities of the log are held
against those of the model that explains. A reader knows what its engine writes; none imports it.
"""

from hf_attrib.results.logs.comparison import LogComparison
from hf_attrib.results.logs.reading import Log, read_log
from hf_attrib.results.logs.row import LogRow

__all__ = ["Log", "LogComparison", "LogRow", "read_log"]
