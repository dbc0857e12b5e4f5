"""The schema of a dataset: named fields in order, and its forms as JSON, Arrow and namedtuple."""

from __future__ import annotations

import difflib
import json
import keyword
import re
from collections import namedtuple
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from tfpetastorm.errors import SchemaError, describe
from tfpetastorm.schema.codecs import arrow_type, codec_from_json, codec_to_json, known_codecs
from tfpetastorm.schema.codecs.base import Codec
from tfpetastorm.schema.codecs.opaque import OpaqueCodec
from tfpetastorm.schema.dtypes import dtype_name
from tfpetastorm.schema.field import UnischemaField, declared_field

#: The version of the JSON form. A reader refuses a newer one.
JSON_VERSION = 1


@dataclass(frozen=True, init=False, repr=False, eq=False)
class Unischema:
    """What rows of a dataset hold. Immutable, hashable, equal by name and fields (in order).

    `schema.camera` is the field named camera; `schema.fields["a.b"]` reaches any name.

    Raises SchemaError if two fields have one name.
    """

    name: str
    fields: Mapping[str, UnischemaField]

    def __init__(self, name: str, fields: Iterable[UnischemaField]) -> None:
        if not _is_name(name):
            raise SchemaError(describe("Not a schema's name", expected="a non-empty str", found=repr(name)))
        by_name: dict[str, UnischemaField] = {}
        for field in fields:
            if not isinstance(field, UnischemaField):
                raise SchemaError(describe("Not a field", expected="a UnischemaField", found=repr(field)))
            if field.name in by_name:
                raise SchemaError(f"Schema {name!r} has two fields named {field.name!r}.")
            by_name[field.name] = field
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "fields", MappingProxyType(by_name))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Unischema):
            return NotImplemented
        return self.name == other.name and tuple(self.fields.values()) == tuple(other.fields.values())

    def __hash__(self) -> int:
        return hash((self.name, tuple(self.fields.values())))

    def __reduce__(self) -> tuple[Any, ...]:
        # A mapping proxy can't be pickled; worker processes get schemas through pickles of ours.
        return Unischema, (self.name, tuple(self.fields.values()))

    def __getattr__(self, name: str) -> UnischemaField:
        if not name.startswith("__") and name in self.__dict__.get("fields", ()):
            return self.fields[name]
        raise AttributeError(
            f"Schema has no field or attribute {name!r}{_near_misses(name, self.__dict__.get('fields', ()))}"
        )

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self.fields]

    def __iter__(self) -> Iterator[UnischemaField]:
        return iter(self.fields.values())

    def __len__(self) -> int:
        return len(self.fields)

    def __contains__(self, name: object) -> bool:
        return name in self.fields

    def __repr__(self) -> str:
        return f"Unischema({self.name!r}, {list(self.fields.values())!r})"

    def __str__(self) -> str:
        return "\n".join([f"{self.name}:", *(f"  {field}" for field in self.fields.values())])

    def select(self, selection: Iterable[str | UnischemaField | re.Pattern[str]]) -> tuple[str, ...]:
        """The names of the chosen fields, in the schema's order.

        selection: names, regular expressions that must match a whole name, or fields (by name: the stored
        definition wins). Raises SchemaError for one that matches nothing, with near misses.
        """
        if isinstance(selection, (str, UnischemaField, re.Pattern)):
            selection = [selection]
        chosen: set[str] = set()
        for item in selection:
            chosen.update(self._matches(item))
        return tuple(name for name in self.fields if name in chosen)

    def _matches(self, item: str | UnischemaField | re.Pattern[str]) -> list[str]:
        wanted = item.name if isinstance(item, UnischemaField) else item
        if isinstance(wanted, str) and wanted in self.fields:
            return [wanted]
        matches: list[str] = []
        if not isinstance(item, UnischemaField):
            try:
                pattern = re.compile(wanted)
            except (re.error, TypeError):
                raise SchemaError(
                    describe(
                        "Not a choice of fields", expected="a name, a regular expression or a field", found=repr(item)
                    )
                ) from None
            matches = [name for name in self.fields if pattern.fullmatch(name)]
        if not matches:
            text = wanted.pattern if isinstance(wanted, re.Pattern) else wanted
            raise SchemaError(f"No field of {self.name!r} matches {text!r}{_near_misses(text, self.fields)}")
        return matches

    def create_schema_view(self, fields: Iterable[str | UnischemaField | re.Pattern[str]]) -> Unischema:
        """A schema of the chosen fields only (see `select`), in this schema's order."""
        return Unischema(self.name, [self.fields[name] for name in self.select(fields)])

    def namedtuple_type(self) -> type[Any]:
        """A namedtuple class with one attribute a field; what is not an identifier is made one (`a.b` → `a_b`)."""
        return self._namedtuple_type

    @cached_property
    def _namedtuple_type(self) -> type[Any]:
        names = [attribute_name(name) for name in self.fields]
        for position, name in enumerate(names):
            if name in names[:position]:
                first, second = list(self.fields)[names.index(name)], list(self.fields)[position]
                raise SchemaError(f"Fields {first!r} and {second!r} would both be {name!r} in a namedtuple.")
        return namedtuple(attribute_name(self.name), names)

    def make_namedtuple(self, **values: Any) -> Any:
        """One row as a namedtuple. Missing nullable fields are None. Raises SchemaError for other differences."""
        kind = self._namedtuple_type
        by_attribute = {attribute_name(name): field for name, field in self.fields.items()}
        unknown = [name for name in values if name not in by_attribute]
        missing = [name for name, field in by_attribute.items() if name not in values and not field.nullable]
        if unknown or missing:
            raise SchemaError(
                describe("Not a row of this schema", expected=f"fields {list(by_attribute)}", found=f"{list(values)}")
            )
        return kind(**{name: values.get(name) for name in by_attribute})

    def as_arrow_schema(self) -> pa.Schema:
        """The Arrow schema of files that hold all fields, without metadata."""
        return pa.schema([pa.field(field.name, arrow_type(field), nullable=field.nullable) for field in self])

    def to_json(self) -> str:
        """This schema as JSON, from which `from_json` makes an equal one."""
        fields = [
            {
                "name": field.name,
                **_declared(field),
                "codec": codec_to_json(field.codec),
                "nullable": field.nullable,
            }
            for field in self
        ]
        return json.dumps({"version": JSON_VERSION, "name": self.name, "fields": fields}, ensure_ascii=False)

    @staticmethod
    def from_json(text: str, codecs: Iterable[type[Codec]] = ()) -> Unischema:
        """The schema that `to_json` wrote.

        codecs: the user's own codec classes that it may name. A codec that is not known becomes an OpaqueCodec,
        so that the other fields can be read. Raises SchemaError if the text is not such a schema.
        """
        table = known_codecs(codecs)
        try:
            stored = json.loads(text)
            version = stored["version"]
            if version != JSON_VERSION:
                raise SchemaError(
                    describe(
                        "The schema was stored by another version of this library",
                        expected=f"version {JSON_VERSION}",
                        found=repr(version),
                        remedy="Update tfpetastorm.",
                    )
                )
            return Unischema(
                stored["name"],
                [
                    declared_field(
                        part["name"],
                        part["dtype"],
                        tuple(part["shape"]),
                        codec_from_json(part["codec"], table),
                        part["nullable"],
                    )
                    for part in stored["fields"]
                ],
            )
        except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
            if isinstance(error, SchemaError):
                raise
            raise SchemaError(
                f"A stored schema is not the JSON it should be: {type(error).__name__}: {error}."
            ) from None


def _declared(field: UnischemaField) -> dict[str, Any]:
    """What JSON says of a field's cells: of an unknown codec's, what they are once decoded."""
    if isinstance(field.codec, OpaqueCodec):
        return {"dtype": field.codec.declared_dtype, "shape": list(field.codec.declared_shape)}
    return {"dtype": dtype_name(field.numpy_dtype), "shape": list(field.shape)}


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value)


def attribute_name(name: str) -> str:
    """The name of a field as a namedtuple has it: what is not an identifier is made one."""
    plain = re.sub(r"\W", "_", name)
    if plain[0].isdigit() or plain[0] == "_":
        plain = "f" + plain
    return plain + "_" if keyword.iskeyword(plain) else plain


def _near_misses(name: str, known: Iterable[str]) -> str:
    names = list(known)
    near = difflib.get_close_matches(name, names, n=3)
    if near:
        return f". Did you mean {', '.join(map(repr, near))}?"
    return f". There are: {', '.join(map(repr, names[:20]))}{', …' if len(names) > 20 else ''}."
