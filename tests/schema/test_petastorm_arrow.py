"""`Unischema.from_arrow_schema` of pyarrow's own datasets, with folders and without."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tfpetastorm.errors import DatasetWarning, SchemaError
from tfpetastorm.unischema import Unischema


@pytest.mark.parametrize("folders", [False, True])
def test_the_columns_of_files_and_the_names_of_folders(folders: bool, tmp_path: Path) -> None:
    folder = tmp_path / ("year=2001/kind=a" if folders else ".")
    folder.mkdir(parents=True, exist_ok=True)
    table = pa.table({"id": pa.array([1], pa.int64()), "x": pa.array([0.5], pa.float32()), "words": [["a"]]})
    pq.write_table(table, folder / "one.parquet")
    schema = Unischema.from_arrow_schema(pq.ParquetDataset(tmp_path))
    expected = {"id": (np.int64, ()), "x": (np.float32, ()), "words": (np.str_, (None,))}
    if folders:
        expected |= {"year": (np.int64, ()), "kind": (np.str_, ())}
    assert {field.name: (field.numpy_dtype, field.shape) for field in schema} == expected


def test_types_that_petastorm_had_not(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": [1], "pair": [{"a": 1}]}), tmp_path / "one.parquet")
    dataset = pq.ParquetDataset(tmp_path)
    with pytest.warns(DatasetWarning, match="pair"):
        assert list(Unischema.from_arrow_schema(dataset).fields) == ["id"]
    with pytest.raises(SchemaError, match="pair"):
        Unischema.from_arrow_schema(dataset, omit_unsupported_fields=False)
