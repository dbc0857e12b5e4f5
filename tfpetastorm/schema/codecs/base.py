"""What a codec is, and what all codecs share: limits, bad cells, the table of names.

A codec says how the cells of one field lie in one Parquet column. It is a frozen dataclass whose parameters are
JSON values; a dataset stores its `codec_name` and parameters, never its class.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, TypeVar

import numpy.typing as npt
import pyarrow as pa

from tfpetastorm.errors import (
    DamagedDataError,
    EncodeError,
    OptionError,
    Place,
    SchemaError,
    UnsafeDataError,
    describe,
)
from tfpetastorm.schema.columns import Column

if TYPE_CHECKING:
    from tfpetastorm.schema.field import UnischemaField

#: Told of a cell that can't be decoded: its row within the array given, and why. Raises, or records and returns;
#: after it returns the cell is left empty.
OnBad: TypeAlias = Callable[[int, str], None]


#: The cells of one column on their way to Arrow: an array `[rows, *shape]`, or a sequence with None for null.
Cells: TypeAlias = Sequence[Any] | npt.NDArray[Any]


class UnsafeReason(str):
    """A reason given to `on_bad` that means an attack rather than damage: `bad_cell_error` tells them apart."""


class BadCellError(ValueError):
    """A value that does not match its field; codecs raise it from `encode`."""

    def __init__(self, expected: object, found: object, what: str = "") -> None:
        super().__init__(f"{what + ': ' if what else ''}expected {expected}, found {found}")
        self.expected = expected
        self.found = found


@dataclass(frozen=True)
class Limits:
    """What cells whose shape their field leaves open may cost: what a fixed shape costs is known beforehand.

    max_cell_bytes: decoded bytes of one cell. max_column_bytes: of all such cells of one field in one read.
    """

    max_cell_bytes: int = 1 << 30
    max_column_bytes: int = 1 << 32


DEFAULT_LIMITS = Limits()

_C = TypeVar("_C", bound="Codec")


@dataclass(frozen=True)
class Codec(ABC):
    """How one field's cells are stored. Subclass it, as a frozen dataclass, for a codec of your own.

    A subclass sets `codec_name`, the stable name a dataset stores, and defines `encode` and `decode_cell` (or
    overrides `encode_column` and `decode_column` to work on whole columns). Hand the class to whatever opens the
    dataset: `codecs=[MyCodec]`. `petastorm_class` may name the class (`"package.module.Class"`) that petastorm's
    pickled schemas know the codec by.
    """

    codec_name: ClassVar[str] = ""
    petastorm_class: ClassVar[str] = ""

    def check(self, field: UnischemaField) -> None:  # noqa: B027 (most codecs hold anything)
        """Raise SchemaError if this codec can't hold `field`. Called when a field is made."""

    def arrow_type(self, field: UnischemaField) -> pa.DataType:
        """The Arrow type of the column that holds `field`; binary unless overridden."""
        return pa.binary()

    @abstractmethod
    def encode(self, field: UnischemaField, value: Any) -> Any:
        """One cell, never None, as a value that `arrow_type` accepts (bytes, for binary).

        Raises BadCellError (or any ValueError or TypeError) if `value` does not match the field.
        """

    def decode_cell(self, field: UnischemaField, cell: memoryview, limits: Limits) -> Any:
        """The value of one stored cell: an array of the field's dtype and shape, a str or bytes.

        Only the default `decode_column` calls it. Raises any ValueError if the cell is damaged.
        """
        raise NotImplementedError(f"{type(self).__name__} defines neither decode_cell nor decode_column")

    def decode(self, field: UnischemaField, value: Any) -> Any:
        """The value of one stored cell, as petastorm's codecs give it. Columns are decoded another way, far faster.

        Raises DamagedDataError or UnsafeDataError if it is no such cell.
        """
        from tfpetastorm.schema.codecs.single import decode_binary

        return decode_binary(self, field, value)

    def spark_dtype(self, field: UnischemaField | None = None) -> Any:
        """The Spark type of the column: of one that holds `field`, where it depends on that. Needs the extra `spark`.

        Raises SchemaError if Spark has none.
        """
        from tfpetastorm.schema.spark_types import spark_type_of_storage

        return spark_type_of_storage("binary" if field is None else str(self.arrow_type(field)))

    def encode_column(self, field: UnischemaField, values: Cells) -> pa.Array:
        """All cells of one column, None for null. See `tfpetastorm.schema.codecs.encode_column`."""
        return encode_cells(field, values, self.encode, self.arrow_type(field))

    def decode_column(self, field: UnischemaField, array: pa.Array, on_bad: OnBad, *, limits: Limits) -> Column:
        """All rows of one column. See `tfpetastorm.schema.codecs.decode_column`."""
        from tfpetastorm.schema.codecs.cells import decode_by_cell

        return decode_by_cell(field, array, on_bad, limits, self.decode_cell)

    def to_json(self) -> dict[str, Any]:
        """The parameters, JSON values by name."""
        return {part.name: getattr(self, part.name) for part in dataclasses.fields(self)}

    @classmethod
    def from_json(cls: type[_C], parameters: Mapping[str, Any]) -> _C:
        """The codec with these parameters. Raises SchemaError if they are not its own."""
        try:
            return cls(**parameters)
        except TypeError as error:
            raise SchemaError(
                describe(f"Codec {cls.codec_name!r} has parameters that are not known: {error}")
            ) from None


