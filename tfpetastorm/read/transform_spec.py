"""petastorm's TransformSpec: a function on rows as dicts, or on read tasks as pandas DataFrames."""

from __future__ import annotations

import operator
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfpetastorm.errors import DatasetWarning, OptionError, TransformError, describe
from tfpetastorm.read.frames import check_names, columns_of_frame, frame_of, import_pandas
from tfpetastorm.read.returned import column_of_cells
from tfpetastorm.schema.columns import Array, Column
from tfpetastorm.schema.field import UnischemaField
from tfpetastorm.schema.rows import cells_of
from tfpetastorm.schema.unischema import Unischema


def edit_field(
    name: str, numpy_dtype: Any, shape: tuple[int | None, ...], nullable: bool = False
) -> tuple[str, Any, tuple[int | None, ...], bool]:
    """What `TransformSpec(edit_fields=...)` takes: a field that the function adds, or changes the type of."""
    return name, numpy_dtype, shape, nullable


class TransformSpec:
    """A function that runs in the pool on what was read, and what it does to the fields.

    func: `make_reader` calls it with each row, a dict from names to decoded values (NumPy scalars, `np.str_`, arrays,
        None for null), and it returns a dict, the same or a new one. `make_batch_reader` and `make_dataset` call it
        with each read task, a pandas DataFrame (see `tfpetastorm/read/frames.py`), and it returns one with as many
        rows. None where fields are only removed or selected. It should be a pure function of what it is given, since a
        read task may run again; with the process pool it is sent by cloudpickle.
    edit_fields: fields that it adds or changes: `(name, numpy_dtype, shape, nullable)`, see `edit_field`, or
        UnischemaFields. What it returns is checked against these and against the fields it did not change.
    removed_fields: fields that don't come out; the function need not delete them.
    selected_fields: the fields that come out, and in which order. Not together with removed_fields.

    Raises OptionError (a ValueError) where these contradict each other.
    """

    def __init__(
        self,
        func: Callable[[Any], Any] | None = None,
        edit_fields: Iterable[Any] | None = None,
        removed_fields: Iterable[str] | None = None,
        selected_fields: Iterable[str] | None = None,
    ) -> None:
        if removed_fields is not None and selected_fields is not None:
            raise OptionError("A TransformSpec takes removed_fields or selected_fields, not both.")
        if func is not None and not callable(func):
            raise OptionError(describe("A TransformSpec's func is not one", expected="a function", found=repr(func)))
        self.func = func
        self.edit_fields = list(edit_fields or [])
        self.removed_fields = _names("removed_fields", removed_fields or [])
        self.selected_fields = None if selected_fields is None else _names("selected_fields", selected_fields)
        both = sorted({field.name for field in self.edited} & set(self.removed_fields))
        if both:
            raise OptionError(f"A TransformSpec both edits and removes the fields {both}.")

    def __repr__(self) -> str:
        return (
            f"TransformSpec({self.func!r}, {self.edit_fields!r}, {self.removed_fields!r}, "
            f"selected_fields={self.selected_fields!r})"
        )

    @property
    def edited(self) -> tuple[UnischemaField, ...]:
        """`edit_fields` as fields, without codecs. Raises OptionError for what can't be one."""
        return tuple(map(_edited, self.edit_fields))

    def for_rows(self) -> SpecTransform:
        """This transform for rows as dicts."""
        return SpecTransform(self, batched=False)

    def for_frames(self) -> SpecTransform:
        """This transform for read tasks as pandas DataFrames. Raises OptionError where pandas is not installed."""
        if self.func is not None:
            import_pandas()
        return SpecTransform(self, batched=True)


def _names(what: str, names: Iterable[str]) -> list[str]:
    found: list[Any] = [names] if isinstance(names, str) else list(names)
    wrong = [name for name in found if not isinstance(name, str)]
    if wrong:
        raise OptionError(describe(f"A TransformSpec's {what} are not names", expected="str", found=repr(wrong[0])))
    return found


def _edited(item: Any) -> UnischemaField:
    if isinstance(item, UnischemaField):
        return UnischemaField(item.name, item.numpy_dtype, item.shape, None, item.nullable)
    if isinstance(item, (tuple, list)) and len(item) in (3, 4):
        return UnischemaField(item[0], item[1], item[2], None, bool(item[3]) if len(item) == 4 else False)
    raise OptionError(
        describe(
            "A TransformSpec's edit_fields has what is no field",
            expected="(name, numpy_dtype, shape, nullable) or a UnischemaField",
            found=repr(item),
        )
    )


def transform_schema(schema: Unischema, transform_spec: TransformSpec) -> Unischema:
    """The schema of what comes out of a transform: fields that it leaves alone first, then those that it edits.

    Warns of removed and selected fields that the schema does not have; they are ignored.
    """
    edited = {field.name: field for field in transform_spec.edited}
    gone = {*edited, *transform_spec.removed_fields}
    fields = {name: field for name, field in schema.fields.items() if name not in gone}
    fields.update(edited)
    _warn_unknown("removed_fields", set(transform_spec.removed_fields) - set(schema.fields))
    if transform_spec.selected_fields is not None:
        _warn_unknown("selected_fields", set(transform_spec.selected_fields) - set(fields))
        fields = {name: fields[name] for name in transform_spec.selected_fields if name in fields}
    return Unischema.rebuilt(f"{schema.schema_name}_transformed", list(fields.values()))


def _warn_unknown(what: str, names: set[str]) -> None:
    if names:
        listed = ", ".join(sorted(names))
        warnings.warn(
            f"{what} of a TransformSpec names fields that are not part of the schema and are ignored: {listed}.",
            stacklevel=3,
        )


