"""What a hostile or damaged file asks for never happens: no code runs, no memory is taken, and the error says so."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfpetastorm.errors import DamagedDataError, Place, SchemaError, TfpetastormError, UnsafeDataError
from tfpetastorm.schema.codecs import (
    DEFAULT_LIMITS,
    CompressedImageCodec,
    CompressedNdarrayCodec,
    Limits,
    NdarrayCodec,
    UnsafeReason,
    bad_cell_error,
    decode_column,
    encode_column,
)
from tfpetastorm.schema.field import UnischemaField
from tfpetastorm.schema.petastorm_format import read_pickled_schema, write_pickled_schema
from tfpetastorm.schema.rows import cells_of
from tfpetastorm.schema.unischema import Unischema

SMALL = UnischemaField("x", np.float32, (2, 3), NdarrayCodec())
OPEN = UnischemaField("x", np.float32, (None, 3), NdarrayCodec())
PACKED = UnischemaField("x", np.float32, (None,), CompressedNdarrayCodec())
IMAGE = UnischemaField("x", np.uint8, (4, 5, 3), CompressedImageCodec("png"))
OPEN_IMAGE = UnischemaField("x", np.uint8, (None, None, 3), CompressedImageCodec("png"))


def bad_rows(
    field: UnischemaField, cells: list[bytes | None], limits: Limits = DEFAULT_LIMITS
) -> tuple[dict[int, str], list[Any]]:
    """The rows that a decoder reports, and the cells that it leaves."""
    found: dict[int, str] = {}
    column = decode_column(field, pa.array(cells, pa.binary()), found.__setitem__, limits)
    assert column.rows == len(cells)
    return found, cells_of(field, column)


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def npz(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return file.getvalue()


class TestPickles:
    """Nothing that a pickled schema names is imported or called."""

    @pytest.mark.parametrize("function", [os.system, eval, exec, open, __import__])
    @pytest.mark.parametrize("protocol", range(5))
    def test_a_call_is_refused(self, function, protocol, tmp_path):
        trap = tmp_path / "sprung"
        arguments = {os.system: f"touch {trap}", eval: f"open({str(trap)!r}, 'w')", exec: f"open({str(trap)!r}, 'w')"}

        class Attack:
            def __reduce__(self):
                return function, (arguments.get(function, str(trap)), *(["w"] if function is open else []))

        with pytest.raises(UnsafeDataError, match=r"run code.*a call of"):
            read_pickled_schema(pickle.dumps(Attack(), protocol))
        assert not trap.exists()

    @pytest.mark.parametrize("place", ["element", "codec", "shape", "name"])
    def test_a_call_inside_a_field_is_refused(self, place, tmp_path):
        trap = tmp_path / "sprung"
        call = b"cos\nsystem\n(X" + struct.pack("<I", len(f"touch {trap}")) + f"touch {trap}".encode() + b"tR"
        parts = {"name": b"X\x01\x00\x00\x00a", "element": b"cnumpy\nint32\n", "shape": b")", "codec": b"N"}
        parts[place] = call
        field = b"cpetastorm.unischema\nUnischemaField\n(" + b"".join(parts.values()) + b"\x89t\x81"
        data = (
            b"\x80\x02cpetastorm.unischema\nUnischema\n)\x81}(X\x05\x00\x00\x00_nameX\x01\x00\x00\x00S"
            b"X\x07\x00\x00\x00_fields}X\x01\x00\x00\x00a" + field + b"sub."
        )
        with pytest.raises(UnsafeDataError, match=r"os\.system"):
            read_pickled_schema(data)
        assert not trap.exists()

    def test_a_global_that_is_no_element_type_is_refused(self):
        data = write_pickled_schema(Unischema("S", [UnischemaField("a", np.int32)])).replace(
            b"numpy\nint32", b"os\nsystem"
        )
        with pytest.raises(TfpetastormError, match=r"os\.system"):
            read_pickled_schema(data)

    def test_an_unknown_class_as_codec_is_only_a_name(self):
        schema = Unischema("S", [UnischemaField("a", np.int32, (2,), NdarrayCodec()), UnischemaField("b", np.int8)])
        data = write_pickled_schema(schema).replace(b"petastorm.codecs\nNdarrayCodec", b"evil.package\nCodec")
        read = read_pickled_schema(data)
        assert read.b == schema.b
        assert read.a.codec.class_name == "evil.package.Codec"
        assert cells_of(read.a, decode_column(read.a, pa.array([b"x"]), pytest.fail)) == [b"x"]

    @pytest.mark.parametrize("opcode", [b"Ppersistent\n", b"Q", b"\x82\x01", b"(ios\nsystem\n", b"(cos\nsystem\no"])
    def test_other_opcodes_are_refused(self, opcode):
        with pytest.raises((UnsafeDataError, SchemaError)):
            read_pickled_schema(b"\x80\x02N" + opcode + b".")

    def test_a_huge_pickle_is_refused_unread(self):
        with pytest.raises(UnsafeDataError, match="too large"):
            read_pickled_schema(b"\x80\x02" + b"N0" * (9 << 20) + b".")

    def test_nesting_by_reference_takes_no_time(self):
        # Sixty levels of (t, t): 2^60 parts if followed, as codec state and as a dict key.
        bomb = b"]" + b"2\x86" * 60
        custom = b"cmy\nCodec\n)\x81}X\x01\x00\x00\x00s" + bomb + b"sb"
        field = b"cpetastorm.unischema\nUnischemaField\n(X\x01\x00\x00\x00acnumpy\nint8\n)" + custom + b"\x89t\x81"
        start = (
            b"\x80\x02cpetastorm.unischema\nUnischema\n)\x81}(X\x05\x00\x00\x00_nameX\x01\x00\x00\x00S"
            b"X\x07\x00\x00\x00_fields}"
        )
        schema = read_pickled_schema(start + b"X\x01\x00\x00\x00a" + field + b"sub.")
        assert schema.a.codec.state == "{}"
        with pytest.raises(SchemaError, match="dict key"):
            read_pickled_schema(start + bomb + field + b"sub.")

    @given(st.binary(max_size=200))
    @settings(max_examples=300, deadline=None)
    def test_noise_is_refused(self, noise):
        with pytest.raises((SchemaError, UnsafeDataError)):
            read_pickled_schema(noise)

    @given(st.data())
    @settings(max_examples=300, deadline=None)
    def test_a_damaged_schema_raises_only_our_errors(self, data):
        whole = write_pickled_schema(Unischema("S", [UnischemaField("a", np.int32), SMALL, IMAGE_NAMED]))
        position = data.draw(st.integers(0, len(whole) - 1))
        damaged = bytearray(whole)
        damaged[position] = data.draw(st.integers(0, 255))
        with contextlib.suppress(TfpetastormError):
            read_pickled_schema(bytes(damaged))

    def test_damaged_json_raises_schema_error(self):
        text = Unischema("S", [SMALL]).to_json()
        for damaged in ["", "[]", "{}", "null", text[:-3], text.replace('"x"', "3"), "[" * 100_000]:
            with pytest.raises(SchemaError):
                Unischema.from_json(damaged)


IMAGE_NAMED = UnischemaField("camera", np.uint8, (4, 5, 3), CompressedImageCodec("png"))


class TestArrays:
    """A cell is what its field says, or it is reported and left empty; its neighbours are decoded."""

    GOOD = npy(np.ones((2, 3), np.float32))

    @pytest.mark.parametrize(
        ("cell", "reason"),
        [
            (b"", "not an .npy array"),
            (b"\x93NUMPY", "not an .npy array"),
            (GOOD[:40], "cut off"),
            (GOOD[:-1], "expected 24 bytes of data"),
            (GOOD + b"\0", "expected 24 bytes of data"),
            (npy(np.ones((3, 2), np.float32)), r"expected float32 of shape \(2, 3\), found shape \(3, 2\)"),
            (npy(np.ones(6, np.float32)), r"found shape \(6,\)"),
            (npy(np.ones((2, 3), np.float64)), "found float64"),
            (npy(np.ones((2, 3), "M8[ns]")), "found datetime64"),
            (npy(np.zeros((2, 3), [("a", "i4")])), "no plain array"),
            (GOOD.replace(b"(2, 3)", b"(2, -3)"), "no plain array"),
            (GOOD.replace(b"\x93NUMPY\x01", b"\x93NUMPY\x09"), "version 9"),
            (b"\x93NUMPY\x02\x00\xff\xff\xff\xff" + GOOD, "header of 4294967307 bytes"),
        ],
    )
    @pytest.mark.parametrize("field", [SMALL, UnischemaField("x", np.float32, (None, 3), NdarrayCodec())])
    def test_a_bad_cell_is_reported(self, cell, reason, field):
        if field is not SMALL and "shape (2, 3)" in reason.replace("\\", ""):
            reason = "found shape"
        found, cells = bad_rows(field, [self.GOOD, cell, self.GOOD])
        assert list(found) == [1]
        with pytest.raises(DamagedDataError, match=reason):
            raise bad_cell_error(found[1], Place(row=1))
        assert (cells[0] == 1).all()
        assert (cells[2] == 1).all()
        assert cells[1].size == 0 or not cells[1].any()

    @pytest.mark.parametrize("field", [SMALL, OPEN])
    def test_an_array_of_objects_is_refused(self, field, tmp_path):
        trap = tmp_path / "sprung"

        class Attack:
            def __reduce__(self):
                return Path.touch, (trap,)

        array = np.empty((2, 3), object)
        array[:] = [[Attack()] * 3] * 2
        found, _ = bad_rows(field, [npy(array)])
        assert isinstance(found[0], UnsafeReason)
        assert isinstance(bad_cell_error(found[0], Place()), UnsafeDataError)
        assert not trap.exists()

    def test_shapes_without_items_may_not_take_memory(self):
        field = UnischemaField("x", np.int8, (None, None), NdarrayCodec())
        cell = npy(np.zeros((0, 0), np.int8)).replace(b"(0, 0), }             ", b"(99999999999999, 0), }")
        found, _ = bad_rows(field, [cell])
        assert isinstance(found[0], UnsafeReason)
        cell = npy(np.zeros((1000, 0), np.int8))
        found, _ = bad_rows(field, [cell] * 4, Limits(max_column_bytes=20_000))
        assert list(found) == [2, 3]

    @given(st.data())
    @settings(max_examples=200, deadline=None)
    def test_damage_is_reported_or_harmless(self, data):
        field = data.draw(st.sampled_from([SMALL, OPEN, PACKED, IMAGE, OPEN_IMAGE]))
        shape = (4, 5, 3) if field.codec == IMAGE.codec else (2, 3) if len(field.shape) == 2 else (6,)
        whole = encode_column(field, [np.ones(shape, field.dtype)])[0].as_py()
        position = data.draw(st.integers(0, len(whole) - 1))
        damaged = bytearray(whole)
        damaged[position] ^= data.draw(st.integers(1, 255))
        found, cells = bad_rows(field, [bytes(damaged), whole])
        assert set(found) <= {0}
        assert (cells[1] == 1).all()


class TestArchives:
    """A zip bomb is refused before it is expanded."""

    def bomb(self, size: int) -> bytes:
        return npz({"arr.npy": npy(np.zeros(size // 4, np.float32))})

    def test_a_bomb_is_refused_in_bounded_memory(self):
        cell = self.bomb(256 << 20)
        assert len(cell) < 1 << 20
        tracemalloc.start()
        try:
            found, cells = bad_rows(PACKED, [cell, cell], Limits(max_cell_bytes=1 << 20))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert all(isinstance(found[row], UnsafeReason) for row in (0, 1))
        assert "would expand to 268435584 bytes" in found[0]
        assert peak < 8 << 20
        assert [len(cell) for cell in cells] == [0, 0]

    def test_many_small_bombs_are_refused_as_one(self):
        limits = Limits(max_column_bytes=10 << 20)
        found, cells = bad_rows(PACKED, [self.bomb(4 << 20)] * 5, limits)
        assert list(found) == [2, 3, 4]
        assert all(isinstance(reason, UnsafeReason) for reason in found.values())
        assert len(cells[0]) == 1 << 20

    def test_a_fixed_shape_bounds_the_cell(self):
        field = UnischemaField("x", np.float32, (4,), CompressedNdarrayCodec())
        found, _ = bad_rows(field, [self.bomb(1 << 20)])
        assert isinstance(found[0], UnsafeReason)

    def test_a_directory_that_lies_about_the_size_gains_nothing(self):
        cell = bytearray(self.bomb(64 << 20))
        directory = cell.rindex(b"PK\x01\x02")
        struct.pack_into("<I", cell, directory + 24, 200)
        tracemalloc.start()
        try:
            found, _ = bad_rows(PACKED, [bytes(cell)])
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert list(found) == [0]
        assert peak < 8 << 20

    @pytest.mark.parametrize(
        ("cell", "reason"),
        [
            (b"", "damaged"),
            (b"PK", "damaged"),
            (npz({"other.npy": b""}), "arr.npy"),
            (npz({"arr.npy": b"", "b.npy": b""}), "arr.npy"),
            (npz({"arr.npy": b"no array"}), "not an .npy"),
            (npz({"arr.npy": npy(np.ones(3, np.float32))}, zipfile.ZIP_LZMA), "method 14"),
            (npz({"arr.npy": npy(np.ones(3, np.float64))}), "float64"),
            (npz({"arr.npy": npy(np.ones(3, np.float32))})[:-30], "damaged"),
        ],
    )
    def test_a_bad_archive_is_reported(self, cell, reason):
        good = npz({"arr.npy": npy(np.ones(3, np.float32))})
        found, cells = bad_rows(PACKED, [good, cell])
        assert list(found) == [1]
        assert reason in found[1]
        assert cells[0].tolist() == [1, 1, 1]

    def test_a_wrong_checksum_is_reported(self):
        cell = bytearray(npz({"arr.npy": npy(np.arange(3, dtype=np.float32))}, zipfile.ZIP_STORED))
        cell[cell.index(b"PK\x01\x02") - 1] ^= 1
        found, _ = bad_rows(PACKED, [bytes(cell)])
        assert list(found) == [0]

    def test_what_numpy_writes_is_read(self):
        file = io.BytesIO()
        np.savez_compressed(file, arr=np.arange(5, dtype=np.float32))
        found, cells = bad_rows(PACKED, [file.getvalue()])
        assert not found
        assert cells[0].tolist() == [0, 1, 2, 3, 4]


def png_claiming(width: int, height: int) -> bytes:
    """A PNG file whose header is genuine and whose data is not."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 99)) + chunk(b"IEND", b"")
    )


