"""Every spelling in which petastorm's versions pickled schemas, made by Python's own pickle from look-alike classes."""

from __future__ import annotations

import contextlib
import copyreg
import pickle
import sys
import types
from collections import OrderedDict, namedtuple
from decimal import Decimal

import numpy as np
import pytest

from tests.schema.test_unischema import DRIVE
from tfpetastorm.errors import DatasetWarning, SchemaError, UnsafeDataError
from tfpetastorm.schema.codecs import (
    CompressedImageCodec,
    CompressedNdarrayCodec,
    NdarrayCodec,
    ScalarCodec,
    TensorCodec,
    decode_column,
    encode_column,
)
from tfpetastorm.schema.codecs.opaque import OpaqueCodec
from tfpetastorm.schema.field import UnischemaField as Field
from tfpetastorm.schema.petastorm_format import can_express, read_pickled_schema, write_pickled_schema
from tfpetastorm.schema.rows import cells_of
from tfpetastorm.schema.unischema import Unischema

PACKAGES = ["petastorm", "av.experimental.deepdrive.dataset_toolkit", "av.ml.dataset_toolkit"]


def restore(name, names, values):
    """Stands where pyspark once put its own way to rebuild namedtuples."""
    raise AssertionError("nothing is called")


class World:
    """Modules that look like petastorm's and pyspark's, importable only while pickles are made."""

    def __init__(self, package: str, hijacked: bool) -> None:
        self.modules: dict[str, types.ModuleType] = {}
        self.Unischema = self.make(f"{package}.unischema", "Unischema")
        names = ("name", "numpy_dtype", "shape", "codec", "nullable")
        field = namedtuple("UnischemaField", names, module=f"{package}.unischema")
        self.module(field.__module__).UnischemaField = field
        if hijacked:
            copyreg.pickle(field, lambda value: (self.restore, ("UnischemaField", names, tuple(value))))
            self.restore = restore
            module = self.module("pyspark.serializers")
            module._restore = restore
            restore.__module__, restore.__qualname__ = "pyspark.serializers", "_restore"
        self.field = field
        for name in ("CompressedImageCodec", "NdarrayCodec", "CompressedNdarrayCodec", "ScalarCodec"):
            setattr(self, name, self.make(f"{package}.codecs", name))
        for name in ("LongType", "ShortType", "StringType", "DecimalType", "TimestampType", "DateType", "ArrayType"):
            setattr(self, name, self.make("pyspark.sql.types", name))

    def module(self, name: str) -> types.ModuleType:
        if "." in name:
            self.module(name.rpartition(".")[0])
        return self.modules.setdefault(name, types.ModuleType(name))

    def make(self, module: str, name: str) -> type:
        made = type(name, (), {"__module__": module})
        setattr(self.module(module), name, made)
        return made

    def new(self, kind: str, **state):
        value = getattr(self, kind)()
        value.__dict__.update(state)
        return value

    def scalar(self, kind: str, **state):
        return self.new("ScalarCodec", _spark_type=self.new(kind, **state))

    def pickle(self, fields, protocol: int) -> bytes:
        made = OrderedDict((field[0], self.field(*field)) for field in fields)
        schema = self.new("Unischema", _name="Old", _fields=made, **made)
        with self.importable():
            return pickle.dumps(schema, protocol)

    @contextlib.contextmanager
    def importable(self):
        saved = {name: sys.modules.get(name) for name in self.modules}
        sys.modules.update(self.modules)
        try:
            yield
        finally:
            for name, module in saved.items():
                if module is None:
                    del sys.modules[name]
                else:
                    sys.modules[name] = module


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("package", PACKAGES)
@pytest.mark.parametrize("hijacked", [False, True])
def test_every_protocol_package_and_spelling(protocol, package, hijacked):
    world = World(package, hijacked)
    data = world.pickle(
        [
            ("id", np.int64, (), world.scalar("LongType"), False),
            ("id2", np.int32, (), world.scalar("ShortType"), False),
            ("price", Decimal, (), world.scalar("DecimalType", precision=10, scale=9, hasPrecisionInfo=True), False),
            ("at", np.datetime64, (), world.scalar("TimestampType"), True),
            ("day", np.datetime64, (), world.scalar("DateType"), True),
            ("text", np.str_, (), world.scalar("StringType", collation="UTF8"), True),
            ("plain", np.uint8, (), None, False),
            ("native", float, (), None, False),
            ("dtype", np.dtype("float32"), (2,), world.new("NdarrayCodec"), False),
            ("unit", np.dtype("datetime64[us]"), (2,), world.new("NdarrayCodec"), False),
            ("points", np.float32, (None, 3), world.new("CompressedNdarrayCodec"), False),
            ("png", np.uint8, (4, 5, 3), world.new("CompressedImageCodec", _image_codec=".png", _quality=80), False),
            ("jpeg", np.uint8, (4, 5, 3), world.new("CompressedImageCodec", _image_codec=".jpeg", _quality=91), False),
            ("early", np.uint8, (4, 5, 3), world.new("CompressedImageCodec", _format="png", _quality=80), False),
            ("swapped", np.uint8, (4, 5, 3), world.new("CompressedImageCodec", _format=".png", _quality=80), False),
        ],
        protocol,
    )
    assert read_pickled_schema(data) == Unischema(
        "Old",
        [
            Field("id", np.int64, (), ScalarCodec("int64")),
            Field("id2", np.int32, (), ScalarCodec("int16")),
            Field("price", Decimal, (), ScalarCodec("decimal128(10, 9)")),
            Field("at", "datetime64[ns]", (), ScalarCodec("timestamp[us]"), True),
            Field("day", "datetime64[ns]", (), ScalarCodec("date32"), True),
            Field("text", np.str_, (), ScalarCodec("string"), True),
            Field("plain", np.uint8),
            Field("native", np.float64),
            Field("dtype", np.float32, (2,), NdarrayCodec()),
            Field("unit", "datetime64[us]", (2,), NdarrayCodec()),
            Field("points", np.float32, (None, 3), CompressedNdarrayCodec()),
            Field("png", np.uint8, (4, 5, 3), CompressedImageCodec("png")),
            Field("jpeg", np.uint8, (4, 5, 3), CompressedImageCodec("jpeg", 91)),
            Field("early", np.uint8, (4, 5, 3), CompressedImageCodec("png")),
            Field("swapped", np.uint8, (4, 5, 3), CompressedImageCodec("png", 80, "bgr")),
        ],
    )