@dataclass(frozen=True)
class SpecTransform:
    """A TransformSpec as read tasks apply it. batched: whether to DataFrames, else to rows."""

    spec: TransformSpec
    batched: bool

    @property
    def function(self) -> Callable[..., Any] | None:
        """The user's function."""
        return self.spec.func

    @property
    def edit_fields(self) -> tuple[UnischemaField, ...]:
        """The fields that it adds or changes."""
        return self.spec.edited

    def fields_after(self, fields: Sequence[UnischemaField]) -> list[UnischemaField]:
        """The fields that come out of a transform of `fields`. Raises OptionError where nothing computes one."""
        known = {field.name for field in fields}
        computed = [field.name for field in self.edit_fields if field.name not in known]
        if computed and self.spec.func is None:
            raise OptionError(f"A TransformSpec without func declares the fields {computed}, which nothing computes.")
        return list(transform_schema(Unischema("row", fields), self.spec))

    def apply(
        self, columns: dict[str, Column], before: Sequence[UnischemaField], after: Sequence[UnischemaField], rows: int
    ) -> dict[str, Column]:
        """The columns after the function. Raises TransformError if it fails or returns other than declared."""
        if self.spec.func is None and all(field in before for field in after):
            return {field.name: columns[field.name] for field in after}
        # What the function is given and need not delete.
        dropped = {field.name for field in before} | set(self.spec.removed_fields)
        columns = {name: _writable(column) for name, column in columns.items()}
        if not self.batched:
            return self._by_rows(columns, before, after, dropped)
        frame = frame_of(before, columns, rows)
        if self.spec.func is not None:
            try:
                frame = self.spec.func(frame)
            except (Exception, SystemExit) as error:
                raise TransformError(f"The transform failed with {type(error).__name__}: {error}") from error
        return columns_of_frame(frame, after, columns, dropped, rows)

    def _by_rows(
        self,
        columns: dict[str, Column],
        before: Sequence[UnischemaField],
        after: Sequence[UnischemaField],
        dropped: set[str],
    ) -> dict[str, Column]:
        names = [field.name for field in before]
        given = {field.name: cells_of(field, columns[field.name]) for field in before}
        # Columns of one length, and as many cells as names: strict would only cost.
        rows = zip(*given.values())  # noqa: B905
        returned = [self._row(i, dict(zip(names, cells))) for i, cells in enumerate(rows)]  # noqa: B905
        wanted = {field.name for field in after}
        allowed = wanted | dropped
        for i, row in enumerate(returned):
            if not (wanted <= row.keys() <= allowed):
                try:
                    check_names(list(row), after, dropped)
                except TransformError as error:
                    raise TransformError(f"{error} Seen in row {i}.") from None
        out = {}
        for field in after:
            cells = list(map(operator.itemgetter(field.name), returned))
            if _unchanged(field, cells, given.get(field.name), before):
                # Numbers changed in place are views of the column.
                out[field.name] = columns[field.name]
            else:
                absent = np.fromiter((cell is None for cell in cells), bool, len(cells))
                out[field.name] = self._column(field, cells, absent)
        return out

    def _column(self, field: UnischemaField, cells: list[Any], absent: Array) -> Column:
        """The column of the cells that came back. What was declared has to be so. Text that was not may have become
        numbers, as petastorm let it: it comes out as they are, with a warning."""
        try:
            return column_of_cells(field, cells, absent)
        except TransformError:
            declared = field.kind == "number" or field in self.edit_fields
            numbers = None if declared or absent.any() else _numbers(cells)
            if numbers is None:
                raise
            warnings.warn(
                f"A TransformSpec made numbers of {numbers.dtype} {list(numbers.shape[1:])} of field {field}, which "
                "it does not declare: rows have them, but the schema does not say so. Name the field in edit_fields.",
                DatasetWarning,
                stacklevel=2,
            )
            return Column(numbers)

    def _row(self, position: int, row: dict[str, Any]) -> Mapping[str, Any]:
        if self.spec.func is None:
            return row
        try:
            returned = self.spec.func(row)
        except (Exception, SystemExit) as error:
            raise TransformError(
                f"The transform failed with {type(error).__name__} in row {position}: {error}"
            ) from error
        if not isinstance(returned, Mapping):
            raise TransformError(
                describe(
                    f"The transform returned no row for row {position}",
                    expected="a dict",
                    found=type(returned).__name__,
                )
            )
        return returned


def _numbers(cells: list[Any]) -> Array | None:
    """An array of numbers with a row for each cell; None if these are none, or differ in shape."""
    try:
        array = np.asarray(cells)
    except ValueError:
        return None
    return array if array.dtype.kind in "biuf" and len(array) == len(cells) else None


def _unchanged(
    field: UnischemaField, cells: list[Any], given: list[Any] | None, before: Sequence[UnischemaField]
) -> bool:
    """Whether the very cells that were given came back, and what they hold is what the column holds: scalars can't be
    changed, and arrays of numbers are views of it. Arrays of text and lists of arrays are copies."""
    if given is None or field not in before or (field.shape and field.is_text):
        return False
    if field.ragged_rank > 1 and any(isinstance(cell, list) for cell in cells):
        return False
    return all(map(operator.is_, cells, given))


def _writable(column: Column) -> Column:
    """The column, of numbers that a function may write to."""
    if not isinstance(column.values, np.ndarray) or column.values.flags.writeable:
        return column
    return Column(column.values.copy(), column.splits, column.valid, column.inner)
