"""What becomes of nulls: an error, a fill value, or a mask beside the values."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfpetastorm.errors import NullValueError, OptionError, Place, TfpetastormError, describe
from tfpetastorm.read.face import from_face
from tfpetastorm.read.ops import take
from tfpetastorm.read.result import arrays_of
from tfpetastorm.schema.columns import Array, Column, Text
from tfpetastorm.schema.field import UnischemaField


class Nulls(enum.Enum):
    """Treatments of nulls that are not fill values. ERROR raises at the first null; MASK keeps the row, with zeros, an
    empty string or no items in the cell, and adds a bool field `<name>_valid`. KEEP leaves the field nullable, for
    rows and batches in Python, where None can stand for a null; TensorFlow has none, so `make_dataset` refuses it."""

    ERROR = "error"
    MASK = "mask"
    KEEP = "keep"


def valid_name(name: str) -> str:
    """The name of the mask of a field. Keras forbids "/" in the names of inputs."""
    return f"{name}_valid"


class NullPolicy:
    """What each field's nulls become.

    nulls: "error" (the default), "mask" or `Nulls.KEEP` (for all nullable fields), or a mapping from field names to
    a member of `Nulls` or a fill value of the field's kind. fields: the fields there are.

    Raises OptionError for an unknown field, one that is not nullable, or a fill value that does not fit.
    """

    def __init__(self, nulls: Any, fields: Sequence[UnischemaField]) -> None:
        nullable = {field.name: field for field in fields if field.nullable}
        default = Nulls.ERROR
        chosen: Mapping[str, Any] = {}
        if isinstance(nulls, Mapping):
            chosen = nulls
        elif isinstance(nulls, Nulls):
            default = nulls
        elif nulls in ("error", "mask"):
            default = Nulls(nulls)
        else:
            raise OptionError(f'nulls takes "error", "mask" or a mapping of field names, not {nulls!r}.')
        for name in chosen:
            if name not in nullable:
                known = [field.name for field in fields]
                reason = "is not nullable" if name in known else f"is not one of {known}"
                raise OptionError(f"nulls: field {name!r} {reason}.")
        #: Whether rows are for Python, which can say None: all nulls are kept.
        self.keeps_all = default is Nulls.KEEP
        self.treatment: dict[str, Nulls] = {}
        self._fills: dict[str, Column] = {}
        for name, field in nullable.items():
            value = chosen.get(name, default)
            if isinstance(value, Nulls):
                self.treatment[name] = value
            else:
                self._fills[name] = _fill_column(value, field)
        names = {field.name for field in fields}
        for name, treatment in self.treatment.items():
            if treatment is Nulls.MASK and valid_name(name) in names:
                raise OptionError(f"nulls: the mask of {name!r} would be named like the field {valid_name(name)!r}.")

    @property
    def key(self) -> str:
        """Names these treatments and fill values."""
        fills = {
            name: [array.tobytes().hex() for array in arrays_of(column)] for name, column in sorted(self._fills.items())
        }
        return repr(({name: treatment.value for name, treatment in sorted(self.treatment.items())}, fills))

    def keeps(self, name: str) -> bool:
        """Whether the nulls of a field come out as they are."""
        return self.treatment.get(name) is Nulls.KEEP

    @property
    def masked(self) -> list[str]:
        """The fields that get a mask, in order."""
        return [name for name, treatment in self.treatment.items() if treatment is Nulls.MASK]

    def fields_after(self, fields: Sequence[UnischemaField]) -> list[UnischemaField]:
        """The fields that come out: nullable only where nulls are kept, and each mask follows its field."""
        after = []
        for field in fields:
            nullable = self.keeps(field.name)
            after.append(UnischemaField(field.name, field.numpy_dtype, field.shape, field.codec, nullable))
            if field.name in self.masked:
                after.append(UnischemaField(valid_name(field.name), np.bool_))
        return after

    def apply(self, columns: dict[str, Column], rows: Array, file: str, row_group: int) -> dict[str, Column]:
        """The columns after treatment. rows: int64 `[n]`, each row's number in its row group, for errors.

        Raises NullValueError at a null in a field for which nothing was chosen.
        """
        out: dict[str, Column] = {}
        for name, column in columns.items():
            valid = column.valid
            if valid is None or bool(valid.all()):
                out[name] = Column(column.values, column.splits, None, column.inner)
                valid = None
            elif self.keeps(name):
                out[name] = column
            elif name in self._fills:
                out[name] = _filled(column, self._fills[name], valid)
            elif self.treatment.get(name) is Nulls.MASK:
                out[name] = Column(column.values, column.splits, None, column.inner)
            else:
                raise _null_error(name, file, row_group, int(rows[int(np.argmin(valid))]), name in self.treatment)
            if self.treatment.get(name) is Nulls.MASK:
                out[valid_name(name)] = Column(valid if valid is not None else np.ones(len(rows), bool))
        return out


def _null_error(name: str, file: str, row_group: int, row: int, nullable: bool) -> NullValueError:
    remedy = (
        f'Choose what nulls become: nulls={{"{name}": <a value>}} fills them, nulls="mask" adds a bool field '
        f"{valid_name(name)!r}; or leave such rows out with where="
        if nullable
        else "The schema says that this field is never null: mend the schema or the file"
    )
    return NullValueError(describe("A null was read", Place(file, row_group, row, name), remedy=f"{remedy}."))


def _fill_column(value: Any, field: UnischemaField) -> Column:
    """One row that holds the fill value."""
    cell: Any = value
    try:
        if not field.is_text:
            raw = np.asarray(value)
            if raw.dtype.kind == "c":
                raise OptionError(f"{value!r} is complex")
            with np.errstate(all="ignore"):
                cell = raw.astype(field.dtype)
            if field.kind == "number" and not _same_numbers(cell, raw):
                raise OptionError(f"{value!r} is not a {field.dtype}")
            if not field.ragged_rank:
                cell = np.broadcast_to(cell, tuple(size for size in field.shape if size is not None))
        elif field.shape and not field.ragged_rank:
            cell = np.full(field.inner_shape, value, object)
        if field.ragged_rank:
            cells = np.empty(1, object)
            cells[0] = np.asarray(cell, object if field.is_text else field.dtype)
            return from_face(cells, field, 1)
        if field.is_text:
            cells = np.empty((1, *field.inner_shape), object)
            cells[0] = cell
            return from_face(cells, field, 1)
        return from_face(np.array(cell)[None], field, 1)
    except (TypeError, ValueError, OverflowError, TfpetastormError) as error:
        raise OptionError(f"nulls: {value!r} can't fill field {field.name!r} ({field}): {error}") from error


def _same_numbers(cell: Array, raw: Array) -> bool:
    """Whether a cast kept the numbers; what rounding does to floats is as meant, but not that they become infinite."""
    if cell.dtype.kind == "f" and raw.dtype.kind in "iuf":
        return np.array_equal(np.isfinite(cell), np.isfinite(raw))
    return np.array_equal(cell, raw)


def _filled(column: Column, fill: Column, valid: Array) -> Column:
    """The column with `fill`, one row, in place of each null."""
    if not column.splits and not isinstance(column.values, Text) and not isinstance(fill.values, Text):
        values = column.values if column.values.flags.writeable else column.values.copy()
        values[~valid] = fill.values[0]
        return Column(values, (), None, column.inner)
    both = _append(Column(column.values, column.splits, None, column.inner), fill)
    rows = np.where(valid, np.arange(column.rows), column.rows)
    return take(both, rows)


def _append(column: Column, row: Column) -> Column:
    """The column with one more row."""
    splits = tuple(
        np.concatenate([ours, ours[-1] + theirs[1:]]) for ours, theirs in zip(column.splits, row.splits, strict=True)
    )
    if isinstance(column.values, Text) and isinstance(row.values, Text):
        return Column(_append_text(column.values, row.values), splits, None, column.inner)
    assert not isinstance(column.values, Text)
    return Column(np.concatenate([column.values, np.asarray(row.values)]), splits, None, column.inner)


def _append_text(text: Text, more: Text) -> Text:
    """The text with further items; a dictionary gets them as new entries."""
    start, stop = int(text.offsets[0]), int(text.offsets[-1])
    offsets = np.concatenate([text.offsets - start, more.offsets[1:] - more.offsets[0] + (stop - start)])
    data = np.concatenate([text.data[start:stop], more.data[int(more.offsets[0]) : int(more.offsets[-1])]])
    if text.codes is None:
        return Text(offsets, data)
    items = len(text.offsets) - 1
    codes = np.concatenate([text.codes, np.arange(items, items + len(more), dtype=text.codes.dtype)])
    return Text(offsets, data, codes)
