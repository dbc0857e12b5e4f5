"""A dataset with a bit of everything, for tests of reading."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

ROWS, GROUP = 240, 20


def table_of(start: int, stop: int) -> pa.Table:
    ids = np.arange(start, stop)
    return pa.table(
        {
            "id": pa.array(ids, pa.int64()),
            "speed": pa.array(ids / 10, pa.float32()),
            "label": pa.array([None if i % 7 == 3 else int(i % 5) for i in ids], pa.int32()),
            "name": pa.array([f"row {i}" for i in ids]),
            "tags": pa.array([list(range(i % 4)) for i in ids], pa.list_(pa.int64())),
        }
    )


@pytest.fixture(scope="session")
def plain(tmp_path_factory) -> Path:
    """240 rows of plain Parquet in two files of six row groups of 20: ids and speeds ascend, labels have nulls."""
    folder = tmp_path_factory.mktemp("plain")
    for part in range(2):
        table = table_of(part * ROWS // 2, (part + 1) * ROWS // 2)
        pq.write_table(table, folder / f"part-{part}.parquet", row_group_size=GROUP)
    return folder


@pytest.fixture(scope="session")
def hive(tmp_path_factory) -> Path:
    """60 rows in three folders drive=a, b, c and day=1, 1, 2."""
    root = tmp_path_factory.mktemp("hive")
    for i, (drive, day) in enumerate([("a", 1), ("b", 1), ("c", 2)]):
        folder = root / f"day={day}" / f"drive={drive}"
        folder.mkdir(parents=True)
        pq.write_table(
            table_of(i * 20, i * 20 + 20).drop_columns(["label"]), folder / "part.parquet", row_group_size=10
        )
    return root
