"""Protos that never were ours, and ours after others edited them."""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from decimal import Decimal
from typing import ClassVar

import numpy as np
import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from tfpetastorm.errors import SchemaError
from tfpetastorm.schema.codecs import Codec, CompressedImageCodec, NdarrayCodec, OpaqueCodec, ScalarCodec, TensorCodec
from tfpetastorm.schema.field import UnischemaField as Field
from tfpetastorm.schema.petastorm_fields import PetastormField
from tfpetastorm.schema.unischema import Unischema
from tfpetastorm.tfmd import schema_to_unischema, unischema_to_schema


def parsed(text: str) -> schema_pb2.Schema:
    return text_format.Parse(text, schema_pb2.Schema())


def plain(feature: str, rest: str = "") -> Field:
    """The field of one feature that has no tag."""
    (field,) = schema_to_unischema(parsed(f'feature {{ name: "x" {feature} }} {rest}'))
    return field


PRESENT = "presence { min_fraction: 1.0 min_count: 1 }"


def test_what_tfdv_infers_of_examples() -> None:
    """As its infer_schema writes it, without and with shapes."""
    schema = schema_to_unischema(
        parsed(
            """
        feature { name: "fare" type: FLOAT presence { min_fraction: 1.0 min_count: 1 } shape { dim { size: 1 } } }
        feature { name: "tips" value_count { min: 1 max: 1 } type: FLOAT presence { min_count: 1 } }
        feature { name: "trip" value_count { min: 1 } type: INT presence { min_count: 1 } }
        feature { name: "payment" type: BYTES domain: "payment" presence { min_fraction: 1.0 min_count: 1 }
                  shape { dim { size: 1 } } }
        feature { name: "raw" value_count { min: 1 max: 1 } type: BYTES presence { min_fraction: 1.0 } }
        feature { name: "grid" type: FLOAT presence { min_fraction: 1.0 }
                  value_counts { value_count { min: 1 max: 7 } value_count { min: 2 max: 2 } } }
        string_domain { name: "payment" value: "Cash" value: "Card" }
        """
        )
    )
    assert schema == Unischema(
        "inferred_schema",
        [
            Field("fare", np.float32, (1,)),
            Field("tips", np.float32, (), None, True),
            Field("trip", np.int64, (None,), None, True),
            Field("payment", np.str_, (1,)),
            Field("raw", np.bytes_),
            Field("grid", np.float32, (None, 2)),
        ],
    )


@pytest.mark.parametrize(
    ("said", "dtype"),
    [
        ("type: FLOAT", np.float32),
        ("type: FLOAT float_domain { min: 0 }", np.float32),
        ("type: INT", np.int64),
        ("type: INT int_domain { min: 0 max: 9 }", np.int64),
        ("type: INT int_domain { min: 0 }", np.int64),
        ("type: INT int_domain { min: 0 max: 255 }", np.uint8),
        ("type: INT int_domain { min: -32768 max: 32767 }", np.int16),
        ("type: INT domain: 'pixel'", np.uint8),
        ("type: INT bool_domain { }", np.bool_),
        ("type: INT time_domain { integer_format: UNIX_MILLISECONDS }", "datetime64[ms]"),
        ("type: INT time_domain { integer_format: UNIX_DAYS }", dt.date),
        ("type: INT time_domain { }", np.int64),
        ("type: INT time_of_day_domain { integer_format: PACKED_64_NANOS }", np.int64),
        ("type: BYTES", np.bytes_),
        ("type: BYTES image_domain { }", np.bytes_),
        ("type: BYTES string_domain { value: 'a' }", np.str_),
        ("type: BYTES domain: 'colours'", np.str_),
        ("type: BYTES natural_language_domain { }", np.str_),
        ("type: BYTES url_domain { }", np.str_),
        ("type: BYTES time_domain { string_format: '%Y' }", np.str_),
        ("type: BYTES int_domain { min: 0 }", np.str_),
    ],
)
def test_types_and_domains_are_dtypes(said: str, dtype: object) -> None:
    domains = 'int_domain { name: "pixel" min: 0 max: 255 } string_domain { name: "colours" value: "red" }'
    assert plain(f"{said} {PRESENT} shape {{ }}", domains) == Field("x", dtype)


