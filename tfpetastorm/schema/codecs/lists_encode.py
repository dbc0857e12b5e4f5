"""Cells of a list field, as arrays or nested sequences, to Arrow lists."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from tfpetastorm.errors import EncodeError, Place, describe
from tfpetastorm.schema.codecs.base import BadCellError, Cells, encode_cells, mismatch_error, null_error
from tfpetastorm.schema.codecs.fit import describe_field, fits
from tfpetastorm.schema.codecs.scalars import encode_scalar, encode_scalar_array
from tfpetastorm.schema.columns import Array

if TYPE_CHECKING:
    from tfpetastorm.schema.field import UnischemaField


def encode_lists(field: UnischemaField, values: Cells, item: pa.DataType, kind: pa.DataType) -> pa.Array:
    """All cells of a list field as `kind`, lists of `item`. Cells may be arrays or nested sequences, None for null."""
    if isinstance(values, np.ndarray) and values.dtype != object and len(values) and fits(field, values.shape[1:]):
        per_row = max(1, int(np.prod(values.shape[1:], dtype=np.int64)))
        flat = encode_scalar_array(items_of(field), values.reshape(-1), item, row_of=per_row)
        sizes = values.shape
        lengths = [
            np.full(int(np.prod(sizes[:axis], dtype=np.int64)), sizes[axis], np.int64) for axis in range(1, len(sizes))
        ]
        return _wrapped(field, flat, kind, lengths, None)
    nest = _Nest(field)
    missing = np.zeros(len(values), np.bool_)
    for row, value in enumerate(values):
        if value is None:
            if not field.nullable:
                raise null_error(field, row)
            missing[row] = True
            nest.lengths[0].append(0)
            continue
        try:
            nest.add(value, 0, row)
        except BadCellError as error:
            raise mismatch_error(field, row, error.expected, error.found) from None
    lengths = [np.array(part, np.int64) for part in nest.lengths]
    return _wrapped(field, nest.flat(item), kind, lengths, missing if missing.any() else None)


def items_of(field: UnischemaField) -> UnischemaField:
    """The field of one item inside the lists."""
    return replace(field, shape=(), codec=None, nullable=False)


class _Nest:
    """Lists being taken apart: the lengths in each dimension, and the items with the row they came from."""

    def __init__(self, field: UnischemaField) -> None:
        self.field = field
        self.lengths: list[list[int]] = [[] for _ in field.shape]
        self._chunks: list[tuple[int, Any]] = []

    def add(self, value: Any, axis: int, row: int) -> None:
        rest = self.field.shape[axis:]
        if isinstance(value, np.ndarray) and value.dtype != object:
            if len(value.shape) != len(rest) or any(
                n is not None and n != m for n, m in zip(rest, value.shape, strict=True)
            ):
                raise BadCellError(describe_field(self.field), f"{value.dtype} of shape {value.shape}")
            parts = 1
            for depth, size in enumerate(value.shape):
                self.lengths[axis + depth].extend([size] * parts)
                parts *= size
            self._chunks.append((row, value.reshape(-1)))
            return
        if not isinstance(value, (list, tuple, np.ndarray)):
            raise BadCellError(f"{describe_field(self.field)}", f"{type(value).__name__} in dimension {axis}")
        if rest[0] is not None and len(value) != rest[0]:
            raise BadCellError(f"{describe_field(self.field)}", f"{len(value)} items in dimension {axis}")
        self.lengths[axis].append(len(value))
        if len(rest) > 1:
            for part in value:
                self.add(part, axis + 1, row)
        else:
            self._chunks.append((row, list(value)))

    def flat(self, item: pa.DataType) -> pa.Array:
        """All items, checked. An array at a time where items come in arrays of one dtype."""
        field = items_of(self.field)
        chunks = [chunk for _, chunk in self._chunks]
        if chunks and all(isinstance(chunk, np.ndarray) and chunk.dtype == chunks[0].dtype for chunk in chunks):
            try:
                return encode_scalar_array(field, np.concatenate(chunks), item)
            except EncodeError:
                pass  # again, a row at a time, for the error to name the row
        done = [pa.array([], item)]
        for row, chunk in self._chunks:
            try:
                if isinstance(chunk, np.ndarray):
                    done.append(encode_scalar_array(field, chunk, item))
                else:
                    done.append(encode_cells(field, chunk, lambda f, v: encode_scalar(f, v, item), item))
            except EncodeError as error:
                raise EncodeError(
                    describe(f"An item of a list does not match its field [{error}]", Place(field=field.name, row=row))
                ) from None
        return pa.concat_arrays(done)


def _wrapped(
    field: UnischemaField, flat: pa.Array, kind: pa.DataType, lengths: list[Array], missing: Array | None
) -> pa.Array:
    """`flat` items inside the lists of `kind`, innermost first."""
    kinds: list[pa.DataType] = []
    while len(kinds) < len(lengths):
        kinds.append(kind)
        kind = kind.value_type
    for axis in reversed(range(len(lengths))):
        if pa.types.is_fixed_size_list(kinds[axis]):
            flat = pa.FixedSizeListArray.from_arrays(flat, kinds[axis].list_size)
            continue
        offsets = np.zeros(len(lengths[axis]) + 1, np.int64)
        np.cumsum(lengths[axis], out=offsets[1:])
        if offsets[-1] > np.iinfo(np.int32).max:
            raise EncodeError(
                describe(
                    "A column is too big for one Arrow array",
                    Place(field=field.name),
                    expected="less than 2^31 items",
                    found=int(offsets[-1]),
                    remedy="Write fewer rows at once.",
                )
            )
        null = None if axis or missing is None else np.append(missing, False)
        flat = pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32), mask=null), flat)
    return flat
