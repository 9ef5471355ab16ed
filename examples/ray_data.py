"""Explain a data set with Ray Data, on one machine or on a cluster, and go on where it ended.

    pip install hf_attrib[datasets,ray]
    python examples/ray_data.py questions.jsonl scores --columns prompt=question

Each actor holds a model, and what it finds goes into a folder of Parquet files. The same command
goes on from there: rows whose ids stand in the folder are left out before any model is loaded,
files that a kill left without an end are deleted, and rows that are new in the source are added.
One command at a time may write to a folder.

An id is a hash of what is read of a row and asked of it, so equal rows have the same one, and
scores are joined to rows by it: ``hf_attrib.Explain.ids`` tells that of each row.
"""

import argparse
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import ray

import hf_attrib


class Explained(hf_attrib.Explain):
    """``Explain``, whose columns have the same types in all files, whatever failed in a batch."""

    def __call__(self, batch):
        """Return what is found of a batch as a table."""
        return pyarrow.Table.from_pydict(super().__call__(batch), self.features.arrow_schema)


def written(folder):
    """Return the ids of all rows in a folder, sorted, after deleting files that have no end."""
    ids = []
    for path in sorted(folder.glob("*.parquet")):
        try:
            ids += pyarrow.parquet.read_table(path, columns=["id"])["id"].to_pylist()
        except pyarrow.ArrowInvalid:
            path.unlink()
    return np.sort(np.array(ids, dtype=str))


def left(batch, explain, done):
    """Return the rows of a batch whose ids are not among those that are done."""
    known, ids = ray.get(done), np.array(explain.ids(batch), dtype=str)
    places = np.searchsorted(known, ids)
    there = places < len(known)
    there[there] = known[places[there]] == ids[there]
    return {name: column[~there] for name, column in batch.items()}


def run(source, folder, columns, model, actors, device, rows, **question):
    """Explain what is open of a source into a folder.

    Args:
        source: a JSON Lines or Parquet file, or a folder of such.
        folder: where scores go.
        columns: for what ``Explain`` reads the name of the column that holds it.
        model: as for ``Explain``.
        actors: how many models are loaded.
        device: ``"cpu"``, or ``"cuda"`` for a GPU for each actor.
        rows: in a batch, and in a file: what a kill can cost each actor.
        **question: as for ``Explain``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    asked = {"model": model, "columns": columns, "device": device, **question}
    read = ray.data.read_parquet if source.suffix == ".parquet" else ray.data.read_json
    data = read(str(source)).select_columns(list(columns.values()))
    open_rows = partial(left, explain=Explained(**asked), done=ray.put(written(folder)))
    data.map_batches(open_rows).repartition(target_num_rows_per_block=rows).map_batches(
        Explained,
        fn_constructor_kwargs=asked,
        batch_size=rows,
        num_gpus=1 if device == "cuda" else 0,
        compute=ray.data.ActorPoolStrategy(size=actors),
    ).write_parquet(str(folder))


def main():
    """Read the command, run, say how many rows there are."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--columns", nargs="+", default=["prompt=prompt"], metavar="NAME=COLUMN")
    parser.add_argument("--model", default="keys-llama")
    parser.add_argument("--method", default="loo_shapley")
    parser.add_argument("--max-new-tokens", type=int, default=20)
    parser.add_argument("--actors", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rows", type=int, default=64)
    given = vars(parser.parse_args())
    given["columns"] = dict(pair.split("=", 1) for pair in given["columns"])
    ray.init(log_to_driver=False, include_dashboard=False)
    cpus = int(ray.cluster_resources()["CPU"])
    if given["device"] == "cpu" and given["actors"] >= cpus:
        # Each takes one as long as it lives, and nothing would be written before the end.
        parser.error(f"--actors {given['actors']} leaves none of {cpus} CPUs to read and write")
    run(**given)
    print(f"{given['folder']}: {len(written(given['folder']))} rows")


if __name__ == "__main__":
    main()
