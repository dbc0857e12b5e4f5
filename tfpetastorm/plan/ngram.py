"""`NGram` and `Window`: which consecutive rows make one sample, and which of their fields it has."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np

from tfpetastorm.errors import OptionError, Place, SchemaError, describe
from tfpetastorm.plan.numbers import whole_number
from tfpetastorm.plan.thresholds import check_threshold, threshold_of
from tfpetastorm.schema.field import UnischemaField
from tfpetastorm.schema.unischema import Unischema

Choice: TypeAlias = "str | UnischemaField | re.Pattern[str]"


@dataclass(frozen=True, eq=False)
class ResolvedWindows:
    """An `NGram` or a `Window` on the schema of a dataset.

    length: rows of a window. stride: rows from one window to the next within a stretch. overlap: False where windows
    of a sequence must not share a timestamp. threshold: the longest gap, in the timestamp field's unit; None for any.
    timestamp, sequence: names of fields, or None. fields: of an n-gram, the names at each offset, offsets ascending;
    None for a `Window`. names: the fields that come out, in the schema's order; None for all. first: the offset of
    the first row.
    """

    length: int
    stride: int = 1
    overlap: bool = True
    threshold: int | float | None = None
    timestamp: str | None = None
    sequence: str | None = None
    fields: Mapping[int, tuple[str, ...]] | None = None
    names: tuple[str, ...] | None = None
    first: int = 0

    @property
    def index_key(self) -> str:
        """Names all that decides which windows there are."""
        parts = (self.length, self.stride, self.overlap, self.threshold, self.timestamp, self.sequence)
        return f"windows:{parts!r}"

    @property
    def key(self) -> str:
        """Names every option."""
        chosen = self.names if self.fields is None else tuple(self.fields.items())
        return f"{self.index_key}:{'stacked' if self.fields is None else 'ngram'}:{chosen!r}"


@dataclass(frozen=True)
class NGram:
    """Samples of consecutive rows, with the meaning of petastorm's class of that name.

    An n-gram is as many consecutive stored rows as there are whole numbers from the least to the greatest offset.
    Elements are `{offset: {field: tensor}}`, each tensor as it is without n-grams. Row groups and files are no border.

    fields: for each offset (any integers; gaps between them are rows of which nothing is given) the fields: names,
    regular expressions that match a whole name, or fields.
    delta_threshold: the longest gap between the timestamps of neighbouring rows; a number, or a `timedelta` for a
    field of datetimes or dates. None for any.
    timestamp_field: decides gaps and must not decrease within a sequence; needs not be among `fields`. Scalar,
    numbers, datetimes or dates, never null. A name, a regular expression that matches one, or a field.
    timestamp_overlap: False keeps, from the first on, only n-grams that begin later than the last one kept ended.
    sequence_field: rows of another value of this scalar field are never in one n-gram. A value must not return once
    another came. Without it all rows are one sequence.
    stride: keep every `stride`-th n-gram, counted anew in each stretch of rows without a gap, or a row that `where=`
    leaves out.

    Raises OptionError if an argument can't work.
    """

    fields: Mapping[int, Iterable[Choice]] = field(hash=False)
    delta_threshold: Any = None
    timestamp_field: str | UnischemaField | None = None
    timestamp_overlap: bool = True
    sequence_field: str | UnischemaField | None = field(default=None, kw_only=True)
    stride: int = field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        # What users hand in need not be what the annotations say.
        given: Any = self.fields
        if not isinstance(given, Mapping) or not given:
            raise OptionError(
                describe(
                    "NGram: not a choice of fields",
                    expected='a mapping from offsets to lists of fields, such as {-1: ["speed"], 0: ["speed", "turn"]}',
                    found=repr(given),
                )
            )
        chosen = {whole_number("NGram: an offset", key): _choices(key, value) for key, value in given.items()}
        object.__setattr__(self, "fields", MappingProxyType(dict(sorted(chosen.items()))))
        object.__setattr__(self, "stride", whole_number("stride", self.stride, 1))
        overlap = self.timestamp_overlap
        if not isinstance(overlap, (bool, np.bool_)):
            raise OptionError(f"timestamp_overlap is True or False, not {overlap!r}.")
        object.__setattr__(self, "timestamp_overlap", bool(overlap))
        _check_common(self.delta_threshold, self.timestamp_field, self.sequence_field)
        if not self.timestamp_overlap:
            if self.timestamp_field is None:
                raise OptionError("timestamp_overlap=False needs timestamp_field=, the field that it speaks of.")
            if self.stride != 1:
                raise OptionError(
                    "timestamp_overlap=False and stride= can't be combined: whether the n-grams that a stride leaves "
                    "out push others away is not clear. Use one of them."
                )

    def __reduce__(self) -> tuple[Any, ...]:
        # A mapping proxy does not pickle.
        parts = (self.delta_threshold, self.timestamp_field, self.timestamp_overlap, self.sequence_field, self.stride)
        return _ngram, (dict(self.fields), *parts)

    @property
    def length(self) -> int:
        """Rows of an n-gram."""
        return max(self.fields) - min(self.fields) + 1

    def resolve(self, schema: Unischema, stored: Unischema | None = None) -> ResolvedWindows:
        """This n-gram on a schema. stored: the schema that timestamp and sequence come from, where a transform makes
        another of it. Raises OptionError for unknown fields, and for those of types that won't do."""
        fields = {offset: _select(schema, f"NGram: offset {offset}", items) for offset, items in self.fields.items()}
        used = {name for names in fields.values() for name in names}
        timestamp, threshold = _timestamp(stored or schema, self.timestamp_field, self.delta_threshold)
        return ResolvedWindows(
            self.length,
            self.stride,
            self.timestamp_overlap,
            threshold,
            timestamp,
            _sequence(stored or schema, self.sequence_field),
            MappingProxyType(fields),
            tuple(name for name in schema.fields if name in used),
            min(fields),
        )


