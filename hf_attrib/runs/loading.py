"""A run that is read back: a data set, its question, and results."""

from __future__ import annotations

import os
from functools import cached_property
from pathlib import Path
from typing import Any

from hf_attrib.errors import InputError
from hf_attrib.hyperparameters import plain_number
from hf_attrib.results import Attribution, Told, from_json
from hf_attrib.runs.manifest import Manifest
from hf_attrib.runs.worker import folder_of, needed

__all__ = ["DatasetRun", "load_run"]


class DatasetRun(Told):
    """What a run has found so far; it may still go on.

    Args:
        folder: of the run.

    Raises:
        InputError: it holds none.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        manifest = Manifest(folder)
        try:
            #: What was asked of each row, the model included.
            self.question = manifest.question
            #: How many rows are done, failed, open, and in work.
            self.counts = manifest.counts()
            #: Place in the source and error of each row that has failed.
            self.errors = manifest.errors()
            self._positions = manifest.positions()
        finally:
            manifest.close()

    def __len__(self) -> int:
        return len(self._positions)

    def __repr__(self) -> str:
        return f"DatasetRun({str(self.folder)!r}, {self.counts})"

    def __str__(self) -> str:
        said = ", ".join(f"{count:,} {name}" for name, count in self.counts.items() if count)
        return f"{self.folder}: rows {said or 'none'}"

    @cached_property
    def dataset(self) -> Any:
        """Finished rows in the order of the source, as a ``datasets.Dataset``.

        Column ``row`` is the place in the source; the others are
        :data:`hf_attrib.runs.COLUMNS`.
        """
        arrow, parquet = needed("pyarrow"), needed("pyarrow.parquet")
        datasets = needed("datasets")
        if not self._positions:
            raise InputError(f"the run in {self.folder} has no finished rows yet.")
        parts, tables, before = dict[str, int](), [], 0
        for part in dict.fromkeys(part for part, _ in self._positions):
            try:
                tables.append(parquet.read_table(self.folder / part))
            except (OSError, arrow.ArrowInvalid) as error:
                raise InputError(
                    f"{self.folder / part} cannot be read ({error}); the run is damaged."
                ) from None
            parts[part], before = before, before + len(tables[-1])
        places = [parts[part] + position for part, position in self._positions]
        return datasets.Dataset(arrow.concat_tables(tables)).select(places)

    def result(self, index: int) -> Attribution:
        """Return the whole result of a row, where the run keeps results.

        Args:
            index: of the row in :attr:`dataset`.

        Raises:
            InputError: the row has failed, or the run keeps none.
        """
        index = plain_number(index)
        if type(index) is not int or not -len(self) <= index < len(self):
            raise InputError(f"index is {index!r:.80}; expected less than {len(self)}.")
        row = self.dataset[index]
        if row["error"]:
            raise InputError(f"row {row['row']} has no result: {row['error']}")
        if not row["result"]:
            raise InputError(
                "the run keeps scores and no results; explain into a new folder with results=True "
                "(--results)."
            )
        return from_json(row["result"].encode(), f"row {row['row']} of {self.folder}", Attribution)


def load_run(folder: str | os.PathLike[str]) -> DatasetRun:
    """Read what a run of :func:`explain_dataset` or ``hf-attrib dataset`` has found so far.

    Raises:
        InputError: it is no path of a folder, or the folder holds no run.
    """
    return DatasetRun(folder_of(folder))
