"""What the library is measured against: the plainest fast code for the same job, written out.

Each returns the number of rows that it produced.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.datasets import FLOATS, STRING


def parquet_to_numpy(folder: Path, fields: Sequence[str], threads: int = 2) -> int:
    """Reads and decodes each row group into NumPy arrays, `threads` at a time, and drops them. No tf.data."""
    import pyarrow.parquet as pq

    def read(task: tuple[Path, int]) -> int:
        path, ordinal = task
        with pq.ParquetFile(path) as file:
            table = file.read_row_group(ordinal, columns=list(fields), use_threads=False)
        arrays = [column.to_numpy() for column in table.columns]
        return len(arrays[0])

    tasks = [
        (path, ordinal)
        for path in sorted(folder.glob("*.parquet"))
        for ordinal in range(pq.read_metadata(path).num_row_groups)
    ]
    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(read, tasks))


def jpegs_in_memory(folder: Path) -> list[npt.NDArray[np.uint8]]:
    """The encoded pictures of a dataset, for `decode_jpegs`."""
    import pyarrow.parquet as pq

    return [
        np.frombuffer(cell, np.uint8)
        for path in sorted(folder.rglob("*.parquet"))
        for cell in pq.read_table(path, columns=["image"])["image"].to_pylist()
    ]


def decode_jpegs(encoded: Sequence[npt.NDArray[np.uint8]], threads: int = 2) -> int:
    """Decodes pictures that lie in memory with OpenCV, `threads` at a time. No files, no batches, no tf.data."""
    import cv2

    def decode(first: int) -> int:
        return sum(len(cv2.imdecode(encoded[i], cv2.IMREAD_COLOR)) > 0 for i in range(first, len(encoded), threads))

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(decode, range(threads)))


def _features(fields: Sequence[str]) -> dict[str, Any]:
    import tensorflow as tf

    types = {STRING: tf.string} | dict.fromkeys(FLOATS, tf.float32)
    return {name: tf.io.FixedLenFeature([], types.get(name, tf.int64)) for name in fields}


def _interleaved(folder: Path) -> Any:
    """All records of all files, in runs of 1,024 from each (single ones: half as fast), in any order."""
    import tensorflow as tf

    files = [str(path) for path in sorted(folder.iterdir())]
    return tf.data.Dataset.from_tensor_slices(files).interleave(
        lambda file: tf.data.TFRecordDataset(file, buffer_size=1 << 20),
        cycle_length=len(files),
        block_length=1024,
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=False,
    )


def _parsed(records: Any, fields: Sequence[str], batch_size: int) -> Any:
    """Records batched, parsed by the batch, and prefetched."""
    import tensorflow as tf

    features = _features(fields)
    return (
        records.batch(batch_size)
        .map(lambda batch: tf.io.parse_example(batch, features), num_parallel_calls=tf.data.AUTOTUNE)
        .prefetch(tf.data.AUTOTUNE)
    )


def tfrecord_parallel(folder: Path, fields: Sequence[str], batch_size: int) -> Any:
    """TFRecord as TensorFlow's guide to performance reads it: interleaved, batched, parsed by the batch, prefetched.

    The best of the settings tried.
    """
    return _parsed(_interleaved(folder), fields, batch_size)


def tfrecord_shuffled(folder: Path, fields: Sequence[str], batch_size: int) -> Any:
    """The same through a buffer of 10,000 records, from which a random one is drawn each time."""
    return _parsed(_interleaved(folder).shuffle(10_000, seed=7), fields, batch_size)


def tfrecord_per_file(folder: Path, fields: Sequence[str], batch_size: int) -> Any:
    """The fastest way found: each file batched and parsed by itself inside the interleave, whose batches never mix.

    Few pipelines are written like this, since a batch then holds neighbours of one file only.
    """
    import tensorflow as tf

    features = _features(fields)
    files = [str(path) for path in sorted(folder.iterdir())]

    def batches(file: Any) -> Any:
        records = tf.data.TFRecordDataset(file, buffer_size=1 << 20)
        return records.batch(batch_size).map(lambda batch: tf.io.parse_example(batch, features))

    return (
        tf.data.Dataset.from_tensor_slices(files)
        .interleave(batches, cycle_length=len(files), num_parallel_calls=tf.data.AUTOTUNE, deterministic=False)
        .prefetch(tf.data.AUTOTUNE)
    )
