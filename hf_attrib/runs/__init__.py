"""Data sets: many rows, explained one by one, in other people's engines or in a run of ours.

It knows models by name only, and results by what is written about them; a run is a folder, whose
manifest says which rows are done, so that any number of processes can work on it and none is lost.
The task of transformers' pipelines lives here as well, and is given its model.
"""

from hf_attrib.runs.dataset import explain_dataset
from hf_attrib.runs.estimation import DatasetEstimate, estimate_dataset
from hf_attrib.runs.explain import Explain
from hf_attrib.runs.loading import DatasetRun, load_run
from hf_attrib.runs.rows import KINDS

__all__ = [
    "COLUMNS",
    "DatasetEstimate",
    "DatasetRun",
    "Explain",
    "estimate_dataset",
    "explain_dataset",
    "load_run",
]

#: Names of the columns that are written about each row.
COLUMNS = tuple(KINDS)