@pytest.mark.parametrize(
    ("said", "shape"),
    [
        ("", (None,)),  # TFX has it as a list of any length
        ("shape { }", ()),
        ("shape { dim { size: 2 } dim { size: 3 name: 'columns' } }", (2, 3)),
        ("shape { dim { } dim { size: -1 } dim { size: 3 } }", (None, None, 3)),
        ("value_count { }", (None,)),
        ("value_count { min: 1 max: 1 }", ()),
        ("value_count { min: 3 max: 3 }", (3,)),
        ("value_count { min: 0 max: 3 }", (None,)),
        ("value_count { min: 0 max: 0 }", (None,)),
        ("value_counts { value_count { } }", (None,)),
        ("value_counts { value_count { min: 1 max: 1 } value_count { min: 1 max: 1 } }", (1, 1)),
    ],
)
def test_shapes_and_value_counts_are_shapes(said: str, shape: tuple[int | None, ...]) -> None:
    assert plain(f"type: FLOAT {PRESENT} {said}") == Field("x", np.float32, shape)


@pytest.mark.parametrize(
    ("said", "nullable"),
    [
        ("presence { min_fraction: 1.0 }", False),
        ("presence { min_fraction: 0.99 }", True),
        ("presence { min_count: 1 }", True),
        ("presence { }", True),
        ("", True),
        ("group_presence { required: true }", False),
        ("group_presence { }", True),
    ],
)
def test_presence_is_nullability(said: str, nullable: bool) -> None:
    assert plain(f"type: FLOAT shape {{ }} {said}").nullable is nullable


@pytest.mark.parametrize(
    "said", [*(f"lifecycle_stage: {s}" for s in ("PLANNED", "ALPHA", "DEPRECATED", "DEBUG_ONLY", "DISABLED")),
             "lifecycle_stage: VALIDATION_DERIVED", "deprecated: true"],
)  # fmt: skip
def test_what_tfx_leaves_out_is_left_out(said: str) -> None:
    text = f'feature {{ name: "x" {said} }} feature {{ name: "y" type: INT lifecycle_stage: BETA }}'
    assert list(schema_to_unischema(parsed(text)).fields) == ["y"]


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ("type: STRUCT struct_domain { }", "expected FLOAT, INT or BYTES, found STRUCT.*DISABLED"),
        ("", "expected FLOAT, INT or BYTES, found None"),
        ("type: INT shape { dim { size: 0 } }", "Not a size.*found \\[0\\]"),
    ],
)
def test_what_no_field_can_be_is_refused_by_name(said: str, problem: str) -> None:
    with pytest.raises(SchemaError, match=problem) as raised:
        plain(said)
    assert "field 'x'" in str(raised.value)


@pytest.mark.parametrize("given", ["feature { }", None, schema_pb2.Feature()])
def test_what_is_no_schema_proto_is_refused(given: object) -> None:
    with pytest.raises(SchemaError, match=r"text_format\.Parse"):
        schema_to_unischema(given)


# What others do to protos of ours.

PICTURE = Field("picture", np.uint8, (None, None, 3), CompressedImageCodec("jpeg", 90))
POINTS = Field("points", np.float64, (None, 3), NdarrayCodec())
VECTOR = Field("vector", np.float16, (4,), TensorCodec())
COUNT = Field("count", np.int16, (), ScalarCodec("int64"))
CITY = Field("city", np.str_)
AT = Field("at", "datetime64[ms]")
PRICE = Field("price", Decimal, (), ScalarCodec("decimal128(10, 2)"))
BIG = Field("big", np.uint64)


def edited(field: Field, said: str, *cleared: str, codecs: tuple[type[Codec], ...] = ()) -> Field:
    """The field that comes back once parts of its feature are cleared and others set; annotations are added to."""
    proto = unischema_to_schema(Unischema("S", [field]))
    new = text_format.Parse(said, schema_pb2.Feature())
    for part in (*cleared, *(descriptor.name for descriptor, _ in new.ListFields())):
        if part != "annotation" or part in cleared:
            proto.feature[0].ClearField(part)
    proto.feature[0].MergeFrom(new)
    (back,) = schema_to_unischema(proto, codecs)
    return back


@pytest.mark.parametrize("field", [PICTURE, POINTS, VECTOR, COUNT, CITY, AT, PRICE, BIG], ids=lambda field: field.name)
def test_presence_is_the_protos_even_against_the_tag(field: Field) -> None:
    optional = Field(field.name, field.numpy_dtype, field.shape, field.codec, True)
    assert edited(field, "presence { min_fraction: 0.9 }", "presence") == optional
    assert edited(field, "", "presence") == optional
    assert edited(optional, "presence { min_fraction: 1.0 }") == field


