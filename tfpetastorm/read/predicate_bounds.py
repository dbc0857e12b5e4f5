"""Predicates as Arrow expressions, as far as they go: two that enclose each, of which pruning needs the wider one.

A predicate is true wherever `lower` is, and nowhere that `upper` is not; where both are one expression, it is the
predicate. Neither is ever null.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfpetastorm.read.exact import exact_items
from tfpetastorm.read.predicate_columns import Given, fields_of, is_all, is_any, mask_of
from tfpetastorm.read.predicates import (
    PredicateBase,
    in_intersection,
    in_negate,
    in_reduce,
    in_set,
)
from tfpetastorm.schema.codecs import ScalarCodec, decode_column
from tfpetastorm.schema.codecs.buffers import physical_dtype
from tfpetastorm.schema.columns import Column
from tfpetastorm.schema.field import UnischemaField

#: pyarrow evaluates expressions recursively, and they travel to every task: beyond, columns are looked at instead.
_MAX_TERMS = 500


@dataclass(frozen=True, eq=False)
class Bounds:
    """upper, lower: see the module; None for always true and for never true. terms: how many tests they hold."""

    upper: pc.Expression | None = None
    lower: pc.Expression | None = None
    terms: int = 0

    @property
    def exact(self) -> bool:
        """Whether the predicate is the expression `upper`."""
        return self.upper is not None and self.upper is self.lower


@dataclass(frozen=True, eq=False)
class Stored:
    """What is known of the fields. filter_schema: the types that expressions see. partitions: the fields that folder
    names hold, with their value in every file. batched: how predicates of the user's own are called."""

    fields: Mapping[str, UnischemaField]
    filter_schema: pa.Schema
    partitions: Mapping[str, Sequence[Any]]
    batched: bool = False


def bounds_of(predicate: PredicateBase, stored: Stored) -> Bounds:
    """The expressions that enclose a predicate. One that needs just fields of folder names is called here, with each
    combination of their values. Raises TransformError if that fails."""
    kind = type(predicate)
    if kind is in_negate:
        inner = bounds_of(predicate.predicate, stored)  # type: ignore[attr-defined]
        if inner.exact and inner.upper is not None:
            negated = ~inner.upper
            return Bounds(negated, negated, inner.terms)
        return Bounds(
            None if inner.lower is None else ~inner.lower, None if inner.upper is None else ~inner.upper, inner.terms
        )
    if kind is in_reduce:
        return _reduced(predicate, stored)  # type: ignore[arg-type]
    if kind is in_set or (kind is in_intersection and not stored.fields[predicate.field].shape):  # type: ignore[attr-defined]
        return _is_in(stored, predicate.field, predicate.values, kind is in_set)  # type: ignore[attr-defined]
    fields = [name for name in stored.fields if name in fields_of(predicate)]
    if fields and all(name in stored.partitions for name in fields):
        return _of_partitions(predicate, fields, stored)
    return Bounds()


def _reduced(predicate: in_reduce, stored: Stored) -> Bounds:
    parts = [bounds_of(part, stored) for part in predicate.predicates]
    terms = sum(part.terms for part in parts)
    conjunction = is_all(predicate.reduce_func)
    if not parts or terms > _MAX_TERMS or not (conjunction or is_any(predicate.reduce_func)):
        return Bounds()
    if all(part.exact for part in parts):
        joined = _joined([part.upper for part in parts], operator.and_ if conjunction else operator.or_)
        return Bounds(joined, joined, terms)
    uppers = [part.upper for part in parts if part.upper is not None]
    lowers = [part.lower for part in parts if part.lower is not None]
    if conjunction:
        return Bounds(
            _joined(uppers, operator.and_) if uppers else None,
            _joined(lowers, operator.and_) if len(lowers) == len(parts) else None,
            terms,
        )
    return Bounds(
        _joined(uppers, operator.or_) if len(uppers) == len(parts) else None,
        _joined(lowers, operator.or_) if lowers else None,
        terms,
    )


def _joined(parts: list[Any], how: Callable[[Any, Any], Any]) -> pc.Expression:
    # Halves, not a chain, so that the nesting stays shallow.
    if len(parts) == 1:
        return parts[0]
    middle = len(parts) // 2
    return how(_joined(parts[:middle], how), _joined(parts[middle:], how))


