"""Row predicates with petastorm's names: which rows are read, said by objects that can be combined.

`do_include` defines each of them on one row. Readers evaluate them on columns (`predicate_columns.py`), and as Arrow
expressions where they can be (`predicate_bounds.py`), which gives the same rows.
"""

from __future__ import annotations

import hashlib
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from tfpetastorm.errors import OptionError, describe


class PredicateBase(ABC):
    """Says of a row whether it is read. Subclass it for conditions of your own.

    A subclass is called with decoded values: `make_reader` calls it for each row; `make_batch_reader` and
    `make_dataset` with a pandas DataFrame of many rows, for which it returns one bool each. Where all its fields are
    in the names of partition folders, it is called once for each of their values instead.
    """

    @abstractmethod
    def get_fields(self) -> Collection[str]:
        """The names of the fields that `do_include` needs."""

    @abstractmethod
    def do_include(self, values: Any) -> Any:
        """Whether to read a row. values: its values by field name, None for null."""


class in_set(PredicateBase):  # noqa: N801
    """Rows in which a scalar field has one of some values; None stands for null.

    inclusion_values: equal values of other types count, so that 3.0 finds the integer 3.
    """

    def __init__(self, inclusion_values: Iterable[Any], predicate_field: str) -> None:
        self.values = set(inclusion_values)
        self.field = predicate_field
        self.converted: dict[Any, Any] = {}  # a cache of the engine's, by the stored field

    def get_fields(self) -> set[str]:
        """The fields it needs."""
        return {self.field}

    def do_include(self, values: Mapping[str, Any]) -> bool:
        """Whether to read the row with these values."""
        return values[self.field] in self.values


class in_intersection(PredicateBase):  # noqa: N801
    """Rows in which the array of a field has at least one of some values. Null never has. A text or bytes counts as
    its only item."""

    def __init__(self, inclusion_values: Iterable[Any], predicate_field: str) -> None:
        self.values = list(inclusion_values)
        self.field = predicate_field
        self.converted: dict[Any, Any] = {}  # a cache of the engine's, by the stored field

    def get_fields(self) -> set[str]:
        """The fields it needs."""
        return {self.field}

    def do_include(self, values: Mapping[str, Any]) -> bool:
        """Whether to read the row with these values."""
        cell = values[self.field]
        if cell is None:
            return False
        if isinstance(cell, (str, bytes)):
            return cell in self.values
        if not isinstance(cell, Iterable):
            raise OptionError(_no_items(self.field))
        items = set(cell.reshape(-1).tolist() if isinstance(cell, np.ndarray) else cell)
        return any(value in items for value in self.values)


def _no_items(field: str) -> str:
    return describe(
        f"in_intersection needs a field of arrays, and {field!r} has one value a row",
        remedy=f"Use in_set(values, {field!r}).",
    )


class in_lambda(PredicateBase):  # noqa: N801
    """Rows for which a function says so.

    predicate_fields: a list of names. predicate_func: called with their values in this order, then with `state_arg`
    unless that is None; by `make_batch_reader` and `make_dataset` with a pandas Series a field. With the process pool
    it is sent by cloudpickle, and every process has a `state_arg` of its own.
    """

    def __init__(self, predicate_fields: list[str], predicate_func: Callable[..., Any], state_arg: Any = None) -> None:
        if not isinstance(predicate_fields, list):
            raise OptionError(
                describe("in_lambda takes its fields as a list", expected="a list of names", found=predicate_fields)
            )
        self.fields = predicate_fields
        self.func = predicate_func
        self.state_arg = state_arg

    def get_fields(self) -> set[str]:
        """The fields it needs."""
        return set(self.fields)

    def do_include(self, values: Any) -> Any:
        """Whether to read the row with these values."""
        return self.call([values[name] for name in self.fields])

    def call(self, values: Sequence[Any]) -> Any:
        """What the function says of the values of its fields, in their order."""
        return self.func(*values) if self.state_arg is None else self.func(*values, self.state_arg)


class in_negate(PredicateBase):  # noqa: N801
    """Rows that another predicate leaves out."""

    def __init__(self, predicate: PredicateBase) -> None:
        self.predicate = _checked(predicate)

    def get_fields(self) -> set[str]:
        """The fields it needs."""
        return set(self.predicate.get_fields())

    def do_include(self, values: Any) -> bool:
        """Whether to read the row with these values."""
        return not self.predicate.do_include(values)


class in_reduce(PredicateBase):  # noqa: N801
    """Rows for which a function of what several predicates say is true: `all`, `any`, or one of your own, which is
    called with a list of bools for each row."""

    def __init__(self, predicate_list: Iterable[PredicateBase], reduce_func: Callable[[list[bool]], Any]) -> None:
        self.predicates = [_checked(predicate) for predicate in predicate_list]
        self.reduce_func = reduce_func

    def get_fields(self) -> set[str]:
        """The fields it needs."""
        return {name for predicate in self.predicates for name in predicate.get_fields()}

    def do_include(self, values: Any) -> Any:
        """Whether to read the row with these values."""
        return self.reduce_func([predicate.do_include(values) for predicate in self.predicates])


class in_pseudorandom_split(PredicateBase):  # noqa: N801
    """Rows whose value of a field falls into one part of a split, the same part on every run and machine, and in
    petastorm: it depends on the MD5 of the value's text alone.

    fraction_list: the size of each part, together at most 1; the parts are only about as large as that.
    subset_index: which part. Raises OptionError if there is no such part.
    """

    def __init__(self, fraction_list: Sequence[float], subset_index: int, predicate_field: str) -> None:
        if not 0 <= subset_index < len(fraction_list):
            raise OptionError(
                describe("subset_index is out of range", expected=f"0 to {len(fraction_list) - 1}", found=subset_index)
            )
        self.field = predicate_field
        # Sums from the left, as petastorm's: another order of additions could put a value into another part.
        self.low = sum(fraction_list[:subset_index]) * (sys.maxsize - 1)
        self.high = sum(fraction_list[: subset_index + 1]) * (sys.maxsize - 1)

    def get_fields(self) -> set[str]:
        """The fields it needs."""
        return {self.field}

    def do_include(self, values: Mapping[str, Any]) -> bool:
        """Whether to read the row with these values."""
        if self.field not in values:
            raise OptionError(f"A row has no value for the split's field {self.field!r}.")
        return self.has(values[self.field])

    def has(self, value: Any) -> bool:
        """Whether a value falls into the part."""
        if isinstance(value, np.datetime64) and np.datetime_data(value.dtype)[0] == "ns":
            value = value.astype("datetime64[us]")  # petastorm's reader gives no finer ones, and texts show the unit
        digest = hashlib.md5(str(value).encode(), usedforsecurity=False).hexdigest()
        return self.low <= int(digest, 16) % sys.maxsize < self.high


def _checked(predicate: Any) -> PredicateBase:
    if not isinstance(predicate, PredicateBase):
        raise OptionError(describe("Not a predicate", expected="a PredicateBase", found=repr(predicate)))
    return predicate
