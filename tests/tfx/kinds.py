"""Rows of every kind of field, as a Unischema dataset and as tf.Examples, and artifacts of both for executors."""

from __future__ import annotations

import datetime as dt
import shutil
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow.parquet as pq
import tensorflow as tf

import tfpetastorm as tps

Field = tps.UnischemaField
IMAGE = tps.CompressedImageCodec("png")
EPOCH = dt.date(1970, 1, 1)

#: What tf.Examples can say: no lists of lists.
FLAT = [
    Field("i8", np.int8),
    Field("i64", np.int64, nullable=True),
    Field("u16", np.uint16),
    Field("u64", np.uint64),
    Field("flag", np.bool_),
    Field("maybe", np.bool_, nullable=True),
    Field("f16", np.float16),
    Field("f32", np.float32, nullable=True),
    Field("f64", np.float64),
    Field("text", np.str_),
    Field("note", np.str_, nullable=True),
    Field("blob", np.bytes_),
    Field("price", Decimal, (), tps.ScalarCodec("decimal128(9, 2)"), True),
    Field("day", dt.date, nullable=True),
    Field("instant", np.dtype("datetime64[ms]"), nullable=True),
    Field("pair", np.float32, (2,)),
    Field("grid", np.int32, (2, 3), tps.NdarrayCodec()),
    Field("packed", np.float64, (3,), tps.CompressedNdarrayCodec(), True),
    Field("words", np.str_, (2,)),
    Field("steps", np.int16, (None,)),
    Field("names", np.str_, (None,), None, True),
    Field("wave", np.float32, (None,), tps.NdarrayCodec(), True),
    Field("photo", np.uint8, (4, 5, 3), IMAGE),
    Field("sketch", np.uint8, (None, None), IMAGE, True),
]
NESTED = [
    Field("track", np.float32, (None, 2), tps.NdarrayCodec()),
    Field("boxes", np.int64, (None, None), tps.NdarrayCodec(), True),
]
SCHEMA = tps.Unischema("Kinds", [*FLAT, *NESTED])


@dataclass(frozen=True)
class HalvesCodec(tps.Codec):
    """A codec of a user's own: floats that are multiples of a half, a byte each."""

    codec_name: ClassVar[str] = "tests.tfx.halves"

    def encode(self, field: Any, value: Any) -> bytes:
        return (np.asarray(value) * 2).astype(np.int8).tobytes()

    def decode_cell(self, field: Any, cell: Any, limits: Any) -> Any:
        return (np.frombuffer(cell, np.int8) / 2).astype(field.dtype).reshape(field.shape)


def make_rows(count: int, seed: int = 0) -> list[dict[str, Any]]:
    """Rows with zeros, empty strings, empty lists and nulls among them."""
    draw = np.random.default_rng(seed)

    def maybe(value: Any) -> Any:
        return None if draw.random() < 0.3 else value

    rows = []
    for number in range(count):
        size = int(draw.integers(0, 4))
        rows.append(
            {
                "i8": int(draw.integers(-3, 4)),
                "i64": maybe(int(draw.integers(0, 5)) * 2**40),
                "u16": int(draw.integers(0, 2**16)),
                "u64": int(draw.integers(0, 2**62)),
                "flag": bool(number % 2),
                "maybe": maybe(bool(draw.integers(0, 2))),
                "f16": np.float16(draw.integers(0, 9) / 4),
                "f32": maybe(np.float32(draw.integers(-4, 5) / 2)),
                "f64": float(draw.integers(-4, 5)) / 8,
                "text": ["", "a", "bé", "日本"][draw.integers(0, 4)],
                "note": maybe(["", "x", "y"][draw.integers(0, 3)]),
                "blob": bytes(draw.integers(0, 256, size, np.uint8)),
                "price": maybe(Decimal(int(draw.integers(0, 500))).scaleb(-2)),
                "day": maybe(EPOCH + dt.timedelta(int(draw.integers(-9, 20000)))),
                "instant": maybe(np.datetime64(int(draw.integers(-5, 10**12)), "ms")),
                "pair": draw.integers(0, 3, 2).astype(np.float32),
                "grid": draw.integers(-2, 3, (2, 3)).astype(np.int32),
                "packed": maybe(draw.integers(0, 5, 3) / 4),
                "words": np.array([["", "p", "q"][at] for at in draw.integers(0, 3, 2)]),
                "steps": draw.integers(-9, 9, size).astype(np.int16),
                "names": maybe([["", "n", "m"][at] for at in draw.integers(0, 3, size)]),
                "wave": maybe(draw.integers(-9, 9, size).astype(np.float32)),
                "photo": draw.integers(0, 256, (4, 5, 3)).astype(np.uint8),
                "sketch": maybe(draw.integers(0, 256, (2 + size, 3)).astype(np.uint8)),
                "track": draw.integers(-9, 9, (size, 2)).astype(np.float32),
                "boxes": maybe(draw.integers(-9, 9, (2, size))),
            }
        )
    return rows


