"""Fields and schemas: what they accept, how they are chosen from, the forms they take."""

from __future__ import annotations

import copy
import datetime as dt
import json
import pickle
import re
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest

from tfpetastorm.errors import DatasetWarning, SchemaError
from tfpetastorm.schema.codecs import (
    CompressedImageCodec,
    CompressedNdarrayCodec,
    NdarrayCodec,
    ScalarCodec,
    TensorCodec,
)
from tfpetastorm.schema.field import UnischemaField
from tfpetastorm.schema.unischema import Unischema

DRIVE = Unischema(
    "Drive",
    [
        UnischemaField("timestamp", np.int64),
        UnischemaField("camera", np.uint8, (120, 160, 3), CompressedImageCodec("png")),
        UnischemaField("camera_rear", np.uint8, (120, 160, 3), CompressedImageCodec("jpeg")),
        UnischemaField("lidar", np.float32, (None, 4), NdarrayCodec()),
        UnischemaField("label", np.int32, (), nullable=True),
    ],
)


@pytest.mark.parametrize(
    ("spelling", "canonical", "kind", "dtype"),
    [
        *[(kind, kind, "number", np.dtype(kind)) for kind in (np.int8, np.uint64, np.float16, np.bool_)],
        (np.dtype(">i4"), np.int32, "number", np.dtype("int32")),
        ("uint16", np.uint16, "number", np.dtype("uint16")),
        (int, np.int64, "number", np.dtype("int64")),
        (float, np.float64, "number", np.dtype("float64")),
        (bool, np.bool_, "number", np.dtype("bool")),
        (np.longlong, np.int64, "number", np.dtype("int64")),
        (str, np.str_, "text", np.dtype(object)),
        (np.dtype("U7"), np.str_, "text", np.dtype(object)),
        ("str", np.str_, "text", np.dtype(object)),
        (bytes, np.bytes_, "bytes", np.dtype(object)),
        (np.dtype("S3"), np.bytes_, "bytes", np.dtype(object)),
        (Decimal, Decimal, "decimal", np.dtype(object)),
        (np.datetime64, np.dtype("M8[ns]"), "datetime", np.dtype("M8[ns]")),
        ("datetime64[us]", np.dtype("M8[us]"), "datetime", np.dtype("M8[us]")),
        (dt.datetime, np.dtype("M8[us]"), "datetime", np.dtype("M8[us]")),
        (dt.date, dt.date, "date", np.dtype("M8[D]")),
        ("datetime64[D]", dt.date, "date", np.dtype("M8[D]")),
    ],
)
def test_every_spelling_of_an_element_type(spelling, canonical, kind, dtype):
    field = UnischemaField("x", spelling)
    assert field.numpy_dtype == canonical
    assert field.kind == kind
    assert field.dtype == dtype
    assert field == UnischemaField("x", canonical, (), None, False)


@pytest.mark.parametrize(
    "spelling",
    [None, object, complex, "float128", "timedelta64[s]", "datetime64[h]", "M8[7s]", "no type", [("a", int)], 3],
)
def test_other_element_types_are_refused_by_name(spelling):
    with pytest.raises(SchemaError, match=r"Not an element type.*field 'x'"):
        UnischemaField("x", spelling)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (3, r"Write \(3,\)"),
        ((-1,), "Not a shape"),
        ((0,), "above 0"),
        ((1.5,), "Not a shape"),
        ("ab", "Not a shape"),
        ((True,), "Not a shape"),
    ],
)
def test_malformed_shapes_are_refused(shape, message):
    with pytest.raises(SchemaError, match=message):
        UnischemaField("x", np.int32, shape)


@pytest.mark.parametrize("name", ["", "a\nb", "\0", 3, None])
def test_unusable_names_are_refused(name):
    with pytest.raises(SchemaError, match="Not a field name"):
        UnischemaField(name, np.int32)


@pytest.mark.parametrize(
    ("dtype", "shape", "codec"),
    [
        (np.float32, (4, 5, 3), CompressedImageCodec("png")),
        (np.uint16, (4, 5, 3), CompressedImageCodec("jpeg")),
        (np.uint8, (4, 5, 2), CompressedImageCodec("png")),
        (np.uint8, (4,), CompressedImageCodec("png")),
        (np.uint8, (4, 5, 4), CompressedImageCodec("jpeg")),
        (np.uint8, (4, 5), CompressedImageCodec("webp")),
        (np.int32, (3,), ScalarCodec("int32")),
        (np.str_, (), ScalarCodec("int32")),
        (np.int32, (), ScalarCodec("string")),
        (Decimal, (3,), NdarrayCodec()),
        (Decimal, (3,), CompressedNdarrayCodec()),
        (np.float32, (None,), TensorCodec()),
        (np.float32, (), TensorCodec()),
        (np.str_, (2,), TensorCodec()),
        (np.bool_, (2,), TensorCodec()),
    ],
)
def test_a_codec_that_cannot_hold_a_field_is_refused(dtype, shape, codec):
    with pytest.raises(SchemaError, match=r"field 'x'"):
        UnischemaField("x", dtype, shape, codec)


