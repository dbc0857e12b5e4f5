"""Datasets to read as TFX does, and what must come of their rows, worked out row by row."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf
from hypothesis import strategies as st

import tfpetastorm as tps
from tests.schema.strategies import cells, fields
from tfpetastorm.schema.codecs import CompressedImageCodec
from tfpetastorm.schema.field import UnischemaField as Field
from tfpetastorm.schema.unischema import Unischema

Row = dict[str, Any]


@st.composite
def datasets(draw: st.DrawFn, most_fields: int = 5) -> tuple[Unischema, list[Row]]:
    """A schema of any fields, and rows of it that TFX can hold."""
    drawn = draw(st.lists(fields(), min_size=1, max_size=most_fields, unique_by=lambda field: field.name))
    schema = Unischema("Any", drawn)
    rows = []
    for _ in range(draw(st.integers(1, 6))):
        row = {}
        for field in drawn:
            cell = None if field.nullable and draw(st.booleans()) else draw(cells(field))
            if cell is not None and field.numpy_dtype is np.uint64:
                cell = cell >> np.uint64(1)
            if cell is not None and field.numpy_dtype is np.float64:
                # TensorFlow takes subnormal numbers for 0.
                cell = np.where(np.abs(cell) < np.finfo(np.float32).tiny, 0.0, cell)[()]
            row[field.name] = cell
        rows.append(row)
    return schema, rows


def write(folder: Path, schema: Unischema, rows: list[Row], row_group_rows: int = 2) -> Path:
    """The rows as a dataset of ours."""
    with tps.DatasetWriter(folder, schema, row_group_rows=row_group_rows, petastorm_compatible=False) as writer:
        for row in rows:
            writer.write(row)
    return folder


def stored_cells(folder: Path, name: str) -> list[Any]:
    """A column's cells as they lie in the file."""
    table = pq.read_table(sorted(folder.glob("*.parquet"))[0], columns=None)
    return list(table.column(name).to_pylist())


def shown(field: Field, cell: Any, stored: Any) -> Any:
    """A cell as a record batch has it, in lists. stored: as it lies in the file."""
    if cell is None:
        return None
    if isinstance(field.codec, CompressedImageCodec):
        return [stored]
    array = np.asarray(cell, object if field.is_text or field.kind == "date" else field.dtype)
    if not field.shape:
        return [item(field, array[()])]
    made = nested(field, array)
    fixed = None not in field.shape
    return flat(made, array.ndim) if fixed and not field.nullable else made


def nested(field: Field, array: Any) -> Any:
    return [nested(field, part) if np.ndim(part) else item(field, part) for part in array]


def flat(lists: Any, levels: int) -> Any:
    for _ in range(levels - 1):
        lists = [value for part in lists for value in part]
    return lists


def item(field: Field, value: Any) -> Any:
    """One value, as int, float or bytes; of a Decimal the number."""
    if field.kind == "text":
        return value.encode()
    if field.kind == "decimal":
        return Decimal(value)
    if field.kind == "date":
        return (value - dt.date(1970, 1, 1)).days
    if field.kind == "datetime":
        return int(value.astype(field.dtype).view(np.int64))
    if field.kind == "number" and field.dtype.kind == "f":
        with np.errstate(over="ignore"):
            return float(np.float32(value))
    return value if field.kind == "bytes" else int(value)


def found(field: Field, column: pa.Array) -> list[Any]:
    """A column of a record batch in the same terms."""
    lists = column.to_pylist()
    return [decimals(cell) for cell in lists] if field.kind == "decimal" else lists


def decimals(cell: Any) -> Any:
    if isinstance(cell, list):
        return [decimals(part) for part in cell]
    return None if cell is None else Decimal(cell.decode())


def plain(tensor: Any) -> Any:
    """A tensor of any kind in values that compare, its form included."""
    if isinstance(tensor, tf.RaggedTensor):
        return (
            "ragged",
            tensor.flat_values.dtype,
            tensor.ragged_rank,
            [s.numpy().tolist() for s in tensor.nested_row_splits],
            plain(tensor.flat_values),
        )
    if isinstance(tensor, tf.SparseTensor):
        return "sparse", tensor.indices.numpy().tolist(), plain(tensor.values), tensor.dense_shape.numpy().tolist()
    return "dense", tensor.dtype, tensor.shape.as_list(), tensor.numpy().tolist()


def plain_batch(tensors: Any) -> dict[str, Any]:
    """Tensors by name, of a batch."""
    return {name: plain(tensor) for name, tensor in tensors.items()}