def write_split(folder: Path, rows: list[dict[str, Any]], fields: list[Field] | None = None) -> list[bytes]:
    """One split as a Unischema dataset, and its rows as tf.Examples of the fields of `FLAT`."""
    schema = SCHEMA if fields is None else tps.Unischema("Kinds", fields)
    dataset = whole(folder)
    with tps.DatasetWriter(dataset, schema, row_group_rows=9, petastorm_compatible=False) as writer:
        for row in rows:
            writer.write({field.name: row[field.name] for field in schema})
    # As ExampleGen leaves them: files of data alone in a split's folder.
    folder.mkdir(parents=True)
    for path in dataset.glob("*.parquet"):
        shutil.copy(path, folder)
    shutil.copy(dataset / "_common_metadata", folder.parent)
    images = pq.read_table(folder, columns=[name for name in ("photo", "sketch") if name in schema.fields])
    return [
        _example(schema, row, {name: images[name][at].as_py() for name in images.column_names})
        for at, row in enumerate(rows)
    ]


def whole(folder: Path) -> Path:
    """A split's rows as the dataset that they were written as."""
    return folder.parent.parent / f"whole-{folder.name}"


def write_examples(path: Path, examples: list[bytes]) -> None:
    """As TFX's own ExampleGen stores them."""
    path.parent.mkdir(parents=True)
    with tf.io.TFRecordWriter(str(path), tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
        for example in examples:
            writer.write(example)


def artifact(root: Path, splits: list[str], payload: str, file_format: str) -> Any:
    """An Examples artifact of `Split-<name>` folders in `root`."""
    from tfx.components.util import examples_utils
    from tfx.proto import example_gen_pb2
    from tfx.types import artifact_utils, standard_artifacts

    made = standard_artifacts.Examples()
    made.uri = str(root)
    made.split_names = artifact_utils.encode_split_names(splits)
    examples_utils.set_payload_format(made, example_gen_pb2.PayloadFormat.Value(payload))
    examples_utils.set_file_format(made, file_format)
    return made


def parquet_artifact(root: Path, splits: list[str]) -> Any:
    return artifact(root, splits, "FORMAT_PARQUET", "FILE_FORMAT_PARQUET")


def schema_artifact(folder: Path, proto: Any) -> Any:
    """A Schema artifact of a proto."""
    from google.protobuf import text_format
    from tfx.types import standard_artifacts

    folder.mkdir(parents=True)
    (folder / "schema.pbtxt").write_text(text_format.MessageToString(proto))
    made = standard_artifacts.Schema()
    made.uri = str(folder)
    return made


def executor(kind: Any, folder: Path) -> Any:
    """An executor as TFX's launcher makes one, in this process and thread."""
    # Without flags for Beam, TFX does not pack itself up for workers, which takes seconds.
    return kind(kind.Context(tmp_dir=str(folder / "tmp"), unique_id="1"))


def _example(schema: tps.Unischema, row: dict[str, Any], images: dict[str, bytes | None]) -> bytes:
    features = {}
    for field in schema:
        if field.name not in {flat.name for flat in FLAT}:
            continue
        value = images.get(field.name) if field.codec == IMAGE else row[field.name]
        if value is not None:
            features[field.name] = _feature(value if field.codec != IMAGE else [value])
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def _feature(value: Any) -> tf.train.Feature:
    """By what TFX's documentation says of each type, not by what we do."""
    values = np.asarray(value).reshape(-1) if not isinstance(value, bytes | list) else value
    values = [value] if isinstance(value, bytes | str | Decimal | dt.date | np.datetime64) else list(values)
    first: Any = values[0] if values else getattr(value, "dtype", np.dtype("U1")).type()
    if isinstance(first, float | np.floating):
        return tf.train.Feature(float_list=tf.train.FloatList(value=[float(one) for one in values]))
    if isinstance(first, str | bytes | Decimal):
        texts = [one if isinstance(one, bytes) else str(one).encode() for one in values]
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=texts))
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[_number(one) for one in values]))


def _number(value: Any) -> int:
    if isinstance(value, dt.date):
        return (value - EPOCH).days
    return int(value.astype(np.int64)) if isinstance(value, np.datetime64) else int(value)
