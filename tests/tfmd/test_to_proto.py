"""What TFX is told of each kind of field."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import numpy as np
import pytest
from google.protobuf import json_format, text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from tfpetastorm.errors import SchemaError
from tfpetastorm.schema.codecs import (
    CompressedImageCodec,
    CompressedNdarrayCodec,
    NdarrayCodec,
    ScalarCodec,
    TensorCodec,
)
from tfpetastorm.schema.field import UnischemaField as Field
from tfpetastorm.schema.unischema import Unischema
from tfpetastorm.tfmd import schema_to_unischema, unischema_to_schema


def feature(dtype: object, shape: tuple[int | None, ...] = (), codec: object = None, nullable: bool = False):
    """The feature of one field, without its name and tag."""
    made = unischema_to_schema(Unischema("S", [Field("x", dtype, shape, codec, nullable)])).feature[0]
    assert made.name == "x"
    assert len(made.annotation.tag) == 1
    made.ClearField("name")
    made.ClearField("annotation")
    return made


def says(text: str):
    return text_format.Parse(text, schema_pb2.Feature())


PRESENT = "presence { min_fraction: 1.0 }"


@pytest.mark.parametrize(
    ("dtype", "said"),
    [
        (np.int8, "type: INT int_domain { min: -128 max: 127 }"),
        (np.uint8, "type: INT int_domain { min: 0 max: 255 }"),
        (np.int32, "type: INT int_domain { min: -2147483648 max: 2147483647 }"),
        (np.uint32, "type: INT int_domain { min: 0 max: 4294967295 }"),
        (np.int64, "type: INT"),
        (np.uint64, "type: INT int_domain { min: 0 }"),  # its maximum is beyond the proto's
        (np.bool_, "type: INT bool_domain { }"),
        (np.float16, "type: FLOAT"),
        (np.float32, "type: FLOAT"),
        (np.float64, "type: FLOAT"),
        (np.str_, "type: BYTES"),
        (np.bytes_, "type: BYTES"),
        (Decimal, "type: BYTES float_domain { }"),
        (dt.date, "type: INT time_domain { integer_format: UNIX_DAYS }"),
        ("datetime64[s]", "type: INT time_domain { integer_format: UNIX_SECONDS }"),
        ("datetime64[ns]", "type: INT time_domain { integer_format: UNIX_NANOSECONDS }"),
    ],
)
def test_dtypes_are_types_and_domains(dtype: object, said: str) -> None:
    assert feature(dtype) == says(f"{said} {PRESENT} shape {{ }}")
    assert feature(dtype, (3,)) == says(f"{said} {PRESENT} shape {{ dim {{ size: 3 }} }}")


@pytest.mark.parametrize(
    ("shape", "nullable", "said"),
    [
        ((), False, "shape { }"),
        ((2, 3), False, "shape { dim { size: 2 } dim { size: 3 } }"),
        ((None,), False, "value_count { min: 0 }"),
        ((None, 3), False, "value_counts { value_count { min: 0 } value_count { min: 3 max: 3 } }"),
        ((2, None), False, "value_counts { value_count { min: 2 max: 2 } value_count { min: 0 } }"),
        ((), True, "value_count { min: 1 max: 1 }"),
        ((4,), True, "value_count { min: 4 max: 4 }"),
        ((None,), True, "value_count { min: 0 }"),
        ((2, 3), True, "value_counts { value_count { min: 2 max: 2 } value_count { min: 3 max: 3 } }"),
    ],
)
def test_shapes_and_presence(shape: tuple[int | None, ...], nullable: bool, said: str) -> None:
    present = "presence { }" if nullable else PRESENT
    assert feature(np.float32, shape, nullable=nullable) == says(f"type: FLOAT {present} {said}")


@pytest.mark.parametrize("codec", [NdarrayCodec(), CompressedNdarrayCodec(), TensorCodec()])
def test_arrays_are_what_they_decode_to(codec: object) -> None:
    assert feature(np.float32, (4,), codec) == feature(np.float32, (4,))
    assert feature(np.int16, (), ScalarCodec("int64")) == feature(np.int16)


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 3), (None, None, 3)])
def test_images_are_their_encoded_bytes(shape: tuple[int | None, ...]) -> None:
    codec = CompressedImageCodec("png")
    assert feature(np.uint8, shape, codec) == says(f"type: BYTES {PRESENT} shape {{ }} image_domain {{ }}")
    assert feature(np.uint8, shape, codec, True) == says(
        "type: BYTES presence { } value_count { min: 1 max: 1 } image_domain { }"
    )


def test_the_whole_proto_as_text() -> None:
    """As files hold it: another text would change the fingerprints of pipelines."""
    schema = Unischema("Größen", [Field("image", np.uint8, (8, 8), CompressedImageCodec("jpeg", 90))])
    assert text_format.MessageToString(unischema_to_schema(schema)) == (
        r"""feature {
  name: "image"
  type: BYTES
  presence {
    min_fraction: 1.0
  }
  annotation {
    tag: "tfpetastorm/1 {\"codec\": {\"name\": \"image\", \"parameters\": """
        r"""{\"channel_order\": \"rgb\", \"image_codec\": \"jpeg\", \"quality\": 90}}, """
        r"""\"dtype\": \"uint8\", \"shape\": [8, 8]}"
  }
  shape {
  }
  image_domain {
  }
}
annotation {
  tag: "tfpetastorm/1 {\"name\": \"Gr\\u00f6\\u00dfen\"}"
}
represent_variable_length_as_ragged: true
"""
    )


def test_the_proto_can_be_made_json() -> None:
    """As TFDV's StatsOptions are; an annotation of an unknown type can't be."""
    proto = unischema_to_schema(Unischema("S", [Field("x", np.float32, (None, 3), NdarrayCodec(), True)]))
    assert json_format.Parse(json_format.MessageToJson(proto), schema_pb2.Schema()) == proto


def test_what_is_no_unischema_is_refused() -> None:
    with pytest.raises(SchemaError, match="expected a Unischema, found \\[\\]"):
        unischema_to_schema([])


EDITED = """
    feature { name: "city" type: BYTES string_domain { value: "a" value: "b" } value_count { min: 1 }
      presence { min_fraction: 1.0 min_count: 1 } annotation { tag: "theirs" comment: "where" } }
    feature { name: "old" type: INT lifecycle_stage: DEPRECATED }
    feature { name: "hour" type: INT int_domain { min: 0 max: 23 } presence { min_fraction: 1.0 } shape { } }
    feature { name: "kind" type: BYTES domain: "kinds" value_count { min: 1 max: 1 } }
    feature { name: "gone" type: FLOAT }
    string_domain { name: "kinds" value: "x" }
    sparse_feature { name: "pair" value_feature { name: "gone" } index_feature { name: "hour" } }
    weighted_feature { name: "much" feature { step: "city" } weight_feature { step: "hour" } }
    default_environment: "TRAINING"
"""


def test_what_others_said_is_kept_where_it_holds() -> None:
    like = text_format.Parse(EDITED, schema_pb2.Schema())
    as_it_is = schema_to_unischema(like)
    assert unischema_to_schema(as_it_is, like=like) == like
    schema = Unischema(
        "S",
        [
            Field("hour", np.int8, nullable=True),
            Field("kind", np.str_),
            Field("city", np.str_, (None,)),
            Field("new", np.float32),
        ],
    )
    made = unischema_to_schema(schema, like=like)
    assert schema_to_unischema(made) == schema
    assert [feature.name for feature in made.feature] == ["hour", "old", "kind", "city", "new"]
    by_name = {feature.name: feature for feature in made.feature}
    fresh = {feature.name: feature for feature in unischema_to_schema(schema).feature}
    assert (by_name["hour"].int_domain.max, by_name["hour"].HasField("shape")) == (23, False), "of other nulls"
    assert by_name["hour"].value_count == fresh["hour"].value_count
    assert by_name["kind"].domain == "kinds"
    assert by_name["kind"].shape == fresh["kind"].shape
    assert by_name["city"] == like.feature[0], "as it was, without a tag"
    assert by_name["new"] == fresh["new"]
    assert (len(made.sparse_feature), len(made.weighted_feature)) == (0, 1), "without what is made of what is gone"
    assert list(made.default_environment) == ["TRAINING"]
    others = Unischema("S", [Field("hour", np.float32), Field("city", np.bytes_)])
    hour, _, city = unischema_to_schema(others, like=like).feature
    fresh_hour, fresh_city = unischema_to_schema(others).feature
    assert hour == fresh_hour, "a domain of integers is none of floats"
    assert (city.shape, city.WhichOneof("domain_info")) == (fresh_city.shape, None)
    assert (city.annotation.tag[0], city.annotation.comment) == ("theirs", ["where"])


def test_the_limits_of_a_dtype_are_nobodys_edit() -> None:
    def of(dtype: object) -> Unischema:
        return Unischema("S", [Field("x", dtype)])

    for dtype in (np.int64, np.int32, np.bool_, np.dtype("datetime64[s]")):
        assert unischema_to_schema(of(dtype), like=unischema_to_schema(of(np.int8))) == unischema_to_schema(of(dtype))
    edited = unischema_to_schema(of(np.int16))
    edited.feature[0].int_domain.max = 1000
    assert unischema_to_schema(of(np.int32), like=edited).feature[0].int_domain.max == 1000
    assert unischema_to_schema(of(np.int8), like=edited) == unischema_to_schema(of(np.int8))


def test_what_is_no_proto_is_refused_as_a_likeness() -> None:
    with pytest.raises(SchemaError, match="like is not a schema proto"):
        unischema_to_schema(Unischema("S", [Field("a", np.int8)]), like="text")  # type: ignore[arg-type]