@pytest.mark.parametrize(
    ("field", "said"),
    [
        (COUNT, "int_domain { min: 0 max: 9 }"),
        (COUNT, "domain: 'shared'"),
        (COUNT, "bool_domain { }"),
        (BIG, "int_domain { max: 100 }"),
        (CITY, "string_domain { value: 'Oslo' } distribution_constraints { min_domain_mass: 0.9 }"),
        (CITY, "natural_language_domain { }"),
        (AT, "time_domain { integer_format: UNIX_MILLISECONDS }"),
        (AT, "int_domain { min: 0 }"),
        (VECTOR, "float_domain { min: 0 max: 1 }"),
        (POINTS, "value_counts { value_count { max: 10 } value_count { min: 3 max: 3 } }"),
        (POINTS, "value_count { max: 30 }"),
        (VECTOR, "value_count { min: 1 }"),
        (PICTURE, "image_domain { max_image_byte_size: 1000 }"),
        (PICTURE, "url_domain { }"),
        (CITY, "lifecycle_stage: PRODUCTION not_in_environment: 'SERVING' skew_comparator { infinity_norm { } }"),
        (
            CITY,
            "annotation { tag: 'user_feature' tag: 'tfpetastorm' comment: '{}' extra_metadata { type_url: 'a/b' } }",
        ),
    ],
)
def test_what_says_which_values_occur_leaves_the_field(field: Field, said: str) -> None:
    assert edited(field, said) == field


@pytest.mark.parametrize("part", ["shape", "value_counts", "int_domain", "time_domain", "image_domain", "type"])
@pytest.mark.parametrize("field", [PICTURE, POINTS, VECTOR, COUNT, AT, PRICE], ids=lambda field: field.name)
def test_what_is_removed_contradicts_nothing(field: Field, part: str) -> None:
    assert edited(field, "", part) == field


@pytest.mark.parametrize(
    ("field", "said", "problem"),
    [
        (COUNT, "type: FLOAT", "expected INT of shape \\(\\) from -32768 to 32767, found FLOAT of shape \\(\\)"),
        (COUNT, "int_domain { min: 0 max: 99999 }", "found INT of shape \\(\\) from 0 to 99999"),
        (BIG, "int_domain { min: -1 }", "found INT of shape \\(\\) from -1 to None"),
        (CITY, "type: INT", "expected BYTES"),
        (PICTURE, "type: INT", "expected BYTES of shape \\(\\)"),
        (PICTURE, "shape { dim { size: 3 } }", "found BYTES of shape \\(3,\\)"),
        (VECTOR, "shape { dim { size: 5 } }", "expected FLOAT of shape \\(4,\\), found FLOAT of shape \\(5,\\)"),
        (VECTOR, "value_count { min: 5 }", "found FLOAT of 5 to any number of values"),
        (VECTOR, "value_count { max: 3 }", "found FLOAT of 0 to 3 values"),
        (POINTS, "shape { dim { size: 2 } dim { size: 2 } }", "found FLOAT of shape \\(2, 2\\)"),
        (
            POINTS,
            "value_counts { value_count { min: 1 max: 1 } }",
            "found FLOAT of 1 to 1 values",
        ),
        (AT, "time_domain { integer_format: UNIX_DAYS }", "in UNIX_MILLISECONDS, found INT of shape \\(\\) UNIX_DAYS"),
    ],
)
def test_what_contradicts_the_tag_is_an_error(field: Field, said: str, problem: str) -> None:
    with pytest.raises(SchemaError, match=problem) as raised:
        edited(field, said)
    assert f"field {field.name!r}" in str(raised.value)
    assert "remove the tag that begins with 'tfpetastorm/'" in str(raised.value)


def test_a_shape_fixes_sizes_that_the_tag_leaves_open() -> None:
    assert edited(POINTS, "shape { dim { size: 5 } dim { size: 3 } }") == Field(
        "points", np.float64, (5, 3), NdarrayCodec()
    )


def test_without_its_tag_a_feature_is_read_as_it_stands() -> None:
    assert edited(POINTS, "", "annotation") == Field("points", np.float32, (None, 3))
    assert edited(PICTURE, "", "annotation") == Field("picture", np.bytes_)


def test_features_moved_renamed_and_removed_are_followed() -> None:
    proto = unischema_to_schema(Unischema("S", [COUNT, CITY, AT]))
    proto.feature.sort(key=lambda feature: feature.name)
    proto.feature[1].name = "town"
    del proto.feature[2]
    assert schema_to_unischema(proto) == Unischema("S", [AT, Field("town", np.str_)])
    proto.feature[1].name = "at"
    with pytest.raises(SchemaError, match="two fields named 'at'"):
        schema_to_unischema(proto)


def tagged(tag: str, where: str = "feature") -> Unischema:
    annotation = f"annotation {{ tag: {json.dumps(tag)} }}"
    inside, outside = (annotation, "") if where == "feature" else ("", annotation)
    return schema_to_unischema(parsed(f'feature {{ name: "x" type: INT {inside} }} {outside}'))


