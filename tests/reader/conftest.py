"""Datasets that readers are tested on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import tfpetastorm as tps

ROWS, GROUP = 90, 10

SCHEMA = tps.Unischema(
    "Drive",
    [
        tps.UnischemaField("id", np.int64, ()),
        tps.UnischemaField("image", np.uint8, (4, 5, 3), tps.CompressedImageCodec("png")),
        tps.UnischemaField("points", np.float32, (None, 2), tps.NdarrayCodec()),
        tps.UnischemaField("name", np.str_, ()),
        tps.UnischemaField("label", np.int32, (), nullable=True),
    ],
)


def row_of(i: int) -> dict[str, object]:
    rng = np.random.default_rng(i)
    return {
        "id": i,
        "image": rng.integers(0, 255, (4, 5, 3), np.uint8),
        "points": rng.random((i % 3, 2), np.float32),
        "name": f"row {i % 4}",
        "label": None if i % 5 == 2 else i % 7,
    }


@pytest.fixture(scope="session")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """90 rows in nine row groups of ten, three files: images, variable shapes, nulls."""
    path = tmp_path_factory.mktemp("drive") / "dataset"
    with tps.DatasetWriter(str(path), SCHEMA, row_group_rows=GROUP, file_rows=3 * GROUP) as writer:
        for i in range(ROWS):
            writer.write(row_of(i))
    return path
