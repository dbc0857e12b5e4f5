"""A schema proto as a Unischema: one of ours, one of ours that others edited, or one that never was ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tfpetastorm.errors import SchemaError, describe
from tfpetastorm.schema.codecs import BUILTIN_CODECS, Codec, OpaqueCodec, codec_from_json, known_codecs
from tfpetastorm.schema.field import UnischemaField, declared_field
from tfpetastorm.schema.unischema import Unischema
from tfpetastorm.tfmd.form import STORED_BYTES, Form, form_of
from tfpetastorm.tfmd.package import schema_module
from tfpetastorm.tfmd.plain import Feature, plain_field
from tfpetastorm.tfmd.tags import PREFIX, read_tag

if TYPE_CHECKING:
    from tensorflow_metadata.proto.v0 import schema_pb2

#: The name of a schema whose proto has none: as petastorm names those that it infers.
_NAMELESS = "inferred_schema"


def schema_to_unischema(proto: schema_pb2.Schema, codecs: Iterable[type[Codec]] = ()) -> Unischema:
    """The Unischema of a schema proto: of one from `unischema_to_schema`, an equal one.

    The proto decides, its tags refine. Presence is the proto's: a field is nullable unless `min_fraction` is 1. Where
    the tag leaves a size open, a `shape` fixes it. Domains and value counts that were narrowed, replaced or removed
    leave the field as the tag has it, since they say what values occur, not how they are stored. What contradicts the
    tag (another type or time format, a shape or value count that it rules out, an int_domain beyond its dtype) is an
    error. Without a tag, a feature is a field without a codec: FLOAT float32, INT int64 or what its domain says, BYTES
    text if it has a domain of text, else bytes.

    Left out is what TFX treats as deprecated (the stages PLANNED, ALPHA, DEPRECATED, DEBUG_ONLY and DISABLED), and what
    only statistics have (VALIDATION_DERIVED). Not looked at are sparse and weighted features (the columns they name are
    features themselves), environments, and other annotations.

    codecs: the user's own codec classes that the tags may name; one that is not known becomes an OpaqueCodec.

    Raises SchemaError naming the feature, MissingPackageError without tensorflow-metadata.
    """
    module = schema_module()
    if not isinstance(proto, module.Schema):
        raise SchemaError(
            describe(
                "Not a schema proto",
                expected="a tensorflow_metadata.proto.v0.schema_pb2.Schema",
                found=repr(proto)[:200],
                remedy="Text is parsed by google.protobuf.text_format.Parse(text, schema_pb2.Schema()).",
            )
        )
    table = known_codecs(codecs)
    fields = []
    for message in proto.feature:
        feature = Feature(module, proto, message)
        if feature.used:
            fields.append(field_of(feature, table))
    return Unischema(name_of(proto), fields)


def name_of(proto: Any) -> Any:
    """The name of a schema proto's Unischema."""
    named = read_tag(proto.annotation)
    return _NAMELESS if named is None else named.get("name", _NAMELESS)


def field_of(feature: Feature, table: Mapping[str, type[Codec]]) -> UnischemaField:
    """The field of a feature that is used. table: the codecs that a tag may name. Raises SchemaError."""
    tag = feature.tag
    return plain_field(feature) if tag is None else _tagged(feature, tag, table)


def _tagged(feature: Feature, tag: Mapping[str, Any], table: Mapping[str, type[Codec]]) -> UnischemaField:
    try:
        shape = tuple(tag["shape"])
        codec = codec_from_json(tag["codec"], table)
        decoded = UnischemaField(feature.name, tag["dtype"], shape)
        field = declared_field(feature.name, tag["dtype"], shape, codec, feature.nullable)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        if isinstance(error, SchemaError):
            raise
        raise SchemaError(
            describe(f"A tag is malformed ({type(error).__name__}: {error})", feature.place, found=repr(dict(tag)))
        ) from None
    forms = [form_of(field)]
    if type(codec) not in (*BUILTIN_CODECS, type(None)) or isinstance(codec, OpaqueCodec):
        # Whoever wrote the proto may have known the codec, or not.
        forms = [form_of(decoded), STORED_BYTES]
    agreeing = [form for form in forms if feature.agrees(form)]
    if not agreeing:
        raise _contradiction(feature, forms[0])
    fixed = feature.dense
    if fixed is not None and field.shape == agreeing[0].dims != fixed:
        return replace(field, shape=fixed)
    return field


def _contradiction(feature: Feature, form: Form) -> SchemaError:
    bounds = f" from {form.bounds[0]} to {form.bounds[1]}" if form.bounds else ""
    return SchemaError(
        describe(
            "A feature is not what its tag says: one of them was edited",
            feature.place,
            expected=f"{form}{bounds}{f' in {form.time_format}' if form.time_format else ''}",
            found=feature,
            remedy=f"Undo the edit, or remove the tag that begins with {PREFIX!r}: the feature is then read as it "
            "stands, without a codec.",
        )
    )
