"""Where rows come from: files, data sets, streams, or mappings in a list."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from hf_attrib.errors import InputError
from hf_attrib.runs.rows import UNREADABLE, columns_of, plain
from hf_attrib.runs.worker import needed

__all__ = ["Source", "opened"]

_SUFFIXES = (".jsonl", ".csv", ".parquet")


@dataclass(frozen=True)
class Source:
    """Rows by their place.

    Args:
        names: of the columns that are read, by the names that ``explain`` has for them.
        count: how many rows there are.
        row: returns all columns of a row.
    """

    names: Mapping[str, str]
    count: int
    row: Callable[[int], Mapping[str, Any]]

    def values(self, place: int) -> dict[str, Any]:
        """Return what is read from a row, by the names that ``explain`` has for it."""
        row = self.row(place)
        if UNREADABLE in row:
            return dict(row)
        return {name: plain(row.get(column)) for name, column in self.names.items()}


def opened(source: Any, columns: Mapping[str, str], split: str | None, limit: int | None) -> Source:
    """Return the rows of whatever holds some.

    Args:
        source: the path of a file, the name of a data set on the hub, a ``Dataset``, an
            ``IterableDataset``, or a list of mappings.
        columns: names of columns that are not called as ``explain`` calls them.
        split: of a data set on the hub.
        limit: how many rows to take at most.

    Raises:
        InputError: there is no such source, it cannot be read, or it has no column of prompts.
    """
    if isinstance(source, str | Path):
        path = Path(source)
        if path.is_file():
            there, count, row = _of_file(path)
        elif isinstance(source, str) and not _looks_like_a_path(source):
            return opened(_from_hub(source, split), columns, None, limit)
        else:
            raise InputError(
                f"there is no file {str(source)!r}; give one that ends in {', '.join(_SUFFIXES)}, "
                "or the name of a data set on the hub."
            )
    elif hasattr(source, "column_names") and hasattr(source, "__iter__"):
        there, count, row = _of_dataset(source, limit)
    elif isinstance(source, Sequence) and all(isinstance(one, Mapping) for one in source):
        there, count, row = _listed(source)
    else:
        raise InputError(
            f"source is {source!r:.80}; expected a path, the name of a data set, a Dataset, an "
            "IterableDataset, or a list of mappings."
        )
    count = count if limit is None else min(count, limit)
    if not count:
        raise InputError(f"{source!s:.80} has no rows; give at least one.")
    return Source(columns_of(there, columns), count, row)


_Rows = tuple[Collection[str], int, Callable[[int], Mapping[str, Any]]]


def _looks_like_a_path(text: str) -> bool:
    return text.startswith((".", "/", "~")) or text.endswith(_SUFFIXES) or text.count("/") > 1


def _listed(rows: Sequence[Mapping[str, Any]]) -> _Rows:
    return {name: None for row in rows for name in row}, len(rows), rows.__getitem__


def _of_file(path: Path) -> _Rows:
    read = {".jsonl": _json_lines, ".csv": _csv, ".parquet": _parquet}.get(path.suffix.lower())
    if read is None:
        raise InputError(f"{path} is a {path.suffix or 'file'}; expected {', '.join(_SUFFIXES)}.")
    try:
        return read(path)
    except (OSError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read {path}: {reason}.") from None


def _json_lines(path: Path) -> _Rows:
    """Read lines where they are asked for; memory holds where each begins."""
    starts, names, at = [], dict[str, None](), 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                starts.append((at, number))
                names |= dict.fromkeys(_parsed(line, number))
            at += len(line)
    names.pop(UNREADABLE, None)

    def row(place: int) -> Mapping[str, Any]:
        start, number = starts[place]
        with path.open("rb") as file:
            file.seek(start)
            return _parsed(file.readline(), number)

    return names, len(starts), row


def _parsed(line: bytes, number: int) -> Mapping[str, Any]:
    try:
        text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        row = json.loads(text)
    except UnicodeDecodeError:
        return {UNREADABLE: f"line {number} is not UTF-8 text."}
    except (ValueError, RecursionError) as error:
        return {UNREADABLE: f"line {number} is not JSON ({error})."}
    if not isinstance(row, dict):
        return {UNREADABLE: f"line {number} is {text.strip()!r:.40}; expected an object."}
    return row


def _csv(path: Path) -> _Rows:
    """Read all texts; a cell that is empty holds nothing."""
    # Bytes that are no UTF-8 become what no prompt may hold, so that their row says so.
    text = path.read_bytes().decode("utf-8-sig", "surrogateescape")
    before = csv.field_size_limit(sys.maxsize)
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""))
        rows, names = list(reader), list(reader.fieldnames or [])
    finally:
        csv.field_size_limit(before)
    if twice := [name for name in dict.fromkeys(names) if name and names.count(name) > 1]:
        raise InputError(f"{path} has two columns {twice[0]!r:.80}; give each a name of its own.")
    found = [
        {UNREADABLE: f"row {number} has more cells than the header."}
        if None in row
        else {name: cell or None for name, cell in row.items()}
        for number, row in enumerate(rows, 1)
    ]
    return names, len(found), found.__getitem__


def _parquet(path: Path) -> _Rows:
    return _of_dataset(_loaded("parquet", data_files=str(path), split="train"), None)


def _from_hub(name: str, split: str | None) -> Any:
    return _loaded(name, split=split or "train")


def _loaded(name: str, **options: Any) -> Any:
    try:
        return needed("datasets").load_dataset(name, **options)
    except InputError:
        raise
    except Exception as error:  # libraries below it raise errors of many kinds
        what = options.get("data_files", name)
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(f"cannot load the data set {what!r}: {first.rstrip('.')}.") from error


def _of_dataset(data: Any, limit: int | None) -> _Rows:
    datasets = needed("datasets")
    if isinstance(data, datasets.IterableDataset):
        # Whose rows have no places until they are all there.
        return _listed([dict(row) for row in islice(iter(data), limit)])
    if isinstance(data, datasets.Dataset):
        rows = data.with_format(None)
        return data.column_names, len(data), rows.__getitem__
    splits = ", ".join(map(repr, data)) if isinstance(data, Mapping) else type(data).__name__
    raise InputError(f"source holds several data sets ({splits}); give one of them.")
