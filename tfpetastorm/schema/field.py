"""One field of a Unischema."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from tfpetastorm.errors import Place, SchemaError, describe
from tfpetastorm.schema.codecs.base import Codec
from tfpetastorm.schema.codecs.opaque import OpaqueCodec
from tfpetastorm.schema.dtypes import Kind, canonical_dtype, dtype_name, kind_of, memory_dtype


@dataclass(frozen=True)
class UnischemaField:
    """What one field holds, and how it is stored. Immutable, hashable, equal by value.

    name: not empty, without control characters. "a.b" is legal (plain Parquet's struct members are named so).
    numpy_dtype: the element type in any spelling; kept in its canonical one (`canonical_dtype`).
    shape: `()` for a scalar; None stands for a dimension that differs from row to row.
    codec: how a cell is stored; None for Arrow's own types (lists for shapes other than `()`).
    nullable: whether a cell may be missing.

    Raises SchemaError if a part is malformed or the codec can't hold such a field.
    """

    name: str
    numpy_dtype: Any
    shape: tuple[int | None, ...] = ()
    codec: Codec | None = None
    nullable: bool = False

    def __post_init__(self) -> None:
        # What users hand in need not be what the annotations say.
        name, shape, codec = _as_given(self.name), _as_given(self.shape), _as_given(self.codec)
        place = Place(field=name if isinstance(name, str) else repr(name))
        if not isinstance(name, str) or not name or not name.isprintable():
            raise SchemaError(
                describe("Not a field name", expected="a non-empty str without control characters", found=repr(name))
            )
        try:
            canonical = canonical_dtype(self.numpy_dtype)
        except SchemaError as error:
            raise SchemaError(describe(str(error).rstrip("."), place)) from None
        if isinstance(shape, (int, np.integer)) and not isinstance(shape, bool):
            raise SchemaError(
                describe(
                    "A shape is not a tuple",
                    place,
                    expected="a tuple",
                    found=repr(shape),
                    remedy=f"Write ({shape},) for one dimension.",
                )
            )
        if not isinstance(shape, (tuple, list)) or not all(map(_is_dimension, shape)):
            raise SchemaError(
                describe("Not a shape", place, expected="a tuple of sizes above 0 and None", found=repr(shape))
            )
        if codec is not None and not isinstance(codec, Codec):
            raise SchemaError(
                describe(
                    "Not a codec",
                    place,
                    expected="an instance of Codec, or None",
                    found=repr(codec),
                    remedy="Codecs are given as instances: NdarrayCodec(), not NdarrayCodec.",
                )
            )
        object.__setattr__(self, "numpy_dtype", canonical)
        object.__setattr__(self, "shape", tuple(None if size is None else int(size) for size in shape))
        object.__setattr__(self, "nullable", bool(self.nullable))
        if self.codec is not None:
            self.codec.check(self)

    def __hash__(self) -> int:
        # Without the codec, so that fields that compare without theirs (petastorm's) are found beside these.
        return hash((self.name, self.numpy_dtype, self.shape, self.nullable))

    def require_usable(self) -> None:
        """Raise SchemaError if no cell of this field can be stored. That of petastorm's module may be one."""

    @cached_property
    def kind(self) -> Kind:
        """One of "number", "text", "bytes", "decimal", "datetime", "date"."""
        return kind_of(self.numpy_dtype)

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the items in memory; object for text, bytes and decimals, which are a `Text`."""
        return memory_dtype(self.numpy_dtype)

    @cached_property
    def ragged_rank(self) -> int:
        """How many dimensions have row splits: all up to and including the last None of the shape."""
        return max((axis + 1 for axis, size in enumerate(self.shape) if size is None), default=0)

    @cached_property
    def inner_shape(self) -> tuple[int, ...]:
        """The fixed dimensions that follow the last None; the whole shape if it has none."""
        return tuple(size for size in self.shape[self.ragged_rank :] if size is not None)

    @cached_property
    def is_text(self) -> bool:
        """Whether the items are a `Text` in memory: text, bytes and decimals."""
        return self.kind in ("text", "bytes", "decimal")

    def __str__(self) -> str:
        parts = [dtype_name(self.numpy_dtype)]
        if self.shape:
            parts.append("[" + ", ".join("None" if size is None else str(size) for size in self.shape) + "]")
        if self.codec is not None:
            parts.append(f"as {self.codec!r}")
        if self.nullable:
            parts.append("nullable")
        return f"{self.name}: {' '.join(parts)}"


def declared_field(
    name: str, dtype: Any, shape: tuple[int | None, ...], codec: Codec | None, nullable: bool
) -> UnischemaField:
    """The field that a stored schema declares; of bytes, if its codec is not known (an OpaqueCodec)."""
    if not isinstance(codec, OpaqueCodec):
        return UnischemaField(name, dtype, shape, codec, nullable)
    declared = UnischemaField(name, dtype, shape)
    opaque = replace(codec, declared_dtype=dtype_name(declared.numpy_dtype), declared_shape=declared.shape)
    return UnischemaField(name, np.bytes_, (), opaque, nullable)


def _as_given(value: object) -> Any:
    return value


def _is_dimension(size: object) -> bool:
    return size is None or (isinstance(size, (int, np.integer)) and not isinstance(size, bool) and bool(size > 0))
