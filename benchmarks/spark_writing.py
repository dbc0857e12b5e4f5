"""Spark encodes and writes datasets: columns at a time (`encode_frame`) against petastorm's way, an RDD of rows.

Both make the same values in the workers from numbers that Spark counts, in two tasks at once, and end with the
dataset's metadata. Rows have four scalars and a small array, pictures are arrays of 100 kB.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

import tfpetastorm as tps
from benchmarks.measure import Round, alternate, time_call

ROWS = 200_000
PICTURES = 4_000
#: What a Python worker may take at its peak, all imports included.
WORKER_MB = 400.0

_ROOT = Path(__file__).parents[1]
_SMALL = tps.Unischema(
    "Small",
    [
        tps.UnischemaField("id", np.int64),
        tps.UnischemaField("speed", np.float32),
        tps.UnischemaField("time", np.float64),
        tps.UnischemaField("label", np.int32),
        tps.UnischemaField("vector", np.float32, (8,), tps.NdarrayCodec()),
    ],
)
_LARGE = tps.Unischema(
    "Large",
    [tps.UnischemaField("id", np.int64), tps.UnischemaField("picture", np.uint8, (200, 500), tps.NdarrayCodec())],
)


@lru_cache(maxsize=1)
def _vectors() -> Any:
    return np.random.default_rng(1).standard_normal((1_000, 8), np.float32)


@lru_cache(maxsize=1)
def _pictures() -> Any:
    return np.random.default_rng(1).integers(0, 256, (40, 200, 500), np.uint8)


def _small_columns(given: dict[str, Any]) -> dict[str, Any]:
    ids = given["id"]
    return {
        "id": ids,
        "speed": (ids / 7).astype(np.float32),
        "time": ids / 3,
        "label": (ids % 100).astype(np.int32),
        "vector": _vectors()[ids % 1_000],
    }


def _small_row(i: int) -> dict[str, Any]:
    return {"id": i, "speed": np.float32(i / 7), "time": i / 3, "label": i % 100, "vector": _vectors()[i % 1_000]}


def _large_columns(given: dict[str, Any]) -> dict[str, Any]:
    # A list, as decoded pictures come: nothing is copied here, nor for a row.
    return {"id": given["id"], "picture": [_pictures()[i] for i in given["id"] % 40]}


def _large_row(i: int) -> dict[str, Any]:
    return {"id": i, "picture": _pictures()[i % 40]}


@dataclass(frozen=True)
class Job:
    """What is written. columns, row: make some rows at once, and one."""

    schema: tps.Unischema
    rows: int
    columns: Callable[[dict[str, Any]], dict[str, Any]]
    row: Callable[[int], dict[str, Any]]


SMALL = Job(_SMALL, ROWS, _small_columns, _small_row)
LARGE = Job(_LARGE, PICTURES, _large_columns, _large_row)


@contextmanager
def _session() -> Iterator[tuple[Any, Path]]:
    """A session of two cores, and a folder to write to."""
    from tfpetastorm.spark import local_session

    folder = Path(tempfile.mkdtemp(prefix="tfpetastorm-spark-"))
    settings = {
        "spark.ui.showConsoleProgress": "false",
        "spark.driver.memory": "2g",
        "spark.executorEnv.PYTHONPATH": str(_ROOT),
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
    }
    session = local_session(2, settings)
    session.sparkContext.setLogLevel("ERROR")
    try:
        yield session, folder
    finally:
        session.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _by_columns(spark: Any, url: str, job: Job, rows: int) -> int:
    from tfpetastorm.spark import encode_frame, materialize_dataset

    with materialize_dataset(spark, url, job.schema, row_group_size_mb=64):
        frame = encode_frame(spark.range(0, rows, 1, 2), job.schema, job.columns)
        frame.write.mode("overwrite").parquet(url)
    return rows


def _by_rows(spark: Any, url: str, job: Job, rows: int) -> int:
    from tfpetastorm.spark import dict_to_spark_row, materialize_dataset

    with materialize_dataset(spark, url, job.schema, row_group_size_mb=64):
        numbers = spark.sparkContext.parallelize(range(rows), 2)
        encoded = numbers.map(job.row).map(partial(dict_to_spark_row, job.schema))
        spark.createDataFrame(encoded, job.schema.as_spark_schema()).write.mode("overwrite").parquet(url)
    return rows


def columns_against_rows(job: Job) -> Callable[[float, int], Iterator[Round]]:
    """The contest: rows a second of both ways."""

    def play(scale: float, rounds: int) -> Iterator[Round]:
        rows = max(2, round(job.rows * scale))
        with _session() as (spark, folder):
            ours, theirs = (folder / "ours").as_uri(), (folder / "theirs").as_uri()
            yield from alternate(
                lambda: time_call(lambda: _by_columns(spark, ours, job, rows)),
                lambda: time_call(lambda: _by_rows(spark, theirs, job, rows)),
                rounds,
            )

    return play


def workers_in_bounds(scale: float, rounds: int) -> Iterator[Round]:
    """How many Python workers that write pictures would fit into `WORKER_MB`, by the peak of the largest."""
    for _ in range(rounds):
        with _session() as (spark, folder):
            _by_columns(spark, (folder / "ours").as_uri(), LARGE, max(2, round(PICTURES * scale)))
            yield Round(WORKER_MB / _peak(), 1.0)


def _peak() -> float:
    """The peak of the largest of Spark's Python workers in MB; they stay after their work, to be used again."""
    peaks = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
            status = (folder / "status").read_text()
        except OSError:  # it ended meanwhile
            continue
        if b"pyspark.daemon" in command and _is_ours(int(folder.name)):
            peaks += [int(line.split()[1]) * 1024 / 1e6 for line in status.splitlines() if line.startswith("VmHWM:")]
    if len(peaks) < 2:  # the one that forks them, and they
        raise RuntimeError("no Python workers of Spark are left to be weighed")
    return max(peaks)


def _is_ours(pid: int) -> bool:
    """Whether a process descends from this one: others may run a Spark of their own."""
    while pid > 1:
        if pid == os.getpid():
            return True
        status = Path(f"/proc/{pid}/stat").read_text()
        pid = int(status.rpartition(")")[2].split()[1])
    return False
