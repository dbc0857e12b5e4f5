"""Every value that real petastorm wrote decodes to what petastorm itself decoded."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tfpetastorm.schema.arrow import check_stored, column_at, infer_schema
from tfpetastorm.schema.codecs import decode_column
from tfpetastorm.schema.petastorm_format import UNISCHEMA_KEY, can_express, read_pickled_schema, write_pickled_schema
from tfpetastorm.schema.rows import cells_of
from tfpetastorm.schema.unischema import Unischema

GOLDEN = Path(__file__).parents[1] / "golden"
DATASETS = [
    "petastorm-0.13.1/types",
    "petastorm-0.13.1/drive_small",
    "petastorm-legacy/0.4.3",
    "petastorm-legacy/0.7.0",
]


def refuse(row: int, reason: str) -> None:
    raise AssertionError(f"row {row}: {reason}")


def pickled(dataset: str) -> bytes:
    return pq.read_schema(GOLDEN / dataset / "_common_metadata").metadata[UNISCHEMA_KEY]


def files(dataset: str) -> list[Path]:
    return sorted((GOLDEN / dataset).glob("**/*.parquet"))


@pytest.mark.parametrize(("dataset", "key"), [("types", "id"), ("drive_small", "timestamp")])
def test_equals_what_petastorm_decoded(dataset, key):
    schema = read_pickled_schema(pickled(f"petastorm-0.13.1/{dataset}"))
    with np.load(GOLDEN / f"petastorm-0.13.1/{dataset}.expected.npz") as stored:
        arrays = dict(stored)
    others = json.loads((GOLDEN / f"petastorm-0.13.1/{dataset}.expected.json").read_text())
    compared = 0
    for file in files(f"petastorm-0.13.1/{dataset}"):
        table = pq.ParquetFile(file).read()
        check_stored(schema, table.schema, str(file))
        keys = table[key].to_pylist()
        for field in schema:
            if field.name not in table.column_names:
                continue
            cells = cells_of(field, decode_column(field, table[field.name], refuse))
            for identity, cell in zip(keys, cells, strict=True):
                place = f"{field.name}/{identity}"
                compared += 1
                if place in arrays:
                    expected = arrays[place]
                    if cell is None:  # petastorm reads null floats through pandas
                        assert np.isnan(expected), place
                        continue
                    found = (
                        np.array(cell.tolist(), expected.dtype) if field.is_text and field.shape else np.asarray(cell)
                    )
                    assert (found.dtype, found.shape) == (expected.dtype, expected.shape), place
                    tolerance = 2 if field.name == "jpeg" else 0
                    if tolerance:
                        assert np.abs(found.astype(int) - expected.astype(int)).max() <= tolerance, place
                    else:
                        assert found.tobytes() == expected.tobytes(), place
                elif others[place] is None:
                    assert cell is None, place
                else:
                    ((kind, expected),) = others[place].items()
                    if kind == "hex":
                        assert cell == bytes.fromhex(expected), place
                    elif kind == "decimal":
                        assert isinstance(cell, Decimal), place
                        assert str(cell) == expected, place
                    else:
                        assert cell == expected, place
    partitions = sum(place.startswith("part/") for place in others)
    assert compared == len(arrays) + len(others) - partitions


@pytest.mark.parametrize("dataset", DATASETS)
def test_schemas_survive_every_form(dataset):
    schema = read_pickled_schema(pickled(dataset))
    assert Unischema.from_json(schema.to_json()) == schema
    assert can_express(schema) == []
    assert read_pickled_schema(write_pickled_schema(schema)) == schema
    for file in files(dataset):
        check_stored(schema, pq.read_schema(file), str(file))


@pytest.mark.parametrize("version", ["0.4.3", "0.7.0"])
def test_old_versions_decode(version):
    schema = read_pickled_schema(pickled(f"petastorm-legacy/{version}"))
    rows = 0
    for file in files(f"petastorm-legacy/{version}"):
        table = pq.ParquetFile(file).read()
        rows += len(table)
        cells = {
            field.name: cells_of(field, decode_column(field, table[field.name], refuse))
            for field in schema
            if field.name in table.column_names
        }
        for row, identity in enumerate(cells["id"]):
            assert cells["id2"][row] == identity % 2, file
            assert cells["python_primitive_uint8"][row] in range(256)
            assert cells["matrix"][row].dtype == np.float32
            assert cells["matrix"][row].shape == (32, 16, 3)
            assert isinstance(cells["decimal"][row], Decimal)
            assert cells["sensor_name"][row].tolist() == ["test_sensor"]
    assert rows == 100


def test_plain_parquet_is_inferred():
    for file in files("petastorm-0.13.1/plain"):
        table = pq.ParquetFile(file).read()
        inferred = infer_schema(table.schema)
        assert [str(field) for field in inferred.schema] == [
            "id: int64 nullable",
            "x: float64 nullable",
            "xs: float64 [None] nullable",
            "names: str [None] nullable",
            "opt: int32 nullable",
            "at: datetime64[ns] nullable",
            "day: date nullable",
            "price: decimal as ScalarCodec(storage='decimal128(12, 2)') nullable",
            "pair.a: int32 nullable",
            "pair.b: str nullable",
        ]
        for field in inferred.schema:
            path = inferred.paths[field.name]
            column = column_at(table[path[0]].combine_chunks(), path)
            found = cells_of(field, decode_column(field, column, refuse))
            expected = column.to_pylist()
            if field.name == "at":
                found = [None if cell is None else cell.astype("datetime64[us]").item() for cell in found]
            elif field.shape:
                found = [None if cell is None else list(cell) for cell in found]
            assert found == expected, field.name
