"""What others have said in a schema proto, kept in that of a Unischema as far as it still holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tfpetastorm.errors import SchemaError, describe
from tfpetastorm.schema.codecs import BUILTIN_CODECS, OpaqueCodec, known_codecs
from tfpetastorm.schema.field import UnischemaField
from tfpetastorm.schema.unischema import Unischema
from tfpetastorm.tfmd.form import Form, form_of
from tfpetastorm.tfmd.from_proto import field_of, name_of
from tfpetastorm.tfmd.plain import Feature
from tfpetastorm.tfmd.tags import drop_tag


def edited_like(module: Any, like: Any, schema: Unischema, make: Callable[[Unischema], Any]) -> Any:
    """A proto of the schema that keeps what `like` says. make: makes one that keeps nothing.

    Raises SchemaError for what is no schema proto.
    """
    if not isinstance(like, module.Schema):
        raise SchemaError(
            describe("like is not a schema proto", expected="a schema_pb2.Schema", found=repr(like)[:200])
        )
    kept = module.Schema()
    kept.CopyFrom(like)
    del kept.feature[:]
    made = make(schema)
    if name_of(like) != schema.schema_name:
        drop_tag(kept.annotation)
        kept.annotation.tag.extend(made.annotation.tag)
    before = {message.name: Feature(module, like, message) for message in reversed(like.feature)}
    features = [
        _kept(before[field.name], field, fresh, make) if field.name in before else fresh
        for field, fresh in zip(schema, made.feature, strict=True)
    ]
    for place, message in enumerate(like.feature):
        if message.name not in schema and not before[message.name].used:
            features.insert(place, message)
    kept.feature.extend(features)
    _drop_dangling(kept)
    return kept


def _kept(before: Feature, field: UnischemaField, fresh: Any, make: Callable[[Unischema], Any]) -> Any:
    """A feature as it was if it says the field; else as much of it as holds; else the fresh one."""
    codec = field.codec
    own = codec is not None and not isinstance(codec, (*BUILTIN_CODECS, OpaqueCodec))
    table = known_codecs([type(codec)] if codec is not None and own else [])
    try:
        old = field_of(before, table) if before.used else None
    except SchemaError:
        old = None
    if old is None or old == field:
        return fresh if old is None else before.message
    merged = type(fresh)()
    merged.CopyFrom(before.message)
    drop_tag(merged.annotation)
    merged.annotation.tag.extend(fresh.annotation.tag)
    merged.type = fresh.type
    form, was = form_of(field), form_of(old)
    if (form.dims, field.nullable) != (was.dims, old.nullable):
        _take(merged, fresh, "shape_type")
        _take(merged, fresh, "presence_constraints")
    if (form.type, _limits(form), field.kind) != (was.type, _limits(was), old.kind) or not _edited(before, old, make):
        _take(merged, fresh, "domain_info")
    after = before.instead(merged)
    try:
        return merged if field_of(after, table) == field else fresh
    except SchemaError:  # such as an int_domain beyond a narrower dtype
        return fresh


def _limits(form: Form) -> str | None:
    """The kind of domain that values have: integers one of integers, also where their dtype has no bounds."""
    return "int" if form.type == "INT" and form.domain is None else form.domain


def _edited(feature: Feature, field: UnischemaField, make: Callable[[Unischema], Any]) -> bool:
    """Whether a feature has another domain than its dtype alone gives it."""
    (plain,) = make(Unischema("plain", [field])).feature
    domain = plain.WhichOneof("domain_info")
    return feature.domain != domain or (
        domain is not None and getattr(feature.message, domain) != getattr(plain, domain)
    )


def _take(message: Any, other: Any, group: str) -> None:
    """Set what is one of several fields as another message has it."""
    had, has = message.WhichOneof(group), other.WhichOneof(group)
    if had is not None:
        message.ClearField(had)
    if has is not None:
        getattr(message, has).CopyFrom(getattr(other, has))


def _drop_dangling(schema: Any) -> None:
    """Remove what is made of features that are gone."""
    names = {message.name for message in schema.feature}
    for field in ("sparse_feature", "weighted_feature"):
        given = getattr(schema, field)
        kept = [one for one in given if _needed(one) <= names]
        if len(kept) < len(given):
            del given[:]
            given.extend(kept)


def _needed(message: Any) -> set[str]:
    if hasattr(message, "weight_feature"):
        return {step for path in (message.feature, message.weight_feature) for step in path.step[:1]}
    return {message.value_feature.name, *(one.name for one in message.index_feature)}
