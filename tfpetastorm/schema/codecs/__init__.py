"""How one column is stored, and back: codecs, and the two functions that serve every field with or without one."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from tfpetastorm.errors import EncodeError, Place, SchemaError, describe
from tfpetastorm.schema.codecs.base import (
    DEFAULT_LIMITS,
    BadCellError,
    Cells,
    Codec,
    Limits,
    OnBad,
    UnsafeReason,
    bad_cell_error,
    codec_table,
    null_error,
)
from tfpetastorm.schema.codecs.compressed import CompressedNdarrayCodec
from tfpetastorm.schema.codecs.image import CompressedImageCodec
from tfpetastorm.schema.codecs.native import decode_native, encode_native, native_type
from tfpetastorm.schema.codecs.ndarray import NdarrayCodec
from tfpetastorm.schema.codecs.opaque import OpaqueCodec
from tfpetastorm.schema.codecs.scalar import ScalarCodec
from tfpetastorm.schema.codecs.tensor import TensorCodec
from tfpetastorm.schema.columns import Column

if TYPE_CHECKING:
    from tfpetastorm.schema.field import UnischemaField

#: The codecs that every dataset may name.
BUILTIN_CODECS: tuple[type[Codec], ...] = (
    ScalarCodec,
    NdarrayCodec,
    CompressedNdarrayCodec,
    CompressedImageCodec,
    TensorCodec,
    OpaqueCodec,
)

__all__ = [
    "BUILTIN_CODECS",
    "DEFAULT_LIMITS",
    "BadCellError",
    "Cells",
    "Codec",
    "CompressedImageCodec",
    "CompressedNdarrayCodec",
    "Limits",
    "NdarrayCodec",
    "OnBad",
    "OpaqueCodec",
    "ScalarCodec",
    "TensorCodec",
    "UnsafeReason",
    "arrow_type",
    "bad_cell_error",
    "codec_from_json",
    "codec_to_json",
    "decode_column",
    "encode_column",
    "known_codecs",
]


def arrow_type(field: UnischemaField) -> pa.DataType:
    """The Arrow type of the column that holds `field`."""
    return native_type(field) if field.codec is None else field.codec.arrow_type(field)


def decode_column(field: UnischemaField, array: pa.Array, on_bad: OnBad, limits: Limits = DEFAULT_LIMITS) -> Column:
    """All rows of one column, as the field declares them.

    array: one Arrow array (or a ChunkedArray, which is combined), of the type the field is stored as or one that
        it can be read from. on_bad: called for every cell that can't be decoded; the cell is left zero or empty.
    limits: what one cell may cost.

    Returns a Column of `len(array)` rows, its arrays aligned to 64 bytes.
    Raises SchemaMismatchError if the column's type can't hold the field, and whatever `on_bad` raises.
    """
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0) if array.num_chunks == 1 else _combined(array)
    if field.codec is None:
        return decode_native(field, array, on_bad)
    return field.codec.decode_column(field, array, on_bad, limits=limits)


def _combined(array: pa.ChunkedArray) -> pa.Array:
    return array.combine_chunks() if array.num_chunks else pa.array([], array.type)


def encode_column(field: UnischemaField, values: Cells | pa.Array | pa.ChunkedArray) -> pa.Array:
    """The cells of one column as Arrow stores them.

    values: an array `[rows, *shape]` of the field's dtype, an Arrow array of the type the field is stored as, or a
        sequence of cells, None for null.

    Returns an array of `arrow_type(field)`. Raises EncodeError naming field, row, expected and found.
    """
    if isinstance(values, (pa.Array, pa.ChunkedArray)):
        return _encode_arrow(field, values)
    if not isinstance(values, (np.ndarray, list, tuple)):
        values = list(values)
    if field.codec is None:
        return encode_native(field, values)
    return field.codec.encode_column(field, values)


def _encode_arrow(field: UnischemaField, values: pa.Array | pa.ChunkedArray) -> pa.Array:
    array = _combined(values) if isinstance(values, pa.ChunkedArray) else values
    wanted = arrow_type(field)
    if array.type != wanted:
        if field.codec is not None and not isinstance(field.codec, (ScalarCodec, TensorCodec)):
            return encode_column(field, array.to_pylist())
        try:
            array = array.cast(wanted)
        except (pa.ArrowException, NotImplementedError) as error:
            raise EncodeError(
                describe(
                    f"An Arrow array does not match its field ({error})",
                    Place(field=field.name),
                    expected=wanted,
                    found=array.type,
                )
            ) from None
    if array.null_count and not field.nullable:
        raise null_error(field, int(np.argmax(array.is_null().to_numpy(zero_copy_only=False))))
    return array


def known_codecs(codecs: Iterable[type[Codec]] = ()) -> dict[str, type[Codec]]:
    """The built-in codecs and the user's own, by name. Raises OptionError if two share one."""
    return codec_table(BUILTIN_CODECS, codecs)


def codec_to_json(codec: Codec | None) -> dict[str, Any] | None:
    """A codec as JSON: its name and parameters."""
    if codec is None:
        return None
    if isinstance(codec, OpaqueCodec):
        return codec.stored_json()
    return {"name": codec.codec_name, "parameters": codec.to_json()}


def codec_from_json(stored: Mapping[str, Any] | None, table: Mapping[str, type[Codec]]) -> Codec | None:
    """The codec that JSON names; an OpaqueCodec if `table` does not have it."""
    if stored is None:
        return None
    name, parameters = stored["name"], stored["parameters"]
    if not isinstance(name, str) or not isinstance(parameters, dict):
        raise SchemaError(describe("A stored codec is malformed", expected="a name and parameters", found=repr(stored)))
    if name == OpaqueCodec.codec_name:
        opaque = OpaqueCodec.from_json(parameters)
        return resolve_opaque(opaque, table.values())
    if name not in table:
        return OpaqueCodec(name, _frozen_json(parameters), named=True)
    return table[name].from_json(parameters)


def resolve_opaque(opaque: OpaqueCodec, codecs: Iterable[type[Codec]]) -> Codec:
    """The user's codec for what petastorm knew by a class name, if it is among `codecs`; else `opaque` itself."""
    for codec in codecs:
        if opaque.class_name in (codec.petastorm_class, codec.codec_name):
            return codec.from_json(opaque.parameters())
    return opaque


def _frozen_json(parameters: Mapping[str, Any]) -> str:
    return json.dumps(dict(parameters), sort_keys=True, ensure_ascii=False)
