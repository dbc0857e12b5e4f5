"""The features of a schema proto over the fields that are stored: how values are shown, and that they can be."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from tfpetastorm.errors import Place, SchemaMismatchError, describe
from tfpetastorm.schema.codecs import CompressedImageCodec, OpaqueCodec
from tfpetastorm.schema.field import UnischemaField
from tfpetastorm.schema.unischema import Unischema
from tfpetastorm.tfmd.form import form_of

_ITEMS = {"INT": pa.int64(), "FLOAT": pa.float32(), "BYTES": pa.large_binary()}


@dataclass(frozen=True)
class Feature:
    """A column of record batches.

    field: what it is made of, None for a feature that the data lacks, which is null in every row. type: the name of its
    FeatureType. depth: how many levels of lists there are; with one, all values of a row are in one list.
    """

    name: str
    field: UnischemaField | None
    type: str
    depth: int

    @property
    def item(self) -> pa.DataType:
        """The type of its values."""
        return _ITEMS[self.type]

    @property
    def arrow_type(self) -> pa.DataType:
        """The type of its column."""
        kind = self.item
        for _ in range(self.depth):
            kind = pa.large_list(kind)
        return kind


def arrow_schema(features: Iterable[Feature]) -> pa.Schema:
    """The schema of record batches that have these columns."""
    return pa.schema([pa.field(feature.name, feature.arrow_type) for feature in features])


def read_form(field: UnischemaField) -> UnischemaField:
    """A stored field as it is read for TFX: images in their encoding, everything else decoded."""
    if isinstance(field.codec, CompressedImageCodec):
        return UnischemaField(field.name, bytes, (), None, field.nullable)
    return field


def features_of(proto: Any, stored: Unischema | None, unmapped: Collection[str] = ()) -> tuple[Feature, ...]:
    """The features of a schema proto, in its order.

    stored: the fields that there are, as `read_form` has them; None if that is not known, and nothing is checked.
    unmapped: columns that there are too, but of a type that no field has.
    Raises SchemaMismatchError naming the feature where what is stored can't be what the proto says, or two have a name.
    """
    for name, count in Counter(message.name for message in proto.feature).items():
        if count > 1:
            raise SchemaMismatchError(
                describe("The schema proto has several features of one name", Place(field=name), remedy="Keep one.")
            )
    return tuple(_feature(message, stored, unmapped) for message in proto.feature)


def _feature(message: Any, stored: Unischema | None, unmapped: Collection[str]) -> Feature:
    name = message.name
    said = type(message).DESCRIPTOR.fields_by_name["type"].enum_type.values_by_number[message.type].name
    field = None if stored is None else stored.fields.get(name)
    depth = max(1, len(message.value_counts.value_count)) if message.HasField("value_counts") else 1
    if field is None:
        if name in unmapped:
            raise _contradiction(name, said, "a column of a type that no field has", "Remove the feature.")
        if said not in _ITEMS:
            raise _contradiction(name, said, "no such column", "Give the feature one of the types, or remove it.")
        return Feature(name, None, said, depth)
    form = form_of(field)
    if said == "TYPE_UNKNOWN":
        said = form.type
    if said != form.type:
        raise _contradiction(name, said, f"{form} ({field})", _remedy(field, form.type))
    if depth > 1 and depth != max(1, len(form.dims)):
        raise _contradiction(
            name, f"{said}, nested {depth} deep (value_counts)", f"{form} ({field})", "Correct its value_counts."
        )
    if message.HasField("shape") and None not in form.dims:
        sizes = [dim.size for dim in message.shape.dim]
        if math.prod(sizes) != math.prod(size for size in form.dims if size is not None):
            raise _contradiction(name, f"{said} of shape {tuple(sizes)}", f"{form} ({field})", "Correct its shape.")
    return Feature(name, field, said, depth)


def _remedy(field: UnischemaField, kind: str) -> str:
    if isinstance(field.codec, OpaqueCodec):
        return f"Give the class of its codec, {field.codec.class_name}, with codecs=, or make its type BYTES."
    return f"Make the feature's type {kind} in the schema, or remove the feature from it to leave the field out."


def _contradiction(name: str, expected: str, found: str, remedy: str) -> SchemaMismatchError:
    return SchemaMismatchError(
        describe(
            "The schema proto and the stored data contradict one another",
            Place(field=name),
            expected=expected,
            found=found,
            remedy=remedy,
        )
    )
