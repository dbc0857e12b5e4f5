"""Predicates evaluated on decoded columns: what is built in a whole column at a time, what is not by calling it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfpetastorm.errors import OptionError, TransformError, describe
from tfpetastorm.read.exact import exact_array, exact_items
from tfpetastorm.read.frames import frame_of
from tfpetastorm.read.predicates import (
    PredicateBase,
    in_intersection,
    in_lambda,
    in_negate,
    in_pseudorandom_split,
    in_reduce,
    in_set,
)
from tfpetastorm.schema.columns import Array, Column, Text
from tfpetastorm.schema.field import UnischemaField
from tfpetastorm.schema.rows import cells_of


@dataclass(frozen=True, eq=False)
class Given:
    """The rows a predicate is asked about: decoded columns by field, and how many rows."""

    fields: Mapping[str, UnischemaField]
    columns: Mapping[str, Column]
    rows: int


def mask_of(predicate: PredicateBase, given: Given, batched: bool) -> Array:
    """bool `[rows]`: the rows that pass.

    batched: whether predicates of the user's own are called with pandas columns instead of for each row. Raises
    TransformError where one fails, or returns something other than a bool for each row.
    """
    # By exact class: a subclass may define do_include anew.
    kind = type(predicate)
    if kind is in_negate:
        return ~mask_of(predicate.predicate, given, batched)  # type: ignore[attr-defined]
    if kind is in_reduce:
        return _reduced(predicate, given, batched)  # type: ignore[arg-type]
    if kind is in_set:
        return _in_set(predicate, given)  # type: ignore[arg-type]
    if kind is in_intersection:
        return _in_intersection(predicate, given)  # type: ignore[arg-type]
    if kind is in_pseudorandom_split:
        return _in_split(predicate, given)  # type: ignore[arg-type]
    try:
        return _called_on_frame(predicate, given) if batched else _called_on_rows(predicate, given)
    except TransformError:
        raise
    except (Exception, SystemExit) as error:
        raise TransformError(f"The predicate {_name(predicate)} failed with {type(error).__name__}: {error}") from error


def check_fields(predicate: PredicateBase, fields: Mapping[str, UnischemaField]) -> None:
    """Raise OptionError for a built-in predicate on a field of a shape it is not for."""
    kind = type(predicate)
    if isinstance(predicate, in_negate):
        check_fields(predicate.predicate, fields)
    elif isinstance(predicate, in_reduce):
        for part in predicate.predicates:
            check_fields(part, fields)
    elif kind is in_set:
        field = fields[predicate.field]  # type: ignore[attr-defined]
        if field.shape:
            raise OptionError(
                describe(
                    f"in_set needs a scalar field, and {field.name!r} holds arrays",
                    remedy=f"in_intersection(values, {field.name!r}) looks for values within arrays.",
                )
            )
    elif kind is in_intersection:
        field = fields[predicate.field]  # type: ignore[attr-defined]
        if not field.shape and field.kind not in ("text", "bytes"):
            raise OptionError(
                describe(
                    f"in_intersection needs a field of arrays, and {field.name!r} has one value a row",
                    remedy=f"Use in_set(values, {field.name!r}).",
                )
            )


def fields_of(predicate: PredicateBase) -> set[str]:
    """The fields that a predicate names, be it a list, a set or one text."""
    names = predicate.get_fields()
    return {names} if isinstance(names, str) else set(names)


def is_all(function: Any) -> bool:
    """Whether a reduce function is known to be a logical and."""
    return function is all or function is np.all


def is_any(function: Any) -> bool:
    """Whether a reduce function is known to be a logical or."""
    return function is any or function is np.any


def _name(predicate: PredicateBase) -> str:
    inner = getattr(predicate, "func", predicate)
    return str(getattr(inner, "__qualname__", type(inner).__qualname__))


def _reduced(predicate: in_reduce, given: Given, batched: bool) -> Array:
    masks = [mask_of(part, given, batched) for part in predicate.predicates]
    stacked = np.array(masks, bool).reshape(len(masks), given.rows)
    if is_all(predicate.reduce_func):
        return np.asarray(stacked.all(axis=0))
    if is_any(predicate.reduce_func):
        return np.asarray(stacked.any(axis=0))
    said = stacked.T.tolist() if masks else [[] for _ in range(given.rows)]
    try:
        return np.fromiter((bool(predicate.reduce_func(row)) for row in said), bool, given.rows)
    except (Exception, SystemExit) as error:
        raise TransformError(f"A reduce function failed with {type(error).__name__}: {error}") from error


def _in_set(predicate: in_set, given: Given) -> Array:
    field, column = given.fields[predicate.field], given.columns[predicate.field]
    mask = _found(predicate, field, column)
    if column.valid is not None:
        mask = np.where(column.valid, mask, None in predicate.values)
    return mask


def _in_intersection(predicate: in_intersection, given: Given) -> Array:
    field, column = given.fields[predicate.field], given.columns[predicate.field]
    found = _found(predicate, field, column)
    if column.splits:
        ends = column.splits[0]
        for split in column.splits[1:]:
            ends = split[ends]
        width = len(found) // max(1, int(ends[-1]))
        before = np.concatenate([[0], np.cumsum(found)])[ends * width]
        mask = before[1:] > before[:-1]
    else:
        mask = found.reshape(given.rows, -1).any(axis=1)
    return np.asarray(mask if column.valid is None else mask & column.valid)


def _in_split(predicate: in_pseudorandom_split, given: Given) -> Array:
    field, column = given.fields[predicate.field], given.columns[predicate.field]
    if field.shape:
        return np.fromiter(map(predicate.has, cells_of(field, column)), bool, given.rows)
    mask = _by_value(field, column, predicate.has)
    return mask if column.valid is None else np.where(column.valid, mask, predicate.has(None))


def _found(predicate: in_set | in_intersection, field: UnischemaField, column: Column) -> Array:
    """bool `[items]`, flat: which items of a column are among a predicate's values; anything for a null's."""
    wanted = predicate.converted.get(field)
    if wanted is None:
        # Once, not for every task: there may be many values.
        wanted = predicate.converted[field] = _converted(field, predicate.values)
    values = column.values
    if not isinstance(values, Text):
        return np.isin(values, wanted).reshape(-1)
    if field.kind == "decimal":
        return _by_value(field, column, wanted.__contains__)
    found = pc.is_in(_entries(values), value_set=wanted)
    mask = np.asarray(found.to_numpy(zero_copy_only=False), bool)
    return mask if values.codes is None else mask[values.codes]


def _converted(field: UnischemaField, values: Iterable[Any]) -> Any:
    """Values to look for in a field: an array of its dtype, a set of Decimals, or an Arrow array of bytes."""
    if not field.is_text:
        return exact_array(field, values)
    items = exact_items(field, values)
    if field.kind == "decimal":
        return frozenset(items)
    encoded = [item.encode(errors="surrogatepass") if isinstance(item, str) else item for item in items]
    return pa.array(encoded, pa.large_binary())


def _by_value(field: UnischemaField, column: Column, function: Callable[[Any], bool]) -> Array:
    """bool `[items]`, flat: what `function` says of each item, called once for each distinct value."""
    values = column.values
    if isinstance(values, Text):
        codes = values.codes
        if codes is None:
            encoded = _entries(values).dictionary_encode()
            codes, raw = encoded.indices.to_numpy(), encoded.dictionary.to_pylist()
        else:
            raw = _entries(values).to_pylist()
        said = np.fromiter((bool(function(_item(field, entry))) for entry in raw), bool, len(raw))
        return np.asarray(said[codes])
    # Told apart by their bits, since zeros of either sign have different texts.
    bits = np.ascontiguousarray(values).reshape(-1).view(f"u{values.dtype.itemsize}")
    distinct, inverse = np.unique(bits, return_inverse=True)
    said = np.fromiter((bool(function(value)) for value in distinct.view(values.dtype)), bool, len(distinct))
    return np.asarray(said[inverse.reshape(-1)])


def _item(field: UnischemaField, raw: bytes) -> Any:
    if field.kind == "bytes":
        return raw
    text = raw.decode()
    # A null's place holds an empty text.
    return text if field.kind == "text" else Decimal(text) if text else None


def _entries(text: Text) -> pa.Array:
    """The items of a Text, without regard to its codes."""
    offsets = np.ascontiguousarray(text.offsets, np.int64)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(text.data))]
    return pa.Array.from_buffers(pa.large_binary(), len(offsets) - 1, buffers)


def _called_on_rows(predicate: PredicateBase, given: Given) -> Array:
    names = list(given.columns) if type(predicate) is not in_lambda else predicate.fields
    wanted = fields_of(predicate)
    names = [name for name in names if name in wanted]
    cells = [cells_of(given.fields[name], given.columns[name]) for name in names]
    rows = zip(*cells, strict=True) if cells else iter([()] * given.rows)
    if type(predicate) is in_lambda:
        said = (_truth(predicate.call(row)) for row in rows)
    else:
        said = (_truth(predicate.do_include(dict(zip(names, row, strict=True)))) for row in rows)
    return np.fromiter(said, bool, given.rows)


def _truth(said: Any) -> bool:
    if isinstance(said, np.ndarray) and said.ndim:
        raise TransformError(
            describe("A predicate must say yes or no to a row", expected="a bool", found=f"an array {said.shape}")
        )
    return bool(said)


def _called_on_frame(predicate: PredicateBase, given: Given) -> Array:
    wanted = fields_of(predicate)
    frame = frame_of([field for name, field in given.fields.items() if name in wanted], dict(given.columns), given.rows)
    said = predicate.do_include(frame)
    # Of integers with nulls that no float holds, pandas may say neither true nor false.
    unsure = str(getattr(said, "dtype", "")) == "boolean"
    mask = said.to_numpy(dtype=bool, na_value=False) if unsure else np.asarray(said)
    if mask.dtype == object and mask.shape == (given.rows,) and all(isinstance(x, (bool, np.bool_)) for x in mask):
        mask = mask.astype(bool)  # so do comparisons of pandas columns of objects come, in part
    if mask.shape != (given.rows,) or mask.dtype != bool:
        raise TransformError(
            describe(
                f"The predicate {_name(predicate)} must return one bool a row of the pandas columns it is given",
                expected=f"bool ({given.rows},)",
                found=f"{type(said).__name__} of {mask.dtype} {mask.shape}",
            )
        )
    return mask