def _is_codec_class(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, Codec)


def codec_table(builtin: Iterable[type[Codec]], given: Iterable[type[Codec]]) -> dict[str, type[Codec]]:
    """Codec classes by name. Raises OptionError for one without a name or with another's name."""
    table: dict[str, type[Codec]] = {}
    for codec in (*builtin, *given):
        if not _is_codec_class(codec):
            raise OptionError(describe("codecs= takes classes", expected="subclasses of Codec", found=repr(codec)))
        if not codec.codec_name:
            raise OptionError(f"{codec.__name__} has no codec_name. Set it to a name that will stay the same.")
        if table.setdefault(codec.codec_name, codec) is not codec:
            raise OptionError(f"Two codecs are named {codec.codec_name!r}. Rename one of them.")
    return table


def encode_cells(
    field: UnischemaField, values: Iterable[Any], encode: Callable[[UnischemaField, Any], Any], arrow_type: pa.DataType
) -> pa.Array:
    """Encode cell by cell to an array, None for null. Raises EncodeError naming field and row."""
    cells = encode_each(field, values, encode)
    try:
        return pa.array(cells, arrow_type)
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        raise EncodeError(
            describe(f"Values can't be stored as {arrow_type}: {error}", Place(field=field.name))
        ) from None


def encode_each(
    field: UnischemaField, values: Iterable[Any], encode: Callable[[UnischemaField, Any], Any]
) -> list[Any]:
    """Encode cell by cell, None for null. Raises EncodeError naming field and row."""
    cells = [None if value is None else _encode_one(field, value, encode, row) for row, value in enumerate(values)]
    if not field.nullable:
        for row, cell in enumerate(cells):
            if cell is None:
                raise null_error(field, row)
    return cells


def _encode_one(
    field: UnischemaField, value: Any, encode: Callable[[UnischemaField, Any], Any], row: int | None
) -> Any:
    try:
        return encode(field, value)
    except BadCellError as error:
        raise mismatch_error(field, row, error.expected, error.found) from None
    except EncodeError:
        raise
    except (ValueError, TypeError, OverflowError) as error:
        raise EncodeError(describe(f"A value can't be encoded: {error}", Place(field=field.name, row=row))) from error


def mismatch_error(field: UnischemaField, row: int | None, expected: object, found: object) -> EncodeError:
    """The error of a value that is not what its field declares."""
    return EncodeError(
        describe("A value does not match its field", Place(field=field.name, row=row), expected=expected, found=found)
    )


def null_error(field: UnischemaField, row: int) -> EncodeError:
    """The error of a null in a field that has none."""
    return EncodeError(
        describe(
            "A value is missing",
            Place(field=field.name, row=row),
            expected="a value, as the field is not nullable",
            found="None",
            remedy="Declare the field with nullable=True if it may be missing.",
        )
    )


def bad_cell_error(reason: str, place: Place) -> DamagedDataError | UnsafeDataError:
    """The error for what `on_bad` was told: UnsafeDataError for an UnsafeReason, else DamagedDataError."""
    if isinstance(reason, UnsafeReason):
        return UnsafeDataError(describe(f"A cell is refused: {reason}", place))
    return DamagedDataError(describe(f"A cell can't be decoded: {reason}", place))
