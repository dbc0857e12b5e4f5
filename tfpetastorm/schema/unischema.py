"""The schema of a dataset: named fields in order, and its forms as JSON, Arrow and namedtuple."""

from __future__ import annotations

import difflib
import json
import keyword
import re
import warnings
from collections import namedtuple
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from tfpetastorm.errors import DatasetWarning, SchemaError, describe
from tfpetastorm.schema.codecs import arrow_type, codec_from_json, codec_to_json, known_codecs
from tfpetastorm.schema.codecs.base import Codec
from tfpetastorm.schema.codecs.opaque import OpaqueCodec
from tfpetastorm.schema.dtypes import dtype_name
from tfpetastorm.schema.field import UnischemaField, declared_field

#: The version of the JSON form. A reader refuses a newer one.
JSON_VERSION = 1


@dataclass(frozen=True, init=False, repr=False, eq=False)
class Unischema:
    """What rows of a dataset hold. Immutable, hashable, equal by name and fields (in order, codecs included).

    `schema.camera` is the field named camera; `schema.fields["a.b"]` reaches any name. A field named as one of the
    methods is had as `schema.fields[...]` only, which a DatasetWarning says. `schema.name` is a field of that name if
    there is one; `schema.schema_name` is always the schema's.

    Raises SchemaError if two fields have one name.
    """

    schema_name: str
    fields: Mapping[str, UnischemaField]

    def __init__(self, name: str, fields: Iterable[UnischemaField]) -> None:
        self._set(name, fields)
        hidden = [field for field in self.fields if field != "name" and field in {*dir(Unischema), "fields"}]
        for field in hidden:
            warnings.warn(
                f"Can not create dynamic property {field}, as Unischema has an attribute of that name: "
                f"schema.fields[{field!r}] is the field.",
                DatasetWarning,
                stacklevel=2,
            )

    @staticmethod
    def rebuilt(name: str, fields: Iterable[UnischemaField]) -> Unischema:
        """A schema of fields that had one before: what there is to warn of was said."""
        schema = object.__new__(Unischema)
        schema._set(name, fields)
        return schema

    def _set(self, name: str, fields: Iterable[UnischemaField]) -> None:
        if not _is_name(name):
            raise SchemaError(describe("Not a schema's name", expected="a non-empty str", found=repr(name)))
        by_name: dict[str, UnischemaField] = {}
        for field in fields:
            if not isinstance(field, UnischemaField):
                raise SchemaError(describe("Not a field", expected="a UnischemaField", found=repr(field)))
            if field.name in by_name:
                raise SchemaError(f"Schema {name!r} has two fields named {field.name!r}.")
            by_name[field.name] = field
        object.__setattr__(self, "schema_name", name)
        object.__setattr__(self, "fields", MappingProxyType(by_name))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Unischema):
            return NotImplemented
        return self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)

    @cached_property
    def _key(self) -> tuple[Any, ...]:
        # Some fields compare without their codec, as petastorm's did; schemas never do.
        return (self.schema_name, tuple((f.name, f.numpy_dtype, f.shape, f.nullable, f.codec) for f in self))

    def __reduce__(self) -> tuple[Any, ...]:
        # A mapping proxy can't be pickled; worker processes get schemas through pickles of ours.
        return Unischema.rebuilt, (self.schema_name, tuple(self.fields.values()))

    @property
    def name(self) -> Any:
        """The field named "name" if there is one, else the schema's name."""
        return self.fields.get("name", self.schema_name)

    @property
    def _name(self) -> str:
        return self.schema_name

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
        return f"Unischema({self.schema_name!r}, {list(self.fields.values())!r})"

    def __str__(self) -> str:
        return "\n".join([f"{self.schema_name}:", *(f"  {field}" for field in self.fields.values())])

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
            raise SchemaError(f"No field of {self.schema_name!r} matches {text!r}{_near_misses(text, self.fields)}")
        return matches

    def create_schema_view(self, fields: Iterable[str | UnischemaField | re.Pattern[str]]) -> Unischema:
        """A schema of the chosen fields only, in this schema's order.

        fields: fields (by name: the stored definition wins) and regular expressions that match a whole name. As in
        petastorm, an expression may match nothing; `select` refuses that. Raises SchemaError for a field that the
        schema does not have, and for anything else.
        """
        chosen: set[str] = set()
        for item in [fields] if isinstance(fields, (str, UnischemaField, re.Pattern)) else fields:
            if isinstance(item, UnischemaField):
                if item.name not in self.fields:
                    raise SchemaError(
                        f"Field {item.name!r} does not belong to the schema {self.schema_name!r}"
                        f"{_near_misses(item.name, self.fields)}"
                    )
                chosen.add(item.name)
            elif isinstance(item, (str, re.Pattern)):
                known = isinstance(item, str) and item in self.fields
                chosen.update([str(item)] if known else _full_matches(item, self.fields))
            else:
                raise SchemaError(
                    describe(
                        "A choice of fields must be either a string (a regular expression) or a field",
                        expected="str, re.Pattern or UnischemaField",
                        found=repr(item),
                    )
                )
        return Unischema.rebuilt(self.schema_name, tuple(field for field in self if field.name in chosen))

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
        return namedtuple(attribute_name(self.schema_name), names)

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

    def _get_namedtuple(self) -> type[Any]:
        return self._namedtuple_type

    def make_namedtuple_tf(self, *args: Any, **values: Any) -> Any:
        """One row as a namedtuple, of tensors or whatever else is given, by position or name, and unchecked."""
        return self._namedtuple_type(*args, **values)

    def as_spark_schema(self) -> Any:
        """The `pyspark.sql.types.StructType` of a DataFrame of encoded rows. Needs the extra `spark`.

        Raises SchemaError for a field that Spark has no type for.
        """
        from tfpetastorm.schema.spark_types import spark_schema

        return spark_schema(self)

    @classmethod
    def from_arrow_schema(cls, parquet_dataset: Any, omit_unsupported_fields: bool = True) -> Unischema:
        """The schema of plain Parquet, of the types that petastorm knew: scalars and lists of them.

        parquet_dataset: an Arrow schema, or a `pyarrow.parquet.ParquetDataset`. Columns of other types are left out
        with a warning, or raise SchemaError where `omit_unsupported_fields` is False. `open_dataset(url).schema`
        knows more types.
        """
        from tfpetastorm.schema.petastorm_arrow import petastorm_schema

        return petastorm_schema(parquet_dataset, "omit" if omit_unsupported_fields else "error")

    def as_arrow_schema(self) -> pa.Schema:
        """The Arrow schema of files that hold all fields, without metadata."""
        for field in self:
            field.require_usable()
        return pa.schema([pa.field(field.name, arrow_type(field), nullable=field.nullable) for field in self])

    def to_json(self) -> str:
        """This schema as JSON, from which `from_json` makes an equal one."""
        for field in self:
            field.require_usable()
        fields = [
            {
                "name": field.name,
                **_declared(field),
                "codec": codec_to_json(field.codec),
                "nullable": field.nullable,
            }
            for field in self
        ]
        return json.dumps({"version": JSON_VERSION, "name": self.schema_name, "fields": fields}, ensure_ascii=False)

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


def _full_matches(pattern: str | re.Pattern[str], names: Iterable[str]) -> list[str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise SchemaError(f"Not a regular expression: {pattern!r} ({error}).") from None
    return [name for name in names if compiled.fullmatch(name)]


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