def test_a_codec_class_instead_of_an_instance_is_refused():
    with pytest.raises(SchemaError, match=r"NdarrayCodec\(\), not NdarrayCodec"):
        UnischemaField("x", np.int32, (3,), NdarrayCodec)


def test_fields_are_values():
    one, other = DRIVE.camera, UnischemaField("camera", "uint8", [120, 160, 3], CompressedImageCodec(".PNG"))
    assert one == other
    assert len({one, other}) == 1
    assert one != UnischemaField("camera", "uint8", (120, 160, 3), NdarrayCodec())
    with pytest.raises(AttributeError):
        one.name = "other"


def test_raggedness():
    field = UnischemaField("x", np.int8, (2, None, 3, None, 5), NdarrayCodec())
    assert (field.ragged_rank, field.inner_shape) == (4, (5,))
    assert (DRIVE.lidar.ragged_rank, DRIVE.lidar.inner_shape) == (1, (4,))
    assert (DRIVE.camera.ragged_rank, DRIVE.camera.inner_shape) == (0, (120, 160, 3))


class PysparkLike:
    class LongType:
        pass

    class DecimalType:
        precision, scale = 12, 3


@pytest.mark.parametrize(
    ("storage", "name"),
    [
        (pa.int16(), "int16"),
        ("double", "float64"),
        (pa.float32(), "float32"),
        (pa.decimal128(10, 2), "decimal128(10, 2)"),
        ("decimal(50, 2)", "decimal256(50, 2)"),
        (pa.timestamp("us", "UTC"), "timestamp[us, tz=UTC]"),
        (pa.date32(), "date32"),
        (PysparkLike.LongType(), "int64"),
        (PysparkLike.DecimalType(), "decimal128(12, 3)"),
        ("StringType", "string"),
    ],
)
def test_storages_of_a_scalar_codec(storage, name):
    assert ScalarCodec(storage).storage == name
    assert ScalarCodec(ScalarCodec(storage).storage) == ScalarCodec(storage)


@pytest.mark.parametrize("storage", ["list<int32>", pa.list_(pa.int8()), PysparkLike.LongType, 3, "decimal128(99, 2)"])
def test_other_storages_are_refused(storage):
    with pytest.raises(SchemaError, match="storage"):
        ScalarCodec(storage)


