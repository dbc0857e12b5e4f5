"""Filters: from the tuples of pandas and pyarrow to a `pyarrow.compute` expression, and which fields one needs."""

from __future__ import annotations

import difflib
import operator
import re
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads

from tfpetastorm.errors import OptionError, Place, describe

_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}
_OPERATORS = (*_COMPARE, "in", "not in")
#: pyarrow evaluates terms recursively; some thousands overflow its stack, which ends the process.
_MAX_TERMS = 1000
_UNMATCHED = re.compile(r"No match for FieldRef\.(Name|Nested)\((.*?)\) in ", re.DOTALL)


def to_expression(where: Any, schema: pa.Schema) -> pc.Expression:
    """`where` as a `pyarrow.compute` expression, checked against `schema`.

    where: an expression; or a list of tuples `(field, operator, value)`, all of which must hold; or a list of such
    lists, one of which must hold. Operators: `=`, `==`, `!=`, `<`, `>`, `<=`, `>=`, `in`, `not in`. A comparison with
    a null is never true, as in pyarrow and pandas; `("x", "=", None)` asks for the nulls and `("x", "!=", None)` for
    all others. `not in` is true for nulls unless None is among the values. A text compared with a date, time or
    decimal field is read as one.
    schema: the types that filters see: `StoredDataset.filter_schema`.

    Raises `OptionError`, naming near misses for an unknown field.
    """
    expression = where if isinstance(where, pc.Expression) else _from_tuples(where, schema)
    columns_of(expression, schema)
    return expression


def columns_of(expression: pc.Expression, schema: pa.Schema) -> list[str]:
    """The fields that `expression` needs, in the order of `schema`.

    Raises `OptionError` if it names a field that `schema` lacks, or compares types that can't be.
    """
    _bind(expression, schema)
    text = str(expression)
    needed = []
    for i, name in enumerate(schema.names):
        # A name in the text may be part of another, so see whether the expression can do without it.
        if name in text:
            try:
                _bind(expression, schema.remove(i))
            except OptionError:
                needed.append(name)
    return needed


def _bind(expression: pc.Expression, schema: pa.Schema) -> None:
    try:
        pads.dataset(schema.empty_table()).scanner(filter=expression)
    except (pa.ArrowException, TypeError, ValueError, KeyError) as error:
        message = str(error)
    else:
        return
    unmatched = _UNMATCHED.search(message)
    if not unmatched:
        raise OptionError(f"the filter {expression} can't be applied: {message.partition(chr(10))[0]}.")
    if unmatched.group(1) == "Nested":
        raise OptionError(
            f"the filter {expression} names a nested field. Members of structs are fields named 'a.b' here."
        )
    raise unknown_field(unmatched.group(2), schema.names)


def unknown_field(name: object, names: Iterable[str]) -> OptionError:
    """The error for a field that is not there, with those most like it."""
    known = list(names)
    near = difflib.get_close_matches(str(name), known, 3)
    what = f"Did you mean {' or '.join(map(repr, near))}?" if near else f"Fields: {', '.join(known[:20])}"
    return OptionError(describe("the filter names an unknown field", Place(field=str(name)), remedy=what))


def _from_tuples(where: Any, schema: pa.Schema) -> pc.Expression:
    if _is_term(where):
        return _term(where, schema)
    if not isinstance(where, (list, tuple)) or not where:
        raise _malformed(where)
    terms = sum(1 if _is_term(part) else len(part) for part in where if isinstance(part, (list, tuple)))
    if terms > _MAX_TERMS:
        raise OptionError(f"the filter has {terms} terms, more than {_MAX_TERMS}. Join values of a field by 'in'.")
    if all(_is_term(part) for part in where):
        parts = [_term(part, schema) for part in where]
        return _joined(parts, operator.and_)
    if all(isinstance(part, (list, tuple)) and part and all(map(_is_term, part)) for part in where):
        return _joined([_joined([_term(term, schema) for term in part], operator.and_) for part in where], operator.or_)
    raise _malformed(where)


def _malformed(where: object) -> OptionError:
    return OptionError(
        describe(
            "the filter has no known form",
            expected='[("speed", ">", 2.0), …], a list of such lists, or a pyarrow.compute expression',
            found=repr(where),
        )
    )


def _is_term(part: object) -> bool:
    return isinstance(part, (tuple, list)) and len(part) == 3 and isinstance(part[0], str) and isinstance(part[1], str)


def _joined(parts: list[pc.Expression], how: Callable[[Any, Any], Any]) -> pc.Expression:
    # Halves, not a chain, so that the nesting stays shallow.
    if len(parts) == 1:
        return parts[0]
    middle = len(parts) // 2
    return how(_joined(parts[:middle], how), _joined(parts[middle:], how))


def _term(term: Any, schema: pa.Schema) -> pc.Expression:
    name, how, value = term
    how = " ".join(how.lower().split())
    if how not in _OPERATORS:
        raise OptionError(
            describe("the filter has an unknown operator", Place(field=name), expected=" ".join(_OPERATORS), found=how)
        )
    if name not in schema.names:
        raise unknown_field(name, schema.names)
    field, kind = pc.field(name), schema.field(name).type
    if how in ("in", "not in"):
        if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
            raise OptionError(
                describe(f"{how!r} needs a list of values", Place(field=name), expected="a list", found=repr(value))
            )
        found = field.isin(_values(name, list(value), kind))
        return ~found if how == "not in" else found
    if value is None:
        if how not in ("=", "==", "!="):
            raise OptionError(describe(f"None can't be compared by {how!r}", Place(field=name)))
        return field.is_valid() if how == "!=" else field.is_null()
    return _COMPARE[how](field, _scalar(name, value, kind))


def _values(name: str, values: list[Any], kind: pa.DataType) -> pa.Array:
    scalars = [None if value is None else _scalar(name, value, kind) for value in values]
    try:
        if pa.types.is_timestamp(kind):
            # Nanoseconds have no Python value without pandas.
            return pa.array([None if scalar is None else scalar.cast(kind) for scalar in scalars], kind)
        return pa.array([None if scalar is None else scalar.as_py() for scalar in scalars], kind)
    except (TypeError, ValueError, OverflowError, pa.ArrowException):
        return _wrong(name, values, kind)


def _scalar(name: str, value: Any, kind: pa.DataType) -> pa.Scalar:
    try:
        if isinstance(value, np.datetime64):
            return pa.array(np.array([value]))[0].cast(kind)
        value = value.item() if isinstance(value, (np.generic, np.ndarray)) else value
        if pa.types.is_uint64(kind) and isinstance(value, int) and value >= 0:
            return pa.scalar(value, kind)  # pyarrow would bring the column to int64, which holds half of it
        scalar = pa.scalar(value)
        if pa.types.is_decimal(kind) and (pa.types.is_integer(scalar.type) or pa.types.is_decimal(scalar.type)):
            return pa.scalar(Decimal(scalar.as_py()), kind)  # pyarrow has no common type for long integers
        textual = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind)
        return scalar.cast(kind) if pa.types.is_string(scalar.type) and not textual else scalar
    except (TypeError, ValueError, OverflowError, pa.ArrowException):
        return _wrong(name, value, kind)


def _wrong(name: str, value: object, kind: pa.DataType) -> Any:
    raise OptionError(
        describe("the filter's value does not suit its field", Place(field=name), expected=kind, found=repr(value))
    )
