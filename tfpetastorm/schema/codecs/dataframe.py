"""DataframeColumnCodec: the base of codecs that petastorm's users wrote themselves."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa

from tfpetastorm.errors import Place, SchemaError, describe
from tfpetastorm.schema.codecs.base import Cells, Codec, Limits, encode_cells

if TYPE_CHECKING:
    from tfpetastorm.schema.field import UnischemaField


class DataframeColumnCodec(Codec):
    """A codec as petastorm's users write it: `encode`, `decode` and `spark_dtype`, which has to be BinaryType().

    Its name in datasets is its class's full name, unless it sets `codec_name`; the class itself is never stored. So
    datasets with it are opened with `codecs=[YourCodec]`, both those that petastorm wrote and ours. Its attributes are
    stored as far as they are JSON values.
    """

    codec_name: ClassVar[str] = "dataframe"

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        full = f"{cls.__module__}.{cls.__qualname__}"
        if "codec_name" not in cls.__dict__:
            cls.codec_name = full
        if "petastorm_class" not in cls.__dict__:
            cls.petastorm_class = full

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    def __hash__(self) -> int:
        return hash(type(self))

    @abstractmethod
    def encode(self, field: UnischemaField, value: Any) -> Any:
        """One cell, never None, as bytes or a bytearray. Raises ValueError if `value` is not the field's."""

    @abstractmethod
    def decode(self, field: UnischemaField, value: Any) -> Any:
        """The value of one stored cell."""

    @abstractmethod
    def spark_dtype(self, field: UnischemaField | None = None) -> Any:
        """The Spark type of the column."""

    def check(self, field: UnischemaField) -> None:
        """Raise SchemaError if this codec does not store bytes."""
        stored = type(self.spark_dtype()).__name__
        if stored != "BinaryType":
            raise SchemaError(
                describe(
                    f"{type(self).__name__} can't be used",
                    Place(field=field.name),
                    expected="spark_dtype() BinaryType()",
                    found=stored,
                    remedy="Let it encode to bytes, or subclass tfpetastorm.Codec.",
                )
            )

    def encode_column(self, field: UnischemaField, values: Cells) -> pa.Array:
        """All cells of one column, None for null. Raises EncodeError naming field and row."""
        return encode_cells(field, values, lambda field, value: bytes(self.encode(field, value)), pa.binary())

    def decode_cell(self, field: UnischemaField, cell: memoryview, limits: Limits) -> Any:
        """The value of one stored cell."""
        return self.decode(field, bytes(cell))

    def to_json(self) -> dict[str, Any]:
        """The attributes that are JSON values."""
        return {name: value for name, value in vars(self).items() if _is_json(value)}

    @classmethod
    def from_json(cls, parameters: Mapping[str, Any]) -> DataframeColumnCodec:
        """The codec with these attributes, without calling its `__init__`, as unpickling would."""
        codec = cls.__new__(cls)
        vars(codec).update(parameters)
        return codec


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True
