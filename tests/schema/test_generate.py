"""Rows made up for a schema: of its dtypes and shapes, and good enough to be written."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path

import numpy as np

import tfpetastorm as tps
from tfpetastorm.test_util.reader_mock import ReaderMock, schema_data_generator_example

SCHEMA = tps.Unischema(
    "All",
    [
        tps.UnischemaField("small", np.uint8, (), tps.ScalarCodec("int8")),
        tps.UnischemaField("large", np.uint64, (None, 3), tps.NdarrayCodec()),
        tps.UnischemaField("text", np.str_, ()),
        tps.UnischemaField("raw", np.bytes_, (None,), tps.NdarrayCodec()),
        tps.UnischemaField("price", Decimal, (), tps.ScalarCodec("decimal128(4, 3)")),
        tps.UnischemaField("prices", Decimal, (2,)),
        tps.UnischemaField("day", dt.date, ()),
        tps.UnischemaField("times", np.dtype("datetime64[us]"), (2,), tps.NdarrayCodec()),
        tps.UnischemaField("flag", np.bool_, (), nullable=True),
        tps.UnischemaField("half", np.float16, (2, 2), tps.CompressedNdarrayCodec()),
        tps.UnischemaField("image", np.uint8, (None, 5, 3), tps.CompressedImageCodec("png")),
    ],
)


def test_any_schemas_rows_can_be_written(tmp_path: Path) -> None:
    with tps.DatasetWriter(tmp_path / "d", SCHEMA) as writer:
        for seed in range(30):
            writer.write(tps.generate_datapoint(SCHEMA, seed))
        writer.write(schema_data_generator_example(SCHEMA))
    assert tps.open_dataset(tmp_path / "d").num_rows == 31


def test_dtypes_and_shapes() -> None:
    row = tps.generate_datapoint(SCHEMA, 1)
    for field in SCHEMA:
        shape = tuple(13 if size is None else size for size in field.shape)
        if field.name == "price":
            assert isinstance(row["price"], Decimal)
            continue
        assert row[field.name].shape == shape
        kind = {"text": "U", "bytes": "S"}.get(field.kind, field.dtype.kind)
        assert row[field.name].dtype.kind == kind


def test_a_seed_decides_all() -> None:
    first, again, other = (tps.generate_datapoint(SCHEMA, seed) for seed in (3, 3, 4))
    for name in first:
        np.testing.assert_array_equal(first[name], again[name])
    assert not np.array_equal(first["large"], other["large"])


def test_a_reader_that_makes_up_its_rows() -> None:
    with ReaderMock(SCHEMA, schema_data_generator_example) as reader:
        rows = [next(reader) for _ in range(3)]
        assert reader.batched_output is False
        assert set(reader.next_columns()) == set(SCHEMA.fields)
    assert rows[0].image.shape == (10, 5, 3)
    assert rows[0].price == Decimal("0.0")