class TestSchema:
    """A Unischema is an immutable mapping of names to fields with several forms."""

    def test_access(self):
        assert DRIVE.label is DRIVE.fields["label"]
        assert list(DRIVE.fields) == ["timestamp", "camera", "camera_rear", "lidar", "label"]
        assert len(DRIVE) == 5
        assert "lidar" in DRIVE
        assert "camera" in dir(DRIVE)
        with pytest.raises(AttributeError, match="Did you mean 'camera'"):
            _ = DRIVE.camara
        with pytest.raises(TypeError):
            DRIVE.fields["x"] = DRIVE.label

    def test_equality_needs_the_same_order(self):
        backwards = Unischema("Drive", reversed(DRIVE.fields.values()))
        assert backwards != DRIVE
        assert Unischema("Drive", DRIVE) == DRIVE
        assert Unischema("Other", DRIVE) != DRIVE

    def test_travels_between_processes(self):
        assert pickle.loads(pickle.dumps(DRIVE)) == DRIVE
        assert copy.deepcopy(DRIVE) == DRIVE

    def test_two_fields_of_one_name_are_refused(self):
        with pytest.raises(SchemaError, match="two fields named 'a'"):
            Unischema("S", [UnischemaField("a", np.int8), UnischemaField("a", np.int16)])

    @pytest.mark.parametrize(
        ("selection", "names"),
        [
            (["label", "camera"], ["camera", "label"]),
            (["camera.*"], ["camera", "camera_rear"]),
            ([re.compile("l.*")], ["lidar", "label"]),
            ([DRIVE.lidar, "time.*", "lidar"], ["timestamp", "lidar"]),
            ("label", ["label"]),
            ([".*"], list(DRIVE.fields)),
            ([], []),
        ],
    )
    def test_views_keep_the_order_of_the_schema(self, selection, names):
        view = DRIVE.create_schema_view(selection)
        assert list(view.fields) == names
        assert all(view.fields[name] == DRIVE.fields[name] for name in names)

    def test_the_stored_field_wins(self):
        assert DRIVE.create_schema_view([UnischemaField("label", np.int64)]).label == DRIVE.label

    @pytest.mark.parametrize(
        ("selection", "message"),
        [
            (["camra"], "Did you mean 'camera'"),
            (["amera"], "Did you mean 'camera'"),
            (["x+"], "There are: 'timestamp', 'camera'"),
            (["("], "Not a choice of fields"),
            ([3], "Not a choice of fields"),
            ([UnischemaField("other", np.int8)], "matches 'other'"),
        ],
    )
    def test_a_choice_of_nothing_is_an_error(self, selection, message):
        with pytest.raises(SchemaError, match=message):
            DRIVE.select(selection)

    @pytest.mark.parametrize(
        ("selection", "message"),
        [
            (["("], "Not a regular expression"),
            ([3], "must be either a string"),
            ([UnischemaField("camra", np.int8)], "does not belong to the schema.*Did you mean 'camera'"),
        ],
    )
    def test_a_view_of_what_is_not_there_is_an_error(self, selection, message):
        with pytest.raises(SchemaError, match=message):
            DRIVE.create_schema_view(selection)

    def test_a_pattern_of_a_view_may_match_nothing_as_in_petastorm(self):
        assert not DRIVE.create_schema_view(["camra"]).fields

    def test_a_field_called_name_is_reached_as_an_attribute(self):
        schema = Unischema("S", [UnischemaField("name", np.str_)])
        assert schema.name == UnischemaField("name", np.str_)
        assert schema.schema_name == "S"
        assert Unischema.from_json(schema.to_json()) == schema
        assert DRIVE.name == "Drive"

    @pytest.mark.parametrize("name", ["fields", "create_schema_view", "select"])
    def test_a_field_named_as_a_method_hides_nothing_and_is_warned_of(self, name):
        with pytest.warns(DatasetWarning, match=f"Can not create dynamic property {name}"):
            schema = Unischema("S", [UnischemaField(name, np.int8)])
        assert schema.fields[name].name == name
        assert callable(schema.create_schema_view)
        assert callable(schema.select)
        # Said once: copies and views are silent.
        assert pickle.loads(pickle.dumps(schema)).create_schema_view([name]) == schema

    def test_a_name_is_not_taken_for_a_pattern(self):
        schema = Unischema(
            "S", [UnischemaField("a.b", np.int8), UnischemaField("a_b2", np.int8), UnischemaField("axb", np.int8)]
        )
        assert schema.select(["a.b"]) == ("a.b",)

    def test_namedtuples(self):
        row = DRIVE.make_namedtuple(timestamp=1, camera=2, camera_rear=3, lidar=4)
        assert row == (1, 2, 3, 4, None)
        assert type(row).__name__ == "Drive"
        assert row._fields == tuple(DRIVE.fields)
        assert DRIVE.namedtuple_type() is type(row)
        with pytest.raises(SchemaError, match="camera"):
            DRIVE.make_namedtuple(timestamp=1)
        with pytest.raises(SchemaError, match="speed"):
            DRIVE.make_namedtuple(timestamp=1, camera=2, camera_rear=3, lidar=4, speed=5)

    def test_namedtuples_of_odd_names(self):
        schema = Unischema(
            "plain file", [UnischemaField(name, np.int8) for name in ["a.b", "_c0", "1st", "class", "größe"]]
        )
        assert schema.namedtuple_type()._fields == ("a_b", "f_c0", "f1st", "class_", "größe")
        clash = Unischema("S", [UnischemaField("a.b", np.int8), UnischemaField("a_b", np.int8)])
        with pytest.raises(SchemaError, match=r"'a.b' and 'a_b'"):
            clash.namedtuple_type()

    def test_it_reads_well(self):
        assert str(DRIVE).splitlines() == [
            "Drive:",
            "  timestamp: int64",
            "  camera: uint8 [120, 160, 3] as CompressedImageCodec(image_codec='png', quality=80, channel_order='rgb')",
            "  camera_rear: uint8 [120, 160, 3] as CompressedImageCodec(image_codec='jpeg', quality=80, channel_order='rgb')",  # noqa: E501
            "  lidar: float32 [None, 4] as NdarrayCodec()",
            "  label: int32 nullable",
        ]
        assert repr(DRIVE).startswith("Unischema('Drive', [UnischemaField(name='timestamp'")

    def test_arrow(self):
        assert DRIVE.as_arrow_schema() == pa.schema(
            [
                pa.field("timestamp", pa.int64(), nullable=False),
                pa.field("camera", pa.binary(), nullable=False),
                pa.field("camera_rear", pa.binary(), nullable=False),
                pa.field("lidar", pa.binary(), nullable=False),
                pa.field("label", pa.int32()),
            ]
        )

    def test_json_of_a_newer_version_is_refused(self):
        stored = json.loads(DRIVE.to_json()) | {"version": 2}
        with pytest.raises(SchemaError, match="Update tfpetastorm"):
            Unischema.from_json(json.dumps(stored))

    def test_the_json_form_is_stable(self):
        # Datasets hold this text: it may gain a version, never change under one.
        schema = Unischema(
            "S",
            [
                UnischemaField("a", np.int32),
                UnischemaField("b", np.uint8, (None, 4, 3), CompressedImageCodec("jpeg", 90), True),
            ],
        )
        assert json.loads(schema.to_json()) == {
            "version": 1,
            "name": "S",
            "fields": [
                {"name": "a", "dtype": "int32", "shape": [], "codec": None, "nullable": False},
                {
                    "name": "b",
                    "dtype": "uint8",
                    "shape": [None, 4, 3],
                    "codec": {
                        "name": "image",
                        "parameters": {"image_codec": "jpeg", "quality": 90, "channel_order": "rgb"},
                    },
                    "nullable": True,
                },
            ],
        }