@dataclass(frozen=True)
class Window:
    """Samples of `length` consecutive rows, each field stacked to one tensor `[batch, length, *shape]`.

    stride: rows from the start of one window to that of the next, counted anew in each stretch of rows without a gap
    or a row that `where=` leaves out; `stride=length` gives windows that share no row. fields: as in `make_dataset`,
    which may choose them too; None for all. The others as in `NGram`.

    Raises OptionError if an argument can't work.
    """

    length: int
    stride: int = 1
    fields: Iterable[Choice] | None = field(default=None, kw_only=True)
    timestamp_field: str | UnischemaField | None = field(default=None, kw_only=True)
    delta_threshold: Any = field(default=None, kw_only=True)
    sequence_field: str | UnischemaField | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "length", whole_number("Window: length", self.length, 1))
        object.__setattr__(self, "stride", whole_number("stride", self.stride, 1))
        if self.fields is not None:
            object.__setattr__(self, "fields", _choices(None, self.fields))
        _check_common(self.delta_threshold, self.timestamp_field, self.sequence_field)

    def resolve(self, schema: Unischema, stored: Unischema | None = None) -> ResolvedWindows:
        """This window on a schema. stored: the schema that timestamp and sequence come from, where a transform makes
        another of it. Raises OptionError for unknown fields, and for those of types that won't do."""
        names = None if self.fields is None else _select(schema, "Window: fields", self.fields)
        timestamp, threshold = _timestamp(stored or schema, self.timestamp_field, self.delta_threshold)
        sequence = _sequence(stored or schema, self.sequence_field)
        return ResolvedWindows(self.length, self.stride, True, threshold, timestamp, sequence, None, names)


def _ngram(
    fields: Any, threshold: Any, timestamp: str | None, overlap: bool, sequence: str | None, stride: int
) -> NGram:
    return NGram(fields, threshold, timestamp, overlap, sequence_field=sequence, stride=stride)


def _choices(offset: Any, items: Any) -> tuple[Choice, ...]:
    where = "Window" if offset is None else f"NGram: offset {offset}"
    if isinstance(items, (str, UnischemaField, re.Pattern)):
        return (items,)
    try:
        chosen = tuple(items)
    except TypeError:
        chosen = ()
    if not chosen or not all(isinstance(item, (str, UnischemaField, re.Pattern)) for item in chosen):
        remedy = None if offset is None or chosen else "Leave an offset out if nothing of its row is needed."
        expected = "names, regular expressions or fields"
        raise OptionError(
            describe(f"{where}: not a choice of fields", expected=expected, found=repr(items), remedy=remedy)
        )
    return chosen


def _check_common(threshold: Any, timestamp: Any, sequence: Any) -> None:
    check_threshold(threshold)
    for name, value in (("timestamp_field", timestamp), ("sequence_field", sequence)):
        if value is not None and not isinstance(value, (str, UnischemaField)):
            raise OptionError(describe(f"Not a {name}", expected="the name of a field, or a field", found=repr(value)))
    if threshold is not None and timestamp is None:
        raise OptionError("delta_threshold needs timestamp_field=, the field whose gaps it bounds.")


def _select(schema: Unischema, where: str, items: Iterable[Choice]) -> tuple[str, ...]:
    try:
        return schema.select(items)
    except SchemaError as error:
        raise OptionError(f"{where}: {error}") from error


def _named(schema: Unischema, option: str, given: str | UnischemaField) -> UnischemaField:
    name = given.name if isinstance(given, UnischemaField) else given
    if name in schema.fields:
        return schema.fields[name]
    pattern = isinstance(given, str) and option == "timestamp_field"
    matches = list(schema.create_schema_view([name])) if pattern else []
    if len(matches) > 1:
        found = f"{name!r}, which matches {[match.name for match in matches]}"
        raise OptionError(describe(f"{option} names more than one field", expected="one", found=found))
    if matches:
        return matches[0]
    near = difflib.get_close_matches(name, schema.fields, n=3) or list(schema.fields)[:20]
    raise OptionError(
        describe(f"{option} names no field of {schema.schema_name!r}", expected=f"one of {near}", found=repr(name))
    )


def _timestamp(
    schema: Unischema, given: str | UnischemaField | None, threshold: Any
) -> tuple[str | None, int | float | None]:
    if given is None:
        return None, None
    item = _named(schema, "timestamp_field", given)
    if item.shape or item.kind not in ("number", "datetime", "date") or item.dtype.kind == "b":
        raise OptionError(
            describe(
                "timestamp_field can't be ordered",
                Place(field=item.name),
                expected="a scalar of whole numbers, floats, datetimes or dates",
                found=str(item),
            )
        )
    return item.name, threshold_of(threshold, item)


def _sequence(schema: Unischema, given: str | UnischemaField | None) -> str | None:
    if given is None:
        return None
    item = _named(schema, "sequence_field", given)
    if item.shape:
        raise OptionError(
            describe(
                "sequence_field has several values a row", Place(field=item.name), expected="a scalar", found=str(item)
            )
        )
    return item.name
