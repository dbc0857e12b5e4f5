"""What a filter looks up: of an expression, the fields that must equal one of some values, as far as that shows.

pyarrow has no way to look into an expression, but it pickles one as an Arrow IPC file: the tree in the schema's
metadata, from the root down (`call`, its arguments, `end`), the literals in columns. Whatever looks different from
that is taken for an expression nothing is known of, so another version of pyarrow costs speed and no row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

#: Names that the metadata's text shows as they are.
_PLAIN_NAME = re.compile(r"[\w .\-/:]+")
_ENTRY = re.compile(r"(call|field_ref|literal|options|end): '(.*)'")


@dataclass(frozen=True, eq=False)
class Lookup:
    """A field equals one of some values. values: an array of whatever type the filter gives, without nulls."""

    field: str
    values: pa.Array


@dataclass(frozen=True)
class All:
    """All of the parts are true."""

    parts: tuple[Wanted, ...]


@dataclass(frozen=True)
class Either:
    """At least one of the parts is true."""

    parts: tuple[Wanted, ...]


#: What has to be true of every row that passes; None where nothing is known.
Wanted: TypeAlias = "Lookup | All | Either | None"


def lookups_of(expression: pc.Expression) -> Wanted:
    """What an expression looks up. None if nothing shows."""
    try:
        _, (pickled,) = expression.__reduce__()
        with pa.ipc.open_file(pickled) as file:
            schema, literals = file.schema, file.get_batch(0).columns
        _, marker, text = schema.to_string(truncate_metadata=False).partition("-- schema metadata --\n")
        entries = [_entry(line) for line in text.splitlines()] if marker else []
        tokens = iter(entries)
        wanted = _wanted(_tree(next(tokens), tokens, literals))
        return wanted if next(tokens, None) is None else None
    except (pa.ArrowException, ValueError, TypeError, LookupError, StopIteration, RecursionError, AttributeError):
        return None


def _entry(line: str) -> tuple[str, str]:
    match = _ENTRY.fullmatch(line)
    if match is None or not _PLAIN_NAME.fullmatch(match[2]):
        raise ValueError(line)
    return match[1], match[2]


@dataclass(frozen=True, eq=False)
class _Call:
    name: str
    arguments: list[Any]
    options: Any = None


@dataclass(frozen=True)
class _Field:
    name: str


def _tree(first: tuple[str, str], rest: Iterator[tuple[str, str]], literals: list[pa.Array]) -> Any:
    kind, text = first
    if kind == "field_ref":
        return _Field(text)
    if kind == "literal":
        return literals[int(text)]
    if kind != "call":
        raise ValueError(kind)
    arguments: list[Any] = []
    options = None
    while True:
        kind, value = next(rest)
        if kind == "end":
            if value != text:
                raise ValueError(value)
            return _Call(text, arguments, options)
        if kind == "options":
            options = literals[int(value)]
        else:
            arguments.append(_tree((kind, value), rest, literals))


def _wanted(node: Any) -> Wanted:
    if not isinstance(node, _Call):
        return None
    if node.name in ("and", "and_kleene"):
        known = tuple(part for part in map(_wanted, node.arguments) if part is not None)
        return All(known) if known else None
    if node.name in ("or", "or_kleene"):
        parts = tuple(map(_wanted, node.arguments))
        return None if None in parts else Either(parts)
    values: Any = None
    if node.name == "equal" and len(node.arguments) == 2:
        field, values = sorted(node.arguments, key=lambda argument: not isinstance(argument, _Field))
    elif node.name == "is_in" and len(node.arguments) == 1:
        (field,) = node.arguments
        options = node.options[0]
        values = options["value_set"].values if isinstance(options, pa.StructScalar) else None
    else:
        return None
    # A null is in no bloom filter.
    if not isinstance(field, _Field) or not isinstance(values, pa.Array) or values.null_count:
        return None
    return Lookup(field.name, values)
