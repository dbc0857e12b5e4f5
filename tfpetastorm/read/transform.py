"""A user's function on columns, with a declared and checked output."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from tfpetastorm.errors import OptionError, TransformError
from tfpetastorm.read.face import from_face, to_face
from tfpetastorm.read.transform_spec import SpecTransform, TransformSpec
from tfpetastorm.schema.columns import Column
from tfpetastorm.schema.field import UnischemaField


@dataclass(frozen=True)
class Transform:
    """A NumPy function that runs in the pool on the columns of a read task.

    function: takes a dict from field names to arrays `[rows, *shape]` (see `read/face.py`) and returns such a dict
    with the same number of rows. It must be a pure function of its input, since a task may be read again; with the
    process pool it is sent by cloudpickle. edit_fields: the fields that it adds or changes, with their new dtype and
    shape. removed_fields: the fields that it drops; it need not delete them. selected_fields: what comes out and in
    which order; by default the fields read, less those removed, then those added.

    Raises OptionError where the declarations contradict each other.
    """

    function: Callable[[dict[str, Any]], Mapping[str, Any]] | None
    edit_fields: tuple[UnischemaField, ...] = ()
    removed_fields: tuple[str, ...] = ()
    selected_fields: tuple[str, ...] | None = None

    def __init__(
        self,
        function: Callable[[dict[str, Any]], Mapping[str, Any]] | None,
        edit_fields: Sequence[UnischemaField] = (),
        removed_fields: Sequence[str] = (),
        selected_fields: Sequence[str] | None = None,
    ) -> None:
        object.__setattr__(self, "function", function)
        object.__setattr__(self, "edit_fields", tuple(edit_fields))
        object.__setattr__(self, "removed_fields", tuple(removed_fields))
        object.__setattr__(self, "selected_fields", None if selected_fields is None else tuple(selected_fields))
        both = {field.name for field in self.edit_fields} & set(self.removed_fields)
        if both:
            raise OptionError(f"transform: fields {sorted(both)} are both edited and removed.")
        if function is None and self.edit_fields:
            raise OptionError(f"transform: nothing computes the fields {[f.name for f in self.edit_fields]}.")
        if any(field.nullable for field in self.edit_fields):
            raise OptionError("transform: a function's output has no nulls; declare edit_fields without nullable=True.")

    @classmethod
    def of(cls, value: Any) -> Change | None:
        """A `Transform` as it is; a bare function changes values but neither fields, dtypes nor shapes; a
        `TransformSpec` is applied to DataFrames."""
        if value is None or isinstance(value, (Transform, SpecTransform)):
            return value
        if isinstance(value, TransformSpec):
            return value.for_frames()
        if callable(value):
            return cls(value)
        raise OptionError(f"transform takes a function on columns, a Transform or a TransformSpec, not {value!r}.")

    def fields_after(self, fields: Sequence[UnischemaField]) -> list[UnischemaField]:
        """The fields that come out of a transform of `fields`. Raises OptionError for an unknown name."""
        edited = {field.name: field for field in self.edit_fields}
        known = {field.name for field in fields}
        unknown = [name for name in self.removed_fields if name not in known]
        if unknown:
            raise OptionError(f"transform: removed_fields names {unknown}, which are not among {sorted(known)}.")
        after = {f.name: edited.get(f.name, f) for f in fields if f.name not in self.removed_fields}
        after.update({name: field for name, field in edited.items() if name not in after})
        if self.selected_fields is None:
            return list(after.values())
        missing = [name for name in self.selected_fields if name not in after]
        if missing:
            raise OptionError(f"transform: selected_fields names {missing}, which are not among {sorted(after)}.")
        return [after[name] for name in self.selected_fields]

    def apply(
        self, columns: dict[str, Column], before: Sequence[UnischemaField], after: Sequence[UnischemaField], rows: int
    ) -> dict[str, Column]:
        """The columns after the function. Raises TransformError if it fails or returns other than declared."""
        if self.function is None:
            return {field.name: columns[field.name] for field in after}
        given = {field.name: to_face(columns[field.name], field) for field in before}
        # Object arrays are made for the function: what it puts into them has to be brought back.
        objects = {name: array.ravel().tolist() for name, array in given.items() if array.dtype == object}
        try:
            returned = self.function(dict(given))
        except (Exception, SystemExit) as error:
            raise TransformError(f"The transform failed with {type(error).__name__}: {error}") from error
        if not isinstance(returned, Mapping):
            raise TransformError(f"The transform must return a dict of columns, not {type(returned).__name__}.")
        same = {field.name for field in before if field in after}
        out: dict[str, Column] = {}
        for field in after:
            if field.name not in returned:
                raise TransformError(
                    f"The transform returned no field {field.name!r}; it returned {list(returned)}. Return it, or name "
                    "it in removed_fields."
                )
            value = returned[field.name]
            if field.name in same and value is given[field.name] and _untouched(value, objects.get(field.name)):
                # The column it came from need not be checked or copied.
                out[field.name] = columns[field.name]
            else:
                out[field.name] = _column_of(value, field, rows)
        expected = {field.name for field in after} | set(self.removed_fields)
        undeclared = [n for n in returned if n not in expected and n not in given]
        if undeclared:
            raise TransformError(
                f"The transform returned fields {undeclared} that are not declared. Declare them in edit_fields."
            )
        return out


#: What a read task applies to its columns.
Change: TypeAlias = Transform | SpecTransform


def _untouched(array: Any, objects: list[Any] | None) -> bool:
    """Whether an array of objects, if it is one, still holds these very objects. An array of numbers is the column."""
    return objects is None or all(map(operator.is_, array.ravel().tolist(), objects))


def _column_of(value: Any, field: UnischemaField, rows: int) -> Column:
    try:
        return from_face(value, field, rows)
    except TransformError:
        raise
    except (TypeError, ValueError, OverflowError) as error:
        what = f"Field {field.name!r} of a transform's output is no array of {field}"
        raise TransformError(f"{what}: {error}") from error
