"""The benchmarks' own parts: a wrong figure is worse than none."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import drive, memory
from benchmarks.datasets import FLOATS, NUMERIC, STRING, tabular_columns
from benchmarks.measure import Outcome, Pass, Round, alternate
from benchmarks.pictures import photo
from benchmarks.tfrecord import encode_examples


@given(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=40), st.integers(0, 2**32 - 1))
def test_encoded_examples_are_what_tensorflow_would_write(integers: list[int], seed: int) -> None:
    import tensorflow as tf

    random = np.random.default_rng(seed)
    columns: dict[str, Any] = {
        "an_integer": np.array(integers, np.int64),
        "small": np.arange(len(integers), dtype=np.int32),
        "a_float": random.standard_normal(len(integers), np.float32),
        "text": np.array(["", "red", "grün", "x" * 50])[random.integers(0, 4, len(integers))],
    }
    encoded = list(encode_examples(columns))
    assert len(encoded) == len(integers)
    for i, example in enumerate(encoded):
        expected = tf.train.Example()
        feature = expected.features.feature
        feature["an_integer"].int64_list.value.append(integers[i])
        feature["small"].int64_list.value.append(i)
        feature["a_float"].float_list.value.append(columns["a_float"][i])
        feature["text"].bytes_list.value.append(str(columns["text"][i]).encode())
        assert tf.train.Example.FromString(example) == expected
        assert len(example) == expected.ByteSize()


def test_tfrecord_references_give_every_row_that_was_stored(tmp_path: Path) -> None:
    import tensorflow as tf

    from benchmarks.references import tfrecord_parallel, tfrecord_per_file, tfrecord_shuffled

    fields = [*NUMERIC, STRING]
    stored = [tabular_columns(file, 300) for file in range(2)]
    for file, columns in enumerate(stored):
        with tf.io.TFRecordWriter(str(tmp_path / f"{file}.tfrecord")) as writer:
            for example in encode_examples(columns):
                writer.write(example)
    expected = {name: np.concatenate([columns[name] for columns in stored]) for name in fields}
    for reference in (tfrecord_parallel, tfrecord_per_file, tfrecord_shuffled):
        batches = list(reference(tmp_path, fields, 64).as_numpy_iterator())
        read = {name: np.concatenate([batch[name] for batch in batches]) for name in fields}
        order = np.argsort(read["id"])
        for name in fields:
            want = expected[name].astype("S") if name == STRING else expected[name]
            np.testing.assert_array_equal(read[name][order].astype(want.dtype), want)


def test_columns_depend_on_the_file_alone() -> None:
    first, again, other = tabular_columns(0, 1000), tabular_columns(0, 1000), tabular_columns(1, 1000)
    assert all((first[name] == again[name]).all() for name in first)
    assert (first["f0"] != other["f0"]).any()
    np.testing.assert_array_equal(other["id"], np.arange(1000, 2000))
    np.testing.assert_array_equal(first["label"], first["f0"] + first["f1"] > 0)
    assert {str(first[name].dtype) for name in FLOATS} == {"float32"}


def test_pictures_take_a_photographs_share_of_bytes() -> None:
    import cv2

    sizes = []
    for number in range(8):
        picture = photo(number)
        assert picture.shape == (224, 224, 3)
        _, encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 90])
        sizes.append(len(encoded))
    # Photographs of this size and quality take 15 to 45 kB; noise takes 80, flat colours 2.
    assert 15_000 < np.mean(sizes) < 45_000


def test_the_drive_set_is_runs_with_gaps_whose_pictures_differ_a_little() -> None:
    import cv2

    rows = [drive.row(number) for number in range(590, 610)]
    schema = drive.schema()
    assert [row["run_id"] for row in rows] == ["run_000"] * 10 + ["run_001"] * 10
    for name in ("camera", "lidar", "imu"):
        assert {row[name].shape for row in rows} == {schema.fields[name].shape}
        assert {row[name].dtype for row in rows} == {np.dtype(schema.fields[name].numpy_dtype)}
    times = np.array([drive.row(number)["timestamp"] for number in range(600)])
    steps = np.diff(times)
    assert 0 < (steps > drive.STEP).mean() < 0.05
    assert steps.min() == drive.STEP
    # What makes PNG slow: neither noise (57 kB) nor flat colours (1 kB).
    sizes = [len(cv2.imencode(".png", row["camera"])[1]) for row in rows]
    assert 20_000 < np.mean(sizes) < 40_000
    assert 0 < np.abs(rows[1]["camera"].astype(int) - rows[0]["camera"]).mean() < 30
    assert {row["label"] is None for row in rows} == {True, False}


def test_rounds_alternate_who_goes_first_and_the_first_is_not_counted() -> None:
    calls: list[str] = []

    def side(name: str, seconds: float) -> Pass:
        calls.append(name)
        return Pass(100, seconds)

    rounds = list(alternate(lambda: side("ours", 2.0), lambda: side("theirs", 4.0), 3))
    assert calls == ["theirs", "ours", "ours", "theirs", "theirs", "ours", "ours", "theirs"]
    assert rounds == [Round(50.0, 25.0)] * 3


def test_the_ratio_is_the_median_of_rounds() -> None:
    rounds = tuple(Round(ours, reference) for ours, reference in [(10, 10), (30, 10), (8, 4), (1, 100), (90, 10)])
    outcome = Outcome("x", "rows", 2.5, rounds)
    assert outcome.ratio == 2.0
    assert not outcome.reached
    assert Outcome("x", "rows", 2.0, rounds).reached


def test_the_steady_rate_leaves_the_start_out() -> None:
    one = Pass(rows=1100, seconds=3.0, first_batch_rows=100, first_batch_seconds=1.0)
    assert one.steady_rate == 500.0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_pss_counts_children_and_shared_memory_once() -> None:
    # A child that shares 40 MB with its parent and holds 60 MB of its own.
    code = (
        "import mmap, os, sys, time\n"
        "shared = mmap.mmap(-1, 40_000_000); shared.write(b'x' * 40_000_000)\n"
        "print('before', flush=True); sys.stdin.readline()\n"
        "if os.fork() == 0:\n"
        "    own = bytearray(b'y' * 60_000_000); print('after', len(shared[::4096]), flush=True); time.sleep(60)\n"
        "os.wait()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        child.stdout.readline()
        before = memory.tree_pss(child.pid)
        child.stdin.write("\n")
        child.stdin.flush()
        child.stdout.readline()
        time.sleep(0.1)
        grown = memory.tree_pss(child.pid) - before
    finally:
        os.killpg(child.pid, 9)
        child.communicate()
    assert before > 40
    # 60 MB of its own and a share of the interpreter; the 40 that both map are not counted again.
    assert 55 < grown < 85
