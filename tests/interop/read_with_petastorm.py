"""Run by petastorm's own Python: reads a dataset with `make_reader` and writes down each value it gave.

usage: read_with_petastorm.py URL FOLDER

FOLDER/rows.json holds the Unischema as petastorm sees it and the rows: a value is null, ["array", key of
arrays.npz], or [the type's name, its text]. This file imports nothing of tfpetastorm.
"""

import json
import sys
from pathlib import Path

import numpy as np
from petastorm import make_reader


def told(value, key, arrays):
    """One value as JSON; arrays go into `arrays` under `key`."""
    if value is None:
        return None
    if isinstance(value, np.ndarray):
        arrays[key] = value
        return ["array", key]
    if isinstance(value, np.datetime64):
        return [str(value.dtype), str(value)]
    if isinstance(value, bytes):
        return [type(value).__name__, value.hex()]
    return [type(value).__name__, str(value)]


def main(url, folder):
    arrays, rows = {}, []
    with make_reader(url, reader_pool_type="dummy", shuffle_row_groups=False, num_epochs=1) as reader:
        schema = {
            name: [getattr(field.numpy_dtype, "__name__", str(field.numpy_dtype)), list(field.shape), field.nullable]
            for name, field in reader.schema.fields.items()
        }
        for number, row in enumerate(reader):
            rows.append({name: told(value, f"{number}/{name}", arrays) for name, value in row._asdict().items()})
    np.savez(Path(folder) / "arrays.npz", **arrays)
    (Path(folder) / "rows.json").write_text(json.dumps({"schema": schema, "rows": rows}))


if __name__ == "__main__":
    main(*sys.argv[1:])
