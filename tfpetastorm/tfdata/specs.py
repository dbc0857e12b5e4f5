"""TensorSpecs of fields, and columns as the flat arrays that cross into the graph."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfpetastorm.errors import DamagedDataError, Place, describe
from tfpetastorm.schema.columns import Array, Column, Text
from tfpetastorm.schema.field import UnischemaField
from tfpetastorm.schema.rows import text_objects


def graph_dtype(field: UnischemaField) -> Any:
    """The `tf.DType` of a field: its own for numbers and bools; string for str, bytes and Decimal (exact, as text);
    int64 for datetime64, in its unit since 1970; int32 for dates, in days since 1970. NaT is the least of either."""
    if field.is_text:
        return tf.string
    if field.kind == "datetime":
        return tf.int64
    if field.kind == "date":
        return tf.int32
    return tf.as_dtype(field.dtype)


def field_spec(field: UnischemaField, batch: tuple[int | None, ...] = (None,)) -> Any:
    """The `tf.TensorSpec` or `tf.RaggedTensorSpec` of a field with these leading dimensions (`()` for one row)."""
    shape = [*batch, *field.shape]
    ragged_rank = len(batch) - 1 + field.ragged_rank
    if not field.ragged_rank or ragged_rank == 0:
        return tf.TensorSpec(shape, graph_dtype(field), field.name if _is_scope(field.name) else None)
    return tf.RaggedTensorSpec(shape, graph_dtype(field), ragged_rank, tf.int64)


def _is_scope(name: str) -> bool:
    return name.isidentifier()


def tensor_specs(fields: Iterable[UnischemaField], batch_size: int | None = None) -> dict[str, Any]:
    """A schema as the element spec of its batches.

    fields: a Unischema or some fields. batch_size: the static first dimension, None if it may differ. Each field is a
    `tf.TensorSpec [batch, *shape]`, or a `tf.RaggedTensorSpec` where its shape has a None.
    """
    return {field.name: field_spec(field, (batch_size,)) for field in fields}


def flat_dtypes(fields: Sequence[UnischemaField]) -> list[Any]:
    """The dtypes of `flatten`'s arrays: for each field its items, then its row splits."""
    return [dtype for field in fields for dtype in (graph_dtype(field), *[tf.int64] * field.ragged_rank)]


def flatten(columns: dict[str, Column], fields: Sequence[UnischemaField]) -> list[Array]:
    """Columns as arrays that TensorFlow adopts without a copy where they are aligned (strings are always copied)."""
    arrays: list[Array] = []
    for field in fields:
        column = columns[field.name]
        values = column.values
        if isinstance(values, Text):
            objects = text_objects(values, decode=False)
            arrays.append(objects.reshape(-1, *column.inner) if column.inner else objects)
        elif field.kind == "datetime":
            arrays.append(values.view(np.int64))
        elif field.kind == "date":
            arrays.append(_days(field, values))
        else:
            arrays.append(values)
        arrays.extend(column.splits)
    return arrays


def _days(field: UnischemaField, values: Array) -> Array:
    """Dates as int32 days. Raises DamagedDataError naming the field for one beyond them, six million years from now."""
    days, limits = values.view(np.int64), np.iinfo(np.int32)
    if days.size and (days.min() <= limits.min or days.max() > limits.max):
        missing = np.isnat(values)
        beyond = ((days <= limits.min) | (days > limits.max)) & ~missing
        if beyond.any():
            raise DamagedDataError(
                describe(
                    "A date has no number of days in int32, as tensors have it",
                    Place(field=field.name),
                    expected="years of five digits",
                    found=values[beyond].flat[0],
                )
            )
        days = np.where(missing, limits.min, days)
    return days.astype(np.int32)


def unflatten(tensors: Sequence[Any], fields: Sequence[UnischemaField]) -> dict[str, Any]:
    """The tensors of `flatten`'s arrays, in the graph: each field by name, its static shape set."""
    elements: dict[str, Any] = {}
    rest = list(tensors)
    for field in fields:
        values, rest = rest[0], rest[1:]
        values.set_shape([None, *field.inner_shape])
        splits, rest = rest[: field.ragged_rank], rest[field.ragged_rank :]
        if splits:
            for split in splits:
                split.set_shape([None])
            values = tf.RaggedTensor.from_nested_row_splits(values, splits, validate=False)
        elements[field.name] = values
    return elements
