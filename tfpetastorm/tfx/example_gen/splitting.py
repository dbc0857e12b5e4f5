"""Which output split each row goes to: by hash buckets, as TFX does it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa

from tfpetastorm.errors import NullValueError, OptionError, Place, SchemaError, describe
from tfpetastorm.schema.codecs import ScalarCodec, decode_column
from tfpetastorm.schema.codecs.base import bad_cell_error
from tfpetastorm.schema.columns import Array, Text
from tfpetastorm.schema.field import UnischemaField
from tfpetastorm.schema.rows import text_objects
from tfpetastorm.schema.unischema import Unischema
from tfpetastorm.tfx.example_gen.hashing import row_hashes


@dataclass(frozen=True)
class Buckets:
    """Output splits by name, each with how many of all buckets are its own.

    partition_by: the field whose value decides; without one, all of what is stored in a row does. Either way equal
    rows stay together, and a row's split depends neither on its file nor on other rows.
    """

    splits: tuple[tuple[str, int], ...]
    partition_by: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The splits' names, in order."""
        return tuple(name for name, _ in self.splits)

    @cached_property
    def _ends(self) -> Array:
        return np.cumsum([buckets for _, buckets in self.splits])

    def check(self, schema: Unischema) -> None:
        """Raise `OptionError` or `SchemaError` if the schema has no such field, or not one that can decide."""
        if self.partition_by is None:
            return
        if self.partition_by not in schema.fields:
            near = ", ".join(schema.fields)
            raise OptionError(
                f"partition_feature_name={self.partition_by!r} is no field of the data. Its fields: {near}."
            )
        field = schema.fields[self.partition_by]
        floats = field.kind == "number" and np.dtype(field.dtype).kind not in "iub"
        if floats or field.shape or not (field.codec is None or isinstance(field.codec, ScalarCodec)):
            raise SchemaError(
                describe(
                    "rows can't be split by this field",
                    Place(field=field.name),
                    expected="a scalar: int, bool, text, bytes, Decimal, date or time",
                    found=str(field),
                )
            )

    def of(self, schema: Unischema, arrays: Mapping[str, pa.Array], rows: int, place: Place) -> Array:
        """int64 `[rows]`: the index of each row's split. arrays: all columns, as stored. place: of these rows.

        Raises `NullValueError` naming a row whose deciding value is null.
        """
        if self.partition_by is None:
            buckets = row_hashes(arrays, rows) % np.uint64(self._ends[-1])
        else:
            buckets = self._by_value(schema.fields[self.partition_by], arrays[self.partition_by], place)
        return np.searchsorted(self._ends, buckets.astype(np.int64), side="right")

    def _by_value(self, field: UnischemaField, array: pa.Array, place: Place) -> Array:
        """TFX's own buckets: of the feature that a tf.Example would hold."""

        def bad(row: int, reason: str) -> None:
            raise bad_cell_error(reason, Place(place.file, place.row_group, row, field.name))

        remedy = "Split by another field, or by whole rows: leave partition_feature_name out."
        column = decode_column(field, array, bad)
        if column.valid is not None and not column.valid.all():
            row = int(np.argmin(column.valid))
            raise NullValueError(
                describe(
                    "rows are split by a field that is null",
                    Place(place.file, place.row_group, row, field.name),
                    remedy=remedy,
                )
            )
        if isinstance(column.values, Text):
            values, codes = np.unique(text_objects(column.values, decode=False), return_inverse=True)
            keys = [_bytes_feature(value) for value in values]
        else:
            values, codes = np.unique(column.values, return_inverse=True)
            if values.dtype.kind == "u" and len(values) and values[-1] > np.iinfo(np.int64).max:
                row = int(np.argmax(column.values))
                raise SchemaError(
                    describe(
                        "rows are split by a field as a tf.Example would hold it",
                        Place(place.file, place.row_group, row, field.name),
                        expected="an integer of int64",
                        found=column.values[row],
                        remedy=remedy,
                    )
                )
            keys = [_int64_feature(value) for value in values.astype(np.int64).tolist()]
        total = int(self._ends[-1])
        hashed = [int.from_bytes(hashlib.sha256(key).digest(), "big") % total for key in keys]
        return np.array(hashed, np.int64)[codes.reshape(-1)] if hashed else np.zeros(0, np.int64)


def _bytes_feature(value: bytes) -> bytes:
    """`tf.train.Feature(bytes_list=…)` of one value, serialized."""
    item = b"\x0a" + _varint(len(value)) + value
    return b"\x0a" + _varint(len(item)) + item


def _int64_feature(value: int) -> bytes:
    """`tf.train.Feature(int64_list=…)` of one value, serialized."""
    number = _varint(value % 2**64)
    item = b"\x0a" + _varint(len(number)) + number
    return b"\x1a" + _varint(len(item)) + item


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)
