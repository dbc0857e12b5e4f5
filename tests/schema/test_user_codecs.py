"""Codecs of a user's own: given explicitly, stored by name, opaque where they are not given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pytest

from tfpetastorm.errors import EncodeError, OptionError, SchemaError
from tfpetastorm.schema.codecs import BadCellError, Codec, Limits, NdarrayCodec, decode_column, encode_column
from tfpetastorm.schema.codecs.opaque import OpaqueCodec, raw_field
from tfpetastorm.schema.field import UnischemaField
from tfpetastorm.schema.petastorm_format import can_express, read_pickled_schema, write_pickled_schema
from tfpetastorm.schema.rows import cells_of
from tfpetastorm.schema.unischema import Unischema


@dataclass(frozen=True)
class Delta(Codec):
    """Integers as differences, each scaled down."""

    codec_name: ClassVar[str] = "example.delta"
    petastorm_class: ClassVar[str] = "company.codecs.DeltaCodec"

    scale: int = 1

    def encode(self, field: UnischemaField, value: Any) -> bytes:
        if len(value) > 3:
            raise BadCellError("at most 3", len(value))
        return np.diff(np.asarray(value, field.dtype) // self.scale, prepend=0).astype("<i8").tobytes()

    def decode_cell(self, field: UnischemaField, cell: memoryview, limits: Limits) -> Any:
        return (np.cumsum(np.frombuffer(cell, "<i8")) * self.scale).astype(field.dtype)


@dataclass(frozen=True)
class Greeting(Codec):
    """Text with a greeting."""

    codec_name: ClassVar[str] = "example.greeting"

    def encode(self, field: UnischemaField, value: Any) -> bytes:
        return f"hello {value}".encode()

    def decode_cell(self, field: UnischemaField, cell: memoryview, limits: Limits) -> Any:
        return str(cell, "utf8").removeprefix("hello ")


FIELD = UnischemaField("steps", np.int32, (None,), Delta(scale=2), nullable=True)
SCHEMA = Unischema("S", [FIELD, UnischemaField("who", np.str_, (), Greeting()), UnischemaField("n", np.int8)])


def test_it_encodes_and_decodes_cell_by_cell():
    array = encode_column(FIELD, [[2, 4, 8], None, []])
    assert array.type == pa.binary()
    cells = cells_of(FIELD, decode_column(FIELD, array, pytest.fail))
    assert cells[0].tolist() == [2, 4, 8]
    assert cells[0].dtype == np.int32
    assert cells[1] is None
    assert cells[2].tolist() == []
    who = SCHEMA.who
    assert cells_of(who, decode_column(who, encode_column(who, ["Ann"]), pytest.fail)) == ["Ann"]


def test_its_errors_name_the_row():
    with pytest.raises(EncodeError, match=r"field 'steps', row 1\): expected at most 3, found 4"):
        encode_column(FIELD, [[2], [1, 2, 3, 4]])
    bad: dict[int, str] = {}
    cells = cells_of(FIELD, decode_column(FIELD, pa.array([b"1234567", b"\2" + b"\0" * 7]), bad.__setitem__))
    assert list(bad) == [0]
    assert [cell.tolist() for cell in cells] == [[], [4]]


def test_what_it_returns_is_checked():
    field = UnischemaField("steps", np.int32, (2,), Delta())
    bad: dict[int, str] = {}
    decode_column(field, pa.array([bytes(8), bytes(16)]), bad.__setitem__)
    assert bad == {0: "expected int32 of shape (2,), found shape (1,)"}


def test_json_stores_its_name_and_parameters():
    text = SCHEMA.to_json()
    assert Unischema.from_json(text, codecs=[Delta, Greeting]) == SCHEMA
    assert "Delta" not in text
    assert '"example.delta"' in text


def test_without_it_the_other_fields_are_read():
    read = Unischema.from_json(SCHEMA.to_json(), codecs=[Greeting])
    assert read.who == SCHEMA.who
    assert isinstance(read.steps.codec, OpaqueCodec)
    assert read.as_arrow_schema() == SCHEMA.as_arrow_schema()
    assert read.steps.codec == OpaqueCodec("example.delta", '{"scale": 2}', True, "int32", (None,))
    # Its cells are the bytes that are stored, and bytes may be written in their place.
    array = encode_column(FIELD, [[2], None])
    for field in (read.steps, raw_field(read.steps), raw_field(FIELD)):
        cells = cells_of(field, decode_column(field, array, pytest.fail))
        assert cells == array.to_pylist()
        assert encode_column(field, cells) == array
    with pytest.raises(EncodeError, match="expected bytes, found list"):
        encode_column(read.steps, [[2]])
    with pytest.raises(SchemaError, match=r"'example.delta' is not known here.*can only be bytes"):
        UnischemaField("x", np.int32, (), read.steps.codec)
    # Nothing is lost on the way through a program that does not know the codec.
    assert Unischema.from_json(read.to_json(), codecs=[Delta, Greeting]) == SCHEMA


def test_a_class_that_petastorm_pickled():
    schema = Unischema("S", [UnischemaField("a", np.int32, (None,), NdarrayCodec())])
    data = write_pickled_schema(schema).replace(b"petastorm.codecs\nNdarrayCodec", b"company.codecs\nDeltaCodec")
    data = data.replace(b"DeltaCodec\n)\x81", b"DeltaCodec\n)\x81}X\x05\x00\x00\x00scaleK\x02sb")
    assert read_pickled_schema(data, codecs=[Delta]).a.codec == Delta(scale=2)
    opaque = read_pickled_schema(data)
    assert opaque.a.codec.class_name == "company.codecs.DeltaCodec"
    assert can_express(opaque) == ["a: petastorm has no OpaqueCodec"]
    assert Unischema.from_json(opaque.to_json()) == opaque
    assert Unischema.from_json(opaque.to_json(), codecs=[Delta]).a.codec == Delta(scale=2)


def test_names_must_be_there_and_differ():
    @dataclass(frozen=True)
    class Nameless(Codec):
        def encode(self, field: UnischemaField, value: Any) -> Any:
            return value

    @dataclass(frozen=True)
    class Ndarray(NdarrayCodec):
        pass

    for codecs, message in [
        ([Nameless], "no codec_name"),
        ([Ndarray], "Two codecs"),
        ([Delta()], "takes classes"),
        ([int], "takes classes"),
    ]:
        with pytest.raises(OptionError, match=message):
            Unischema.from_json(SCHEMA.to_json(), codecs=codecs)


def test_parameters_that_are_not_its_own_are_refused():
    text = SCHEMA.to_json().replace('"scale"', '"speed"')
    with pytest.raises(SchemaError, match=r"'example.delta' has parameters"):
        Unischema.from_json(text, codecs=[Delta])
