"""Real petastorm 0.13.1, in an environment of its own, reads what our writer wrote, value for value."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tfpetastorm as tps

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parent.parent.parent
ROWS = 23

Row = dict[str, Any]


@pytest.fixture(scope="session")
def petastorm_python() -> str:
    """The interpreter of the environment that `make petastorm-env` makes."""
    default = REPOSITORY / ".envs" / "petastorm" / "bin" / "python"
    python = os.environ.get("TFPETASTORM_PETASTORM_PYTHON", str(default))
    if not Path(python).exists():
        told = f"no petastorm at {python}; `make petastorm-env` installs it"
        if os.environ.get("CI") == "true":
            pytest.fail(told)
        pytest.skip(told)
    return python


@dataclass(frozen=True)
class Seen:
    """What petastorm saw. schema: [NumPy type's name, shape, nullable] by field. rows: its values by field."""

    schema: dict[str, list[Any]]
    rows: list[Row]


@pytest.fixture
def read(petastorm_python: str, tmp_path: Path) -> Callable[[Path], Seen]:
    def read(dataset: Path) -> Seen:
        folder = tmp_path / f"seen-{dataset.name}"
        folder.mkdir()
        script = Path(__file__).with_name("read_with_petastorm.py")
        environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        done = subprocess.run(
            [petastorm_python, script, dataset.as_uri(), folder],
            capture_output=True, text=True, timeout=240, env=environment, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-4000:]
        seen = json.loads((folder / "rows.json").read_text())
        with np.load(folder / "arrays.npz") as arrays:
            rows = [{name: _value(told, arrays) for name, told in row.items()} for row in seen["rows"]]
        schema = {name: [kind.removesuffix("_"), *rest] for name, (kind, *rest) in seen["schema"].items()}
        return Seen(schema, rows)

    return read


def _value(told: list[str] | None, arrays: Any) -> Any:
    if told is None:
        return None
    kind, text = told
    if kind == "array":
        return arrays[text]
    if kind in ("bytes", "bytes_"):
        return bytes.fromhex(text)
    if kind in ("str", "str_"):
        return text
    if kind == "Decimal":
        return Decimal(text)
    if kind in ("bool", "bool_"):
        return {"True": True, "False": False}[text]
    if kind.startswith("datetime64"):
        return np.datetime64(text)
    return np.dtype(kind).type(text)


def photo(random: np.random.Generator, *shape: int) -> np.ndarray[Any, Any]:
    """A smooth picture, on which jpeg and webp do well."""
    ramp = np.add.outer(np.arange(shape[0]) * 3, np.arange(shape[1]) * 2)
    channels = ramp[..., None] + random.integers(0, 60, shape[2:]) if shape[2:] else ramp
    return np.clip(channels, 0, 255).astype(np.uint8)


SCALARS: dict[str, tuple[Any, Any, Callable[[int], Any]]] = {
    # name: (numpy type, codec, value of a row)
    "bool": (np.bool_, None, lambda i: i % 3 == 0),
    "int8": (np.int8, None, lambda i: i * 11 - 128),
    "uint8": (np.uint8, None, lambda i: 255 - i),
    "int16": (np.int16, None, lambda i: i * 1489 - 32768),
    "uint16": (np.uint16, None, lambda i: 65535 - i),
    "int32": (np.int32, None, lambda i: -(2**31) + i),
    "int64": (np.int64, None, lambda i: 2**63 - 1 - i),
    "float32": (np.float32, None, lambda i: np.float32(i) / 7),
    "float64": (np.float64, None, lambda i: i / 7),
    "text": (np.str_, None, lambda i: ["", "plain", "Grüße", "日本", "a\nb"][i % 5]),
    "int32_as_int16": (np.int32, tps.ScalarCodec("int16"), lambda i: i - 7),
    "uint32": (np.uint32, tps.ScalarCodec("int64"), lambda i: 2**32 - 1 - i),
    "float16": (np.float16, tps.ScalarCodec("float32"), lambda i: np.float16(i) / 8),
    "bytes": (np.bytes_, tps.ScalarCodec("binary"), lambda i: bytes([255, 1, i + 1])),
    "decimal": (Decimal, tps.ScalarCodec("decimal128(12, 3)"), lambda i: Decimal(i * 1_000_003).scaleb(-3)),
    "moment": (
        np.dtype("datetime64[us]"),
        tps.ScalarCodec("timestamp[us]"),
        lambda i: np.datetime64("2001-02-03T04:05:06.789123", "us") + i,
    ),
}

Make = Callable[[np.random.Generator, int], Any]


def noise(dtype: Any, *shape: int) -> Make:
    return lambda random, i: random.integers(0, int(np.iinfo(dtype).max) + 1, shape, dtype)


PNG = tps.CompressedImageCodec("png")
JPEG = tps.CompressedImageCodec("jpeg", quality=95)
WEBP = tps.CompressedImageCodec("webp", quality=95)
ARRAYS: dict[str, tuple[Any, tuple[int | None, ...], Any, Make]] = {
    # name: (numpy type, shape, codec, value of a row)
    "vector": (np.float32, (5,), tps.NdarrayCodec(), lambda r, i: r.standard_normal(5, np.float32)),
    "points": (np.float64, (None, 4), tps.NdarrayCodec(), lambda r, i: r.standard_normal((i % 4, 4))),
    "mask": (np.bool_, (3, 3), tps.NdarrayCodec(), lambda r, i: r.random((3, 3)) > 0.5),
    "zipped": (np.int32, (None, None), tps.CompressedNdarrayCodec(), lambda r, i: noise(np.int32, i % 3 + 1, 7)(r, i)),
    "large": (np.uint64, (2,), tps.CompressedNdarrayCodec(), noise(np.uint64, 2)),
    "png": (np.uint8, (16, 20, 3), PNG, noise(np.uint8, 16, 20, 3)),
    "grey": (np.uint8, (None, None), PNG, lambda r, i: noise(np.uint8, 4 + i % 3, 9)(r, i)),
    "deep": (np.uint16, (6, 8), PNG, noise(np.uint16, 6, 8)),
    "deep_colour": (np.uint16, (6, 8, 3), PNG, noise(np.uint16, 6, 8, 3)),
    "jpeg": (np.uint8, (24, 32, 3), JPEG, lambda r, i: photo(r, 24, 32, 3)),
    "jpeg_grey": (np.uint8, (24, 32), JPEG, lambda r, i: photo(r, 24, 32)),
    "webp": (np.uint8, (24, 32, 3), WEBP, lambda r, i: photo(r, 24, 32, 3)),
}
#: Codecs that lose something: how far a level may be off after encoding at quality 95.
LOSSY = {"jpeg": 12, "jpeg_grey": 4, "webp": 16}


def schema_and_rows(*, nullable: bool) -> tuple[tps.Unischema, list[Row]]:
    """All that petastorm can express; if nullable, every third cell of each field is null."""
    fields = [tps.UnischemaField("id", np.int64, ())]
    fields += [tps.UnischemaField(name, kind, (), codec, nullable) for name, (kind, codec, _) in SCALARS.items()]
    fields += [tps.UnischemaField(name, kind, s, codec, nullable) for name, (kind, s, codec, _) in ARRAYS.items()]
    random = np.random.default_rng(5)
    rows = []
    for i in range(ROWS):
        row: Row = {"id": i}
        row |= {name: value(i) for name, (_, _, value) in SCALARS.items()}
        row |= {name: value(random, i) for name, (_, _, _, value) in ARRAYS.items()}
        if nullable:
            # petastorm can't read a null moment, whoever wrote it: np.datetime64 refuses the NaT it comes as.
            nulls = [name for place, name in enumerate(row) if name not in ("id", "moment") and (i + place) % 3 == 0]
            row |= dict.fromkeys(nulls)
        rows.append(row)
    return tps.Unischema("Everything", fields), rows


def write(path: Path, schema: tps.Unischema, rows: list[Row], **options: Any) -> None:
    with tps.DatasetWriter(str(path), schema, row_group_rows=5, **options) as writer:
        for row in rows:
            writer.write(row)


def assert_same(name: str, seen: Any, written: Any) -> None:
    if written is None and name in ("float16", "float32", "float64"):
        assert np.isnan(seen)  # petastorm reads through pandas, which knows no other null
    elif written is None:
        assert seen is None
    elif name in LOSSY:
        assert seen.dtype == written.dtype
        assert seen.shape == written.shape
        assert np.abs(seen.astype(int) - written.astype(int)).max() <= LOSSY[name]
    elif isinstance(written, np.ndarray):
        assert seen.dtype == written.dtype
        np.testing.assert_array_equal(seen, written)
    else:
        assert seen == written


@pytest.mark.parametrize("nullable", [False, True])
def test_every_type_and_codec_that_petastorm_has(
    nullable: bool, dataset_path: Path, read: Callable[[Path], Seen]
) -> None:
    schema, rows = schema_and_rows(nullable=nullable)
    write(dataset_path, schema, rows)
    seen = read(dataset_path)

    assert [row["id"] for row in seen.rows] == list(range(ROWS))
    for written, row in zip(rows, seen.rows, strict=True):
        for name, value in written.items():
            try:
                assert_same(name, row[name], value)
            except AssertionError as error:
                raise AssertionError(f"row {written['id']}, field {name}: {error}") from error
    for name, (_, _, codec, _) in ARRAYS.items():
        assert seen.schema[name] == [schema.fields[name].dtype.name, list(schema.fields[name].shape), nullable], codec
    for name in ("int8", "uint16", "float64"):
        assert seen.schema[name] == [name, [], nullable]


@pytest.mark.parametrize("places", [["Kiel", "New York", "A-1_b.c"], ["São Paulo", "日本"]])
def test_partitions_files_and_appended_rows(
    places: list[str], dataset_path: Path, read: Callable[[Path], Seen]
) -> None:
    schema = tps.Unischema(
        "Parts",
        [
            tps.UnischemaField("id", np.int64, ()),
            tps.UnischemaField("place", np.str_, ()),
            tps.UnischemaField("cell", np.int16, (2,), tps.NdarrayCodec()),
        ],
    )
    rows = [{"id": i, "place": places[i % len(places)], "cell": np.array([i, -i], np.int16)} for i in range(20)]
    write(dataset_path, schema, rows[:12], partition_by=["place"])
    write(dataset_path, schema, rows[12:], partition_by=["place"], mode="append")
    seen = sorted(read(dataset_path).rows, key=lambda row: row["id"])

    assert [(row["id"], row["place"]) for row in seen] == [(row["id"], row["place"]) for row in rows]
    for row, written in zip(seen, rows, strict=True):
        np.testing.assert_array_equal(row["cell"], written["cell"])


def test_columns_written_at_once(dataset_path: Path, read: Callable[[Path], Seen]) -> None:
    schema = tps.Unischema(
        "Batches",
        [
            tps.UnischemaField("id", np.int64, ()),
            tps.UnischemaField("value", np.float32, (3,), tps.NdarrayCodec()),
            tps.UnischemaField("note", np.str_, (), nullable=True),
        ],
    )
    values = np.arange(33, dtype=np.float32).reshape(11, 3)
    notes = [None if i % 4 == 0 else f"note {i}" for i in range(11)]
    with tps.DatasetWriter(str(dataset_path), schema, row_group_rows=4) as writer:
        writer.write_batch({"id": np.arange(11), "value": values, "note": notes})
    rows = read(dataset_path).rows

    assert [row["note"] for row in rows] == notes
    np.testing.assert_array_equal(np.stack([row["value"] for row in rows]), values)


@pytest.mark.parametrize("name", ["petastorm-0.13.1/types", "petastorm-0.13.1/drive_small"])
def test_a_copy_of_petastorms_own_dataset(
    name: str, golden: Path, dataset_path: Path, read: Callable[[Path], Seen]
) -> None:
    tps.copy_dataset(golden / name, dataset_path, compression="zstd", row_group_rows=9)
    mine, theirs = read(dataset_path), read(golden / name)
    assert mine.schema == theirs.schema
    np.testing.assert_equal(mine.rows, theirs.rows)
