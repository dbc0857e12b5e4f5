"""Laws: a Unischema comes back from the proto as it was, and the proto's text is one for each schema."""

from __future__ import annotations

from google.protobuf import text_format
from hypothesis import given
from hypothesis import strategies as st
from tensorflow_metadata.proto.v0 import schema_pb2

from tests.schema.strategies import NUMBERS, fields
from tfpetastorm.schema.field import UnischemaField as Field
from tfpetastorm.schema.unischema import Unischema
from tfpetastorm.tfmd import schema_to_unischema, unischema_to_schema

schemas = st.builds(
    Unischema,
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8),
    st.lists(fields(), max_size=5, unique_by=lambda field: field.name),
)


def without_tags(proto: schema_pb2.Schema) -> schema_pb2.Schema:
    plain = schema_pb2.Schema()
    plain.CopyFrom(proto)
    plain.ClearField("annotation")
    for feature in plain.feature:
        feature.ClearField("annotation")
    return plain


@given(schemas)
def test_every_schema_comes_back(schema: Unischema) -> None:
    assert schema_to_unischema(unischema_to_schema(schema)) == schema


@given(schemas)
def test_text_and_bytes_of_the_proto_are_stable(schema: Unischema) -> None:
    proto = unischema_to_schema(schema)
    text = text_format.MessageToString(proto)
    parsed = text_format.Parse(text, schema_pb2.Schema())
    assert parsed == proto
    again = unischema_to_schema(schema_to_unischema(parsed))
    assert text_format.MessageToString(again) == text
    assert again.SerializeToString(deterministic=True) == proto.SerializeToString(deterministic=True)


@given(schemas)
def test_what_tfx_makes_dense_is_always_present(schema: Unischema) -> None:
    """TensorFlow Transform refuses a feature that has a shape and may be missing."""
    for feature, field in zip(unischema_to_schema(schema).feature, schema, strict=True):
        assert (feature.presence.min_fraction == 1.0) == (not field.nullable)
        assert not feature.HasField("shape") or feature.presence.min_fraction == 1.0


_SAID = [name for name in NUMBERS if name not in ("uint64", "float16", "float64")]
_SAID += ["bytes", "date", "datetime64[s]", "datetime64[ms]", "datetime64[us]", "datetime64[ns]"]
_sizes = st.integers(2, 5)


@given(
    st.sampled_from(_SAID),
    st.one_of(
        st.tuples(st.just(False), st.lists(_sizes, max_size=3)),  # dense
        st.tuples(st.booleans(), st.lists(st.one_of(st.none(), _sizes), max_size=3)),
    ),
)
def test_what_the_proto_can_say_needs_no_tag(dtype: str, shaped: tuple[bool, list[int | None]]) -> None:
    nullable, shape = shaped
    schema = Unischema("inferred_schema", [Field("x", dtype, tuple(shape), None, nullable)])
    assert schema_to_unischema(without_tags(unischema_to_schema(schema))) == schema


@given(schemas)
def test_without_tags_names_order_and_presence_stay(schema: Unischema) -> None:
    plain = schema_to_unischema(without_tags(unischema_to_schema(schema)))
    assert [(field.name, field.nullable) for field in plain] == [(field.name, field.nullable) for field in schema]
    assert all(field.codec is None for field in plain)


@given(schemas, schemas)
def test_like_a_proto_it_is_that_proto_and_its_fields_are_those_given(schema: Unischema, other: Unischema) -> None:
    proto = unischema_to_schema(schema)
    assert unischema_to_schema(schema, like=proto) == proto
    plain = without_tags(proto)
    assert unischema_to_schema(schema_to_unischema(plain), like=plain) == plain
    for like in (proto, plain):
        kept = like.SerializeToString(deterministic=True)
        assert schema_to_unischema(unischema_to_schema(other, like=like)) == other
        assert like.SerializeToString(deterministic=True) == kept
