"""OpaqueCodec: the place of a codec whose class was not given. Its bytes can be had, its values can't."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import numpy as np
import pyarrow as pa

from tfpetastorm.errors import Place, SchemaError, describe
from tfpetastorm.schema.codecs.base import Codec, Limits, OnBad
from tfpetastorm.schema.columns import Column

if TYPE_CHECKING:
    from tfpetastorm.schema.field import UnischemaField


@dataclass(frozen=True)
class OpaqueCodec(Codec):
    """A codec that is known by name only: petastorm's pickle or our JSON names it, no class was given for it.

    class_name: the class petastorm knew ("package.module.Class"), or the codec's name in our JSON.
    state: its parameters as JSON text. named: whether `class_name` is a name in our JSON.
    A field with it stays in the schema; reading it raises SchemaError, and `raw_field` gives its stored bytes.
    """

    codec_name: ClassVar[str] = "opaque"

    class_name: str
    state: str = "{}"
    named: bool = False

    def parameters(self) -> dict[str, Any]:
        """The codec's own parameters."""
        parameters: dict[str, Any] = json.loads(self.state)
        return parameters

    def stored_json(self) -> dict[str, Any]:
        """The JSON form that it came from, so that storing the schema anew loses nothing."""
        if self.named:
            return {"name": self.class_name, "parameters": self.parameters()}
        return {"name": self.codec_name, "parameters": {"class_name": self.class_name, "state": self.state}}

    def encode(self, field: UnischemaField, value: Any) -> NoReturn:
        """Never: raises SchemaError with the remedy."""
        raise self._unknown(field, "written")

    def encode_column(self, field: UnischemaField, values: Any) -> NoReturn:
        """Never: raises SchemaError with the remedy."""
        raise self._unknown(field, "written")

    def decode_column(self, field: UnischemaField, array: pa.Array, on_bad: OnBad, *, limits: Limits) -> Column:
        """Never: raises SchemaError with the remedy."""
        raise self._unknown(field, "decoded")

    def _unknown(self, field: UnischemaField, what: str) -> SchemaError:
        key = "codec_name" if self.named else "petastorm_class"
        return SchemaError(
            describe(
                f"The field can't be {what}: its codec {self.class_name!r} is not known here",
                Place(field=field.name),
                remedy=f"Subclass tfpetastorm.Codec with {key} = {self.class_name!r} and open the dataset with "
                "codecs=[YourCodec], leave the field out, or read its stored bytes through raw_field(field).",
            )
        )


def raw_field(field: UnischemaField) -> UnischemaField:
    """The field as the bytes that are stored, undecoded: a scalar of bytes."""
    return replace(field, numpy_dtype=np.bytes_, shape=(), codec=None)
