"""OpaqueCodec: the place of a codec whose class was not given. Its cells are had as the bytes that are stored."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pyarrow as pa

from tfpetastorm.errors import Place, SchemaError, describe
from tfpetastorm.schema.codecs.base import Cells, Codec, Limits, OnBad
from tfpetastorm.schema.codecs.native import decode_native, encode_native, encode_native_cell
from tfpetastorm.schema.columns import Column

if TYPE_CHECKING:
    from tfpetastorm.schema.field import UnischemaField


@dataclass(frozen=True)
class OpaqueCodec(Codec):
    """A codec known by name only: petastorm's pickle or our JSON names it, but no class was given for it.

    A field with it is a scalar of bytes: its cells as they are stored. To have them decoded, subclass `Codec` with
    this `class_name` as its `petastorm_class` (or `codec_name`, if `named`) and open the dataset with
    `codecs=[YourCodec]`.

    class_name: the class petastorm knew ("package.module.Class"), or the codec's name in our JSON.
    state: its parameters as JSON text. named: whether `class_name` is a name in our JSON.
    declared_dtype, declared_shape: what the field holds once decoded, the dtype by its name.
    """

    codec_name: ClassVar[str] = "opaque"

    class_name: str
    state: str = "{}"
    named: bool = False
    declared_dtype: str = "bytes"
    declared_shape: tuple[int | None, ...] = ()

    def check(self, field: UnischemaField) -> None:
        """Raise SchemaError if this codec can't hold `field`."""
        if field.kind != "bytes" or field.shape:
            raise SchemaError(
                describe(
                    f"Codec {self.class_name!r} is not known here, so its field can only be bytes",
                    Place(field=field.name),
                    expected="bytes of shape ()",
                    found=f"{field.dtype} of shape {field.shape}",
                )
            )

    def parameters(self) -> dict[str, Any]:
        """The codec's own parameters."""
        parameters: dict[str, Any] = json.loads(self.state)
        return parameters

    def stored_json(self) -> dict[str, Any]:
        """The JSON form that it came from, so that storing the schema anew loses nothing."""
        if self.named:
            return {"name": self.class_name, "parameters": self.parameters()}
        return {"name": self.codec_name, "parameters": {"class_name": self.class_name, "state": self.state}}

    def encode(self, field: UnischemaField, value: Any) -> Any:
        """One cell, already encoded by whoever knows the codec. Raises BadCellError if `value` is not bytes."""
        return encode_native_cell(field, value)

    def encode_column(self, field: UnischemaField, values: Cells) -> pa.Array:
        """All cells, already encoded, None for null. Raises EncodeError naming field and row."""
        return encode_native(field, values)

    def decode_column(self, field: UnischemaField, array: pa.Array, on_bad: OnBad, *, limits: Limits) -> Column:
        """All rows of one column, as the bytes that are stored."""
        return decode_native(field, array, on_bad)


def raw_field(field: UnischemaField) -> UnischemaField:
    """The field as the bytes that are stored, undecoded: a scalar of bytes."""
    return replace(field, numpy_dtype=np.bytes_, shape=(), codec=None)
