"""Makes the datasets that are measured, once; later runs find them under benchmarks/data.

    python -m benchmarks.datasets [--scale 0.1]

tabular            2,000,000 rows of 18 numbers and a string in 20 row groups and 4 files, plain Parquet, Snappy
tabular_tfrecord   the same rows as uncompressed TFRecord files, one tf.train.Example a row
images             4,000 photo-like pictures, 224 × 224, JPEG of quality 90, row groups of 100, a Unischema dataset
drive              12,000 rows of camera (PNG), lidar and other sensors, row groups of 100, 4 files, likewise

Values depend on fixed seeds only.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import drive
from benchmarks.pictures import Array, photo

DATA = Path(os.environ.get("TFPETASTORM_BENCHMARK_DATA", Path(__file__).parent / "data"))
ROWS = 2_000_000
FILES = 4
ROW_GROUP_ROWS = 100_000
IMAGES = 4_000
IMAGE_SIZE = 224
DRIVE_ROWS = 12_000
ENCODED_ROW_GROUP_ROWS = 100

FLOATS = [f"f{i}" for i in range(12)]
INTEGERS = [f"i{i}" for i in range(4)]
NUMERIC = ["id", *FLOATS, *INTEGERS, "label"]
STRING = "category"
# Never fork a process in which TensorFlow runs.
_SPAWN = multiprocessing.get_context("spawn")
COLOURS = np.array(["red", "green", "blue", "cyan", "amber", "violet", "grey", "teal"])


def tabular_columns(file: int, rows: int) -> dict[str, Array]:
    """The columns of one of the files, each `[rows]`: int64 id and label, float32, int32, strings of 3 to 6 letters."""
    random = np.random.default_rng([1234, file])
    columns: dict[str, Array] = {"id": np.arange(file * rows, (file + 1) * rows)}
    columns |= {name: random.standard_normal(rows, dtype=np.float32) for name in FLOATS}
    columns |= {name: random.integers(0, 10 ** (i + 1), rows, dtype=np.int32) for i, name in enumerate(INTEGERS)}
    columns["label"] = (columns["f0"] + columns["f1"] > 0).astype(np.int64)
    columns[STRING] = COLOURS[random.integers(0, len(COLOURS), rows)]
    return columns


def _tabular_file(folder: Path, file: int, rows: int) -> None:
    pq.write_table(
        pa.table(tabular_columns(file, rows)),
        folder / f"part-{file:05d}.parquet",
        row_group_size=min(ROW_GROUP_ROWS, rows),
        compression="snappy",
        # A dictionary of floats that never repeat makes files half as large again, and slower to read.
        use_dictionary=[*INTEGERS, "label", STRING],
    )


def _tfrecord_file(folder: Path, file: int, rows: int) -> None:
    import tensorflow as tf

    from benchmarks.tfrecord import encode_examples

    columns = tabular_columns(file, rows)
    with tf.io.TFRecordWriter(str(folder / f"part-{file:05d}.tfrecord")) as writer:
        for start in range(0, rows, 20_000):
            for example in encode_examples({name: column[start : start + 20_000] for name, column in columns.items()}):
                writer.write(example)


def _images(folder: Path, rows: int) -> None:
    import tfpetastorm as tps

    schema = tps.Unischema(
        "Images",
        [
            tps.UnischemaField("id", np.int64, ()),
            tps.UnischemaField(
                "image", np.uint8, (IMAGE_SIZE, IMAGE_SIZE, 3), tps.CompressedImageCodec("jpeg", quality=90)
            ),
            tps.UnischemaField("label", np.int64, ()),
        ],
    )
    with (
        ProcessPoolExecutor(2, _SPAWN) as pool,
        tps.DatasetWriter(str(folder), schema, row_group_rows=ENCODED_ROW_GROUP_ROWS) as writer,
    ):
        for number, picture in enumerate(pool.map(photo, range(rows), chunksize=50)):
            writer.write({"id": number, "image": picture, "label": number % 1000})


def _drive(folder: Path, rows: int) -> None:
    import tfpetastorm as tps

    a_file, a_group = max(1, -(-rows // FILES)), ENCODED_ROW_GROUP_ROWS
    with (
        ProcessPoolExecutor(2, _SPAWN) as pool,
        tps.DatasetWriter(str(folder), drive.schema(), row_group_rows=a_group, file_rows=a_file) as writer,
    ):
        for one in pool.map(drive.row, range(rows), chunksize=50):
            writer.write(one)


def _files(make: Callable[[Path, int, int], None], folder: Path, rows: int) -> None:
    folder.mkdir(parents=True)
    with ProcessPoolExecutor(2, _SPAWN) as pool:
        for done in [pool.submit(make, folder, file, rows // FILES) for file in range(FILES)]:
            done.result()


def _tabular(folder: Path, rows: int) -> None:
    _files(_tabular_file, folder, rows)


def _tfrecord(folder: Path, rows: int) -> None:
    _files(_tfrecord_file, folder, rows)


_MAKERS = {
    "tabular": (_tabular, ROWS),
    "tabular_tfrecord": (_tfrecord, ROWS),
    "images": (_images, IMAGES),
    "drive": (_drive, DRIVE_ROWS),
}


def dataset(name: str, scale: float = 1.0) -> tuple[Path, int]:
    """The folder of a dataset, made if it is not there yet, and its number of rows."""
    make, full = _MAKERS[name]
    rows = round(full * scale)
    folder = DATA / f"{name}-{rows}"
    if not folder.exists():
        print(f"Making {folder.name} ({rows:,} rows) …", flush=True)
        began = time.monotonic()
        unfinished = folder.with_name(f"{folder.name}.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        make(unfinished, rows)
        unfinished.rename(folder)
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        print(f"Made {folder.name}: {size / 1e6:,.0f} MB in {time.monotonic() - began:.0f} s", flush=True)
    return folder, rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the rows, 1.0 by default")
    parser.add_argument("--only", nargs="*", choices=sorted(_MAKERS), default=sorted(_MAKERS, reverse=True))
    arguments = parser.parse_args()
    for wanted in arguments.only:
        dataset(wanted, arguments.scale)
