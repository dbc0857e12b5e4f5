"""A Unischema as a schema proto."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tfpetastorm.errors import SchemaError, describe
from tfpetastorm.schema.field import UnischemaField
from tfpetastorm.schema.unischema import Unischema
from tfpetastorm.tfmd.edits import edited_like
from tfpetastorm.tfmd.form import Form, form_of
from tfpetastorm.tfmd.package import schema_module
from tfpetastorm.tfmd.tags import write_tag

if TYPE_CHECKING:
    from tensorflow_metadata.proto.v0 import schema_pb2


def unischema_to_schema(schema: Unischema, like: schema_pb2.Schema | None = None) -> schema_pb2.Schema:
    """The proto that TFX's components take for datasets of `schema`; `schema_to_unischema` makes an equal one of it.

    One feature a field, in order. Without nulls: `presence.min_fraction` of 1, and a `shape` if it is fixed (no `dim`
    for a scalar), by which TFX makes dense tensors. What is nullable has no min_fraction, and, as TFX wants, no shape:
    `value_count` bounds its values, from 0 where the size differs; `value_counts` those of several dimensions, one
    level each. Integers have their dtype's bounds as `int_domain`, bool a `bool_domain`, times a `time_domain`, images
    an `image_domain` (their value is the encoded image), Decimals a `float_domain`. A tag in each annotation has
    the dtype, shape and codec, one in the schema's its name.

    like: a proto whose edits are kept: `schema_to_unischema(like)` gives `like` again. A feature that says the field
    stays as it is. Where another dtype, shape or codec, or other nulls are said, what still holds stays: the domain if
    somebody edited it and the type is the same, counts and presence if shape and nulls are, annotations of others.
    Features that are not in the schema go, but for those that TFX does not use. What `like` says of the schema as a
    whole stays, without sparse and weighted features of columns that are gone.

    Raises MissingPackageError without tensorflow-metadata, SchemaError for what is no Unischema, or no proto.
    """
    given: object = schema
    if not isinstance(given, Unischema):
        raise SchemaError(describe("Not a schema", expected="a Unischema", found=repr(given)))
    proto = schema_module()
    if like is not None:
        edited: schema_pb2.Schema = edited_like(proto, like, schema, lambda one: _made(proto, one))
        return edited
    made: schema_pb2.Schema = _made(proto, schema)
    return made


def _made(proto: Any, schema: Unischema) -> Any:
    made = proto.Schema(represent_variable_length_as_ragged=True)
    write_tag(made.annotation, {"name": schema.schema_name})
    for field, stored in zip(schema, json.loads(schema.to_json())["fields"], strict=True):
        feature = made.feature.add(name=field.name)
        _describe(proto, feature, field, form_of(field))
        write_tag(feature.annotation, {part: stored[part] for part in ("dtype", "shape", "codec")})
    return made


def _describe(proto: Any, feature: Any, field: UnischemaField, form: Form) -> None:
    feature.type = proto.FeatureType.Value(form.type)
    feature.presence.SetInParent()
    if not field.nullable:
        feature.presence.min_fraction = 1.0
    if not field.nullable and None not in form.dims:
        feature.shape.SetInParent()
        for size in form.dims:
            feature.shape.dim.add(size=size)
    elif len(form.dims) < 2:
        _count(feature.value_count, form.dims[0] if form.dims else 1)
    else:
        for dim in form.dims:
            _count(feature.value_counts.value_count.add(), dim)
    if form.domain == "time":
        feature.time_domain.integer_format = proto.TimeDomain.IntegerTimeFormat.Value(form.time_format)
    elif form.domain is not None:
        domain = getattr(feature, f"{form.domain}_domain")
        domain.SetInParent()
        least, most = form.bounds or (None, None)
        if least is not None:
            domain.min = least
        if most is not None:
            domain.max = most


def _count(count: Any, size: int | None) -> None:
    count.min = size or 0
    if size is not None:
        count.max = size
