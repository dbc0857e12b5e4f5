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
from tfpetastorm.tfmd import unischema_to_schema


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
