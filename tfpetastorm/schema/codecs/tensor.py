"""TensorCodec: arrays of one fixed shape as Arrow's `fixed_shape_tensor`, so that decoding is a reshape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa

from tfpetastorm.errors import Place, SchemaError, SchemaMismatchError, describe
from tfpetastorm.schema.codecs.base import Cells, Codec, Limits, OnBad, encode_cells, encode_each
from tfpetastorm.schema.codecs.buffers import storage_of, validity
from tfpetastorm.schema.codecs.fit import fits
from tfpetastorm.schema.codecs.flat import decode_flat
from tfpetastorm.schema.codecs.lists import decode_lists, is_list, shaped
from tfpetastorm.schema.codecs.lists_encode import encode_lists
from tfpetastorm.schema.codecs.native import native_scalar_type
from tfpetastorm.schema.codecs.ndarray import stored_array
from tfpetastorm.schema.codecs.scalars import encode_scalar_array
from tfpetastorm.schema.columns import Column

if TYPE_CHECKING:
    from tfpetastorm.schema.field import UnischemaField


@dataclass(frozen=True)
class TensorCodec(Codec):
    """An array of numbers (not bool) of a fixed shape, kept as Arrow keeps tensors: no copy, no header, no parsing.

    Other readers see a `fixed_shape_tensor`; where the field is nullable a plain list of the flat values, as pyarrow
    up to 15 can't read null tensors back from Parquet.
    """

    codec_name: ClassVar[str] = "tensor"

    def check(self, field: UnischemaField) -> None:
        """Raise SchemaError if this codec can't hold `field`."""
        fixed = field.shape and field.ragged_rank == 0
        if not fixed or field.kind != "number" or field.dtype.kind == "b":
            raise SchemaError(
                describe(
                    "TensorCodec can't hold this field",
                    Place(field=field.name),
                    expected="integers or floats of a fixed shape",
                    found=field.dtype if fixed else field.shape,
                    remedy="Use NdarrayCodec.",
                )
            )

    def arrow_type(self, field: UnischemaField) -> pa.DataType:
        """The Arrow type of the column that holds `field`."""
        if field.nullable:
            return pa.list_(native_scalar_type(field))
        return pa.fixed_shape_tensor(native_scalar_type(field), list(field.inner_shape))

    def encode(self, field: UnischemaField, value: Any) -> Any:
        """One cell as it is stored. Raises BadCellError if `value` is not the field's."""
        return stored_array(field, value).reshape(-1)

    def encode_column(self, field: UnischemaField, values: Cells) -> pa.Array:
        """All cells of one column, None for null. Raises EncodeError naming field and row."""
        kind = self.arrow_type(field)
        item = native_scalar_type(field)
        if field.nullable:
            return self._encode_nullable(field, values, item)
        if isinstance(values, np.ndarray) and values.dtype == field.dtype and fits(field, values.shape[1:]):
            flat = encode_scalar_array(_items(field), values.reshape(-1), item)
            return pa.ExtensionArray.from_storage(kind, pa.FixedSizeListArray.from_arrays(flat, _size(field)))
        return pa.ExtensionArray.from_storage(kind, encode_cells(field, values, self.encode, kind.storage_type))

    def _encode_nullable(self, field: UnischemaField, values: Cells, item: pa.DataType) -> pa.Array:
        if isinstance(values, np.ndarray) and values.dtype == field.dtype and fits(field, values.shape[1:]):
            flat: Cells = values.reshape(len(values), _size(field))
        else:
            flat = encode_each(field, values, self.encode)
        return encode_lists(_flat(field), flat, item, pa.list_(item))

    def decode_column(self, field: UnischemaField, array: pa.Array, on_bad: OnBad, *, limits: Limits) -> Column:
        """All rows of one column; `on_bad` hears of each cell that can't be decoded."""
        stored = storage_of(array)
        if not is_list(stored.type):
            raise SchemaMismatchError(
                describe(
                    "The stored type can't become the field's",
                    Place(field=field.name),
                    expected=self.arrow_type(field),
                    found=array.type,
                )
            )
        flat_field = _flat(field)
        if not pa.types.is_fixed_size_list(stored.type) or stored.type.list_size != _size(field):
            # Plain lists, of a nullable field or another writer: their lengths are checked.
            column = decode_lists(flat_field, stored, on_bad)
            assert isinstance(column.values, np.ndarray)
            return Column(column.values.reshape(len(stored), *field.inner_shape), (), column.valid, field.inner_shape)
        valid = validity(stored)
        values, item_valid = decode_flat(_items(field), stored.flatten(), on_bad)
        if item_valid is not None:
            return decode_lists(flat_field, stored, on_bad)
        return shaped(field, [], values, valid, valid, len(stored))


def _size(field: UnischemaField) -> int:
    return int(np.prod(field.inner_shape, dtype=np.int64))


def _items(field: UnischemaField) -> UnischemaField:
    from tfpetastorm.schema.field import UnischemaField

    return UnischemaField(field.name, field.numpy_dtype)


def _flat(field: UnischemaField) -> UnischemaField:
    from tfpetastorm.schema.field import UnischemaField

    return UnischemaField(field.name, field.numpy_dtype, (_size(field),), None, field.nullable)