@pytest.mark.parametrize("protocol", range(6))
def test_what_has_no_counterpart_becomes_opaque(protocol):
    world = World("petastorm", False)
    data = world.pickle(
        [
            ("ok", np.int8, (), None, False),
            ("bmp", np.uint8, (4, 5, 3), world.new("CompressedImageCodec", _image_codec=".bmp", _quality=80), False),
            (
                "floats",
                np.float32,
                (4, 5, 3),
                world.new("CompressedImageCodec", _image_codec=".png", _quality=80),
                True,
            ),
            ("array", np.float32, (), world.scalar("ArrayType"), False),
            ("other", np.str_, (), world.scalar("LongType"), False),
        ],
        protocol,
    )
    schema = read_pickled_schema(data)
    assert schema.ok == Field("ok", np.int8)
    assert schema.bmp.codec == OpaqueCodec(
        "petastorm.codecs.CompressedImageCodec", '{"_image_codec": ".bmp", "_quality": 80}', False, "uint8", (4, 5, 3)
    )
    assert schema.floats.nullable
    for name in ("bmp", "floats", "array", "other"):
        assert isinstance(schema.fields[name].codec, OpaqueCodec)


def test_an_element_type_without_a_counterpart_names_the_field():
    world = World("petastorm", False)
    with pytest.raises(SchemaError, match=r"'x'.*numpy\.complex64"):
        read_pickled_schema(world.pickle([("x", np.complex64, (), None, False)], 2))
    with pytest.raises(UnsafeDataError, match="expected petastorm's Unischema, found dict"):
        read_pickled_schema(pickle.dumps({}))


def test_swapped_channels_are_swapped_back():
    # 0.2.1 to 0.2.3 handed RGB to OpenCV as if it were BGR.
    image = np.random.default_rng(0).integers(0, 255, (4, 5, 3), dtype=np.uint8)
    stored = encode_column(Field("x", np.uint8, (4, 5, 3), CompressedImageCodec("png")), [image[..., ::-1]])
    field = Field("x", np.uint8, (4, 5, 3), CompressedImageCodec("png", 80, "bgr"))
    assert (cells_of(field, decode_column(field, stored, pytest.fail))[0] == image).all()
    assert encode_column(field, [image]).equals(stored)
    assert can_express(Unischema("S", [field])) == ["x: petastorm would swap the channels of its images"]


class TestEmitting:
    """The pickle that petastorm reads; that it does is proved elsewhere, with petastorm itself."""

    def test_python_reads_it_as_petastorm_would(self):
        world = World("petastorm", False)
        fields = [*DRIVE, Field("price", Decimal, (), ScalarCodec("decimal128(10, 2)")), Field("fields", np.int8)]
        with pytest.warns(DatasetWarning, match="schema.fields"):
            schema = Unischema("S", fields)
        with world.importable():
            found = pickle.loads(write_pickled_schema(schema))
        assert found._name == "S"
        assert type(found._fields) is OrderedDict
        assert list(found._fields) == list(schema.fields)
        assert found.camera is found._fields["camera"]
        assert not hasattr(found, "fields")
        assert tuple(found.camera)[:3] == ("camera", np.uint8, (120, 160, 3))
        assert found.camera[3].__dict__ == {"_image_codec": ".png", "_quality": 80}
        assert found.price[3]._spark_type.__dict__ == {"precision": 10, "scale": 2, "hasPrecisionInfo": True}
        assert found.label[3:] == (None, True)

    @pytest.mark.parametrize(
        ("field", "reason"),
        [
            (Field("a.b", np.int8), "names"),
            (Field("_a", np.int8), "names"),
            (Field("class", np.int8), "names"),
            (Field("a", np.int8, (3,)), "lists"),
            (Field("a", np.int8, (3,), TensorCodec()), "TensorCodec"),
            (Field("a", np.float16), "16-bit"),
            (Field("a", Decimal, (), ScalarCodec("decimal256(50, 2)")), "38 digits"),
            (Field("a", "datetime64[us]", (), ScalarCodec("timestamp[us, tz=UTC]")), "time zone"),
            (Field("a", "datetime64[ns]"), "microsecond"),
            (Field("a", np.uint8, (4, 5, 1), CompressedImageCodec()), "shape"),
            (Field("a", np.uint8, (4, 5, 4), CompressedImageCodec()), "shape"),
        ],
    )
    def test_why_petastorm_could_not_read_it(self, field, reason):
        schema = Unischema("S", [Field("ok", np.int8), field])
        (found,) = can_express(schema)
        assert found.startswith(f"{field.name}: ")
        assert reason in found
        with pytest.raises(SchemaError, match="petastorm can't read"):
            write_pickled_schema(schema)
