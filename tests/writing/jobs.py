"""What the tests of jobs of several writers share."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

import tfpetastorm as tps
from tests.storage.helpers import SCHEMA, row


def begin(path: Any, schema: Any = SCHEMA, **options: Any) -> tps.ParallelWrite:
    return tps.ParallelWrite.begin(path, schema, **options)


def part_of(job: tps.ParallelWrite, index: int, ids: Iterable[int]) -> tps.WrittenPart:
    with job.writer(index, workers=0) as writer:
        for i in ids:
            writer.write(row(i))
    return writer.written


def fill(writer: Any, ids: Iterable[int]) -> None:
    """For `job.map`."""
    for i in ids:
        writer.write(row(i))


def fill_and_die(writer: Any, ids: Iterable[int]) -> None:
    fill(writer, ids)
    if 3 in ids:
        # What is buffered is written.
        writer.write_batch({name: [] for name in SCHEMA.fields})
        os.kill(os.getpid(), 9)


def rows_of(path: Any, **options: Any) -> list[dict[str, Any]]:
    """All rows as they are stored, in the dataset's order, with the values of partition folders."""
    dataset = tps.open_dataset(path, **options)
    rows: list[dict[str, Any]] = []
    for file in dataset.files:
        with dataset.filesystem.open_input_file(file.path) as source, pq.ParquetFile(source) as opened:
            rows += [{**one, **file.partition} for one in opened.read().to_pylist()]
    assert len(rows) == dataset.num_rows
    return rows


def left_over(path: Path, *, folders: bool = True) -> set[str]:
    """Files, and folders unless told otherwise, beside those of the dataset."""
    dataset = tps.open_dataset(path)
    files = [Path(file.path) for file in dataset.files]
    kept = {*files, *(folder for file in files for folder in file.parents), path / "_common_metadata"}
    return {
        str(found.relative_to(path)) for found in path.rglob("*") if found not in kept and (folders or found.is_file())
    }


def signs_of(path: Path) -> list[Path]:
    """Files whose times tell whether jobs on the dataset, and commits under way, still live."""
    names = ("job.json", "alive-*", "attempt.json")
    return [*path.glob(".tfpetastorm-commit-*"), *(one for n in names for one in path.glob(f".tfpetastorm-*/{n}"))]


def age(path: Path, hours: float) -> None:
    """As if jobs on the dataset, and commits under way, had been silent for so long."""
    then = time.time() - hours * 3600
    signs = signs_of(path)
    assert signs
    for sign in signs:
        os.utime(sign, (then, then))