@pytest.mark.parametrize("where", ["feature", "schema"])
@pytest.mark.parametrize(
    ("tag", "problem"),
    [
        ("tfpetastorm/2 {}", "expected version 1, found '2'. Update tfpetastorm"),
        ("tfpetastorm/", "another version"),
        ("tfpetastorm/1", "expected a JSON object"),
        ("tfpetastorm/1 [1]", "expected a JSON object"),
        ("tfpetastorm/1 {", "expected a JSON object"),
        ("tfpetastorm/1 " + "[" * 100_000, "expected a JSON object"),
    ],
)
def test_tags_of_other_versions_and_malformed_ones_are_refused(tag: str, problem: str, where: str) -> None:
    with pytest.raises(SchemaError, match=problem):
        tagged(tag, where)


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"dtype": "int64", "shape": []},
        {"dtype": "object", "shape": [], "codec": None},
        {"dtype": {"names": ["a"], "formats": ["i8"]}, "shape": [], "codec": None},
        {"dtype": "int64", "shape": 3, "codec": None},
        {"dtype": "int64", "shape": ["3"], "codec": None},
        {"dtype": "int64", "shape": [0], "codec": None},
        {"dtype": "int64", "shape": [], "codec": 5},
        {"dtype": "int64", "shape": [], "codec": {"name": "image", "parameters": {"module": "os"}}},
        {"dtype": "int64", "shape": [], "codec": {"name": "image", "parameters": {}}},
    ],
)
def test_tags_that_declare_no_field_are_refused_by_name(content: object) -> None:
    with pytest.raises(SchemaError):
        tagged("tfpetastorm/1 " + json.dumps(content))


def test_a_schemas_name_has_to_be_one() -> None:
    with pytest.raises(SchemaError, match="Not a schema's name"):
        tagged('tfpetastorm/1 {"name": 5}', "schema")
    assert tagged("tfpetastorm/1 {}", "schema").schema_name == "inferred_schema"


def test_two_tags_count_as_one_if_they_are_equal() -> None:
    proto = unischema_to_schema(Unischema("S", [COUNT]))
    proto.feature[0].annotation.tag.append(proto.feature[0].annotation.tag[0])
    assert schema_to_unischema(proto) == Unischema("S", [COUNT])
    proto.feature[0].annotation.tag.append("tfpetastorm/1 {}")
    with pytest.raises(SchemaError, match="several tags of ours that differ"):
        schema_to_unischema(proto)


# Codecs that not everybody knows, and fields as petastorm's programs declare them.


@dataclass(frozen=True)
class HalfCodec(Codec):
    """A codec of a user's own."""

    codec_name: ClassVar[str] = "half"
    places: int = 3

    def encode(self, field: Field, value: object) -> object:
        return np.asarray(value, np.float16).tobytes()


def test_codecs_of_ones_own_are_told_to_who_knows_them() -> None:
    field = Field("x", np.float32, (2, None), HalfCodec(5))
    proto = unischema_to_schema(Unischema("S", [field]))
    assert schema_to_unischema(proto, codecs=[HalfCodec]) == Unischema("S", [field])
    unknown = schema_to_unischema(proto)
    assert isinstance(unknown.x.codec, OpaqueCodec)
    assert (unknown.x.codec.declared_dtype, unknown.x.codec.declared_shape) == ("float32", (2, None))
    # Whoever does not know it sees bytes, and hands on all that it needs.
    stored = unischema_to_schema(unknown)
    assert stored.feature[0].type == schema_pb2.BYTES
    assert schema_to_unischema(stored) == unknown
    assert schema_to_unischema(stored, codecs=[HalfCodec]) == Unischema("S", [field])


def test_an_edit_is_noticed_under_an_unknown_codec_too() -> None:
    field = Field("x", np.float32, (2, None), HalfCodec(5))
    with pytest.raises(SchemaError, match="expected FLOAT of shape \\(2, None\\), found INT"):
        edited(field, "type: INT")


def test_fields_of_petastorms_programs_come_back_with_their_codecs() -> None:
    fields = [
        PetastormField("id", np.int32, (), ScalarCodec("int32"), False),
        PetastormField("frame", np.uint8, (8, 8, 3), CompressedImageCodec("png"), False),
        PetastormField("name", str, (), None, True),
    ]
    assert schema_to_unischema(unischema_to_schema(Unischema("S", fields))) == Unischema("S", fields)
    with pytest.raises(SchemaError):
        unischema_to_schema(Unischema("S", [PetastormField("lost", object, (), None, False)]))