def image_claiming(extension: str, width: int, height: int) -> bytes:
    whole = bytearray(cv2.imencode(extension, np.zeros((8, 8, 3), np.uint8))[1].tobytes())
    if extension == ".jpg":
        frame = whole.index(b"\xff\xc0")
        struct.pack_into(">HH", whole, frame + 5, height, width)
    return bytes(whole)


class TestImages:
    """An image is looked at before it is decoded."""

    @pytest.mark.parametrize("field", [IMAGE, OPEN_IMAGE])
    @pytest.mark.parametrize("cell", [png_claiming(100_000, 100_000), image_claiming(".jpg", 65_000, 65_000)])
    def test_a_huge_claim_is_refused_before_decoding(self, field, cell):
        found, _ = bad_rows(field, [cell])
        assert isinstance(found[0], UnsafeReason)
        assert "pixels" in found[0]
        assert isinstance(bad_cell_error(found[0], Place(row=0)), UnsafeDataError)

    def test_the_limit_can_be_set(self):
        cell = cv2.imencode(".png", np.zeros((50, 50, 3), np.uint8))[1].tobytes()
        assert not bad_rows(OPEN_IMAGE, [cell])[0]
        found, _ = bad_rows(OPEN_IMAGE, [cell], Limits(max_cell_bytes=7499))
        assert isinstance(found[0], UnsafeReason)

    def test_many_images_are_limited_together(self):
        cell = cv2.imencode(".png", np.zeros((50, 50, 3), np.uint8))[1].tobytes()
        found, _ = bad_rows(OPEN_IMAGE, [cell] * 4, Limits(max_column_bytes=15_000))
        assert list(found) == [2, 3]

    @pytest.mark.parametrize("extension", [".png", ".jpg", ".webp"])
    def test_an_image_cut_off_is_reported(self, extension):
        rng = np.random.default_rng(0)
        image = cv2.resize(rng.integers(0, 255, (8, 8, 3), np.uint8), (64, 64))
        field = UnischemaField("x", np.uint8, (64, 64, 3), CompressedImageCodec("png"))
        whole = cv2.imencode(extension, image)[1].tobytes()
        assert not bad_rows(field, [whole])[0]
        for length in [0, 1, 20, 30, len(whole) // 2, len(whole) - 20]:
            found, cells = bad_rows(field, [whole[:length], whole])
            assert list(found) == [0], length
            assert not cells[0].any()
            assert cells[1].any()

    def test_damaged_pixels_of_a_png_are_reported(self):
        image = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
        field = UnischemaField("x", np.uint8, (32, 32, 3), CompressedImageCodec("png"))
        whole = bytearray(encode_column(field, [image])[0].as_py())
        whole[len(whole) // 2] ^= 0xFF
        found, cells = bad_rows(field, [bytes(whole)])
        assert list(found) == [0]
        assert not cells[0].any()

    @pytest.mark.parametrize(
        ("image", "reason"),
        [
            (np.zeros((5, 4, 3), np.uint8), r"found shape (5, 4, 3)"),
            (np.zeros((4, 5), np.uint8), r"found shape (4, 5, 1)"),
            (np.zeros((4, 5, 4), np.uint8), r"found shape (4, 5, 4)"),
            (np.zeros((4, 5, 3), np.uint16), "16 bits"),
        ],
    )
    def test_another_shape_or_depth_is_reported(self, image, reason):
        found, _ = bad_rows(IMAGE, [cv2.imencode(".png", image)[1].tobytes()])
        assert reason in found[0]

    def test_the_turn_that_exif_asks_for_is_ignored(self):
        image = np.zeros((4, 5, 3), np.uint8)
        image[:2] = 255
        whole = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
        exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
        turned = whole[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + whole[2:]
        found, cells = bad_rows(UnischemaField("x", np.uint8, (4, 5, 3), CompressedImageCodec("jpeg")), [turned])
        assert not found
        assert cells[0][0, 0, 0] > 200
        assert cells[0][3, 4, 0] < 50