def _is_in(stored: Stored, name: str, values: Any, with_null: bool) -> Bounds:
    field, kind = stored.fields[name], stored.filter_schema.field(name).type
    if field.shape or not (field.codec is None or type(field.codec) is ScalarCodec):
        return Bounds()
    items = exact_items(field, values)
    found: list[Any] = list(items)
    outside: pc.Expression | None = None
    if field.kind == "number":
        storage: np.dtype[Any] | None = np.dtype(np.bool_) if pa.types.is_boolean(kind) else physical_dtype(kind)
        if storage is None or pa.types.is_float16(kind) or pa.types.is_temporal(kind):
            return Bounds()
        if storage.kind in "iu" and field.dtype.kind in "iu" and not np.can_cast(storage, field.dtype):
            # What the field can't hold wraps around when decoded, so it may become one of the values.
            info = np.iinfo(field.dtype)
            if info.bits < storage.itemsize * 8:
                outside = (pc.field(name) < int(info.min)) | (pc.field(name) > int(info.max))
            else:
                found = np.array(items, field.dtype).astype(storage).tolist()
        elif not (storage == field.dtype or (storage.kind == field.dtype.kind and np.can_cast(storage, field.dtype))):
            return Bounds()
        if storage.kind == "f" and 0.0 in found:
            found = [*found, 0.0, -0.0]  # Arrow tells them apart
        if storage.kind in "iu":
            limits = np.iinfo(storage)
            found = [item for item in found if limits.min <= item <= limits.max]
        elif storage.kind == "f":
            found = [item for item in found if float(storage.type(item)) == item]
    elif not _alike(field, kind):
        return Bounds()
    elif field.kind == "bytes" and pa.types.is_string(kind):
        try:
            found = [item.decode() for item in items]
        except UnicodeDecodeError:
            return Bounds()
    elif field.kind == "text":
        found = [item for item in items if _is_unicode(item)]
    typed = _typed(found, kind)
    if typed is None:
        return Bounds()
    if with_null and None in values:
        typed = pa.concat_arrays([typed, pa.nulls(1, kind)])
    inside = pc.field(name).isin(typed)
    if outside is None:
        return Bounds(inside, inside, 1)
    return Bounds(inside | (pc.field(name).is_valid() & outside), None, 3)


def _is_unicode(text: str) -> bool:
    """False for lone surrogates, which no file can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _alike(field: UnischemaField, kind: pa.DataType) -> bool:
    types = pa.types
    if field.kind == "text":
        return bool(types.is_string(kind) or types.is_large_string(kind))
    if field.kind == "bytes":
        return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_string(kind))
    if field.kind == "decimal":
        return bool(types.is_decimal(kind))
    if field.kind == "date":
        return bool(types.is_date32(kind))
    # A field of a coarser unit than its column has many instants for each of its own.
    return bool(types.is_timestamp(kind) and np.datetime_data(field.dtype)[0] == kind.unit)


def _typed(items: list[Any], kind: pa.DataType) -> pa.Array | None:
    """The items as an array of the type that the expression sees; those it can't hold are in no row."""
    if pa.types.is_decimal(kind):
        typed = []
        for item in items:
            try:
                typed.append(pa.scalar(item, kind))
            except (pa.ArrowException, ValueError, OverflowError):
                continue  # it has more digits than the column
        return pa.array([scalar.as_py() for scalar in typed], kind)
    if pa.types.is_timestamp(kind):
        return pa.array(np.array(items, f"datetime64[{kind.unit}]").astype(np.int64)).cast(kind)
    if pa.types.is_date32(kind):
        days = np.array(items, "datetime64[D]").astype(np.int64)
        return pa.array(days[np.abs(days) < 2**31].astype(np.int32)).cast(kind)
    try:
        return pa.array(items, kind)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return None


def _of_partitions(predicate: PredicateBase, names: list[str], stored: Stored) -> Bounds:
    combinations = list(dict.fromkeys(zip(*(stored.partitions[name] for name in names), strict=True)))
    if len(combinations) > _MAX_TERMS and len(names) > 1:
        return Bounds()
    columns = {name: _partition_column(stored, name, [row[i] for row in combinations]) for i, name in enumerate(names)}
    given = Given(stored.fields, columns, len(combinations))
    # Of a lone partition field petastorm hands a predicate the value, whichever reader calls.
    batched = stored.batched and not (len(names) == 1 and len(stored.partitions) == 1)
    passed = mask_of(predicate, given, batched)
    kept = [row for row, keep in zip(combinations, passed.tolist(), strict=True) if keep]
    return _matching(names, kept, stored)


def _partition_column(stored: Stored, name: str, values: list[Any]) -> Column:
    return decode_column(stored.fields[name], _arrow(values, stored.filter_schema.field(name).type), _refuse)


def _arrow(values: list[Any], kind: pa.DataType) -> pa.Array:
    if pa.types.is_timestamp(kind):
        instants = np.array([np.datetime64("NaT") if value is None else value for value in values])
        instants = instants.astype(f"datetime64[{kind.unit}]")
        return pa.array(instants.astype(np.int64), mask=np.isnat(instants)).cast(kind)
    return pa.array(values, kind)


def _refuse(row: int, reason: str) -> None:
    raise AssertionError(f"partition value {row}: {reason}")  # they were checked when the dataset was opened


def _matching(names: list[str], kept: list[tuple[Any, ...]], stored: Stored) -> Bounds:
    """The expression that says which combinations of partition values there are among `kept`."""
    terms = []
    for row in kept if len(names) > 1 else [()]:
        tests = []
        for i, name in enumerate(names):
            values = [row[i]] if row else [one[0] for one in kept]
            tests.append(pc.field(name).isin(_arrow(values, stored.filter_schema.field(name).type)))
        terms.append(_joined(tests, operator.and_))
    if not terms:
        empty = _arrow([], stored.filter_schema.field(names[0]).type)
        terms = [pc.field(names[0]).isin(empty)]
    found = _joined(terms, operator.or_)
    return Bounds(found, found, len(terms))
