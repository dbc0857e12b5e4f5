"""Pools, worker counts and budgets decide when things are read, never what comes out."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

import tfpetastorm as tps

POOLS = [("inline", 1), ("thread", 1), ("thread", 2), ("thread", 5), ("process", 1), ("process", 2), ("process", 5)]


def digest(dataset):
    """A hash of every byte of every element, in order."""
    total = hashlib.sha256()
    for element in dataset:
        for tensor in tf.nest.flatten(element, expand_composites=True):
            array = tensor.numpy()
            total.update(f"{array.dtype}{array.shape}".encode())
            total.update(b"\0".join(array.reshape(-1).tolist()) if array.dtype == object else array.tobytes())
    return total.hexdigest()


@pytest.fixture(scope="session")
def numbers(tmp_path_factory) -> Path:
    """4,000 rows in 40 row groups of 100, with strings that repeat and strings that don't."""
    folder = tmp_path_factory.mktemp("numbers")
    ids = np.arange(4000)
    table = pa.table(
        {"id": ids, "x": ids * 0.5, "kind": [f"k{i % 3}" for i in ids], "name": [f"name {i}" for i in ids]}
    )
    pq.write_table(table, folder / "x.parquet", row_group_size=100, use_dictionary=["kind"])
    return folder


@pytest.mark.parametrize("name", ["types", "drive_small", "plain"])
def test_pools_and_worker_counts_give_identical_bytes(golden, name):
    url = golden / "petastorm-0.13.1" / name
    digests = {
        digest(
            tps.make_dataset(
                url, nulls="mask", batch_size=7, epochs=2, shuffle=True, seed=4, pool=tps.PoolOptions(k, w)
            )
        )
        for k, w in POOLS
    }
    assert len(digests) == 1


@pytest.mark.parametrize("pool", ["inline", "thread", "process"])
def test_budgets_and_prefetch_do_not_change_the_epoch(numbers, pool):
    """Also with a budget that holds one task at a time: what is awaited is always admitted."""
    shuffle = tps.Shuffle(block_rows=50)
    expected = digest(tps.make_dataset(numbers, batch_size=64, shuffle=shuffle, seed=4, pool="inline", epochs=2))
    tight = tps.make_dataset(
        numbers, batch_size=64, shuffle=shuffle, seed=4, pool=tps.PoolOptions(pool, 2, budget_bytes=40_000), epochs=2
    )
    assert digest(tight.prefetch(5)) == expected


def test_looking_ahead_crosses_the_end_of_an_epoch_and_reads_nothing_twice(numbers):
    dataset = tps.make_dataset(numbers, fields=["id"], batch_size=100, epochs=3, shuffle=True, seed=1)
    assert len(list(dataset)) == 120
    stats = tps.stats(dataset)
    assert stats.counts.row_groups == 120
    assert (stats.pool.tasks, stats.pool.dropped) == (120, 0)
    # A single pass reads what it gives, and no more.
    once = tps.make_dataset(numbers, fields=["id"], batch_size=100)
    list(once)
    time.sleep(0.1)
    assert tps.stats(once).counts.row_groups == 40


def test_slices_of_a_row_group_share_one_fetch(tmp_path):
    rows = 40
    table = pa.table(
        {"id": np.arange(rows), "wide": pa.array(list(np.zeros((rows, 1_000_000))), pa.list_(pa.float64(), 1_000_000))}
    )
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=20)
    dataset = tps.make_dataset(tmp_path, nulls={"id": 0}, batch_size=4, pool=tps.PoolOptions("thread", 2))
    ids = [int(i) for batch in dataset for i in batch["id"]]
    assert ids == list(range(rows))
    stats = tps.stats(dataset)
    assert stats.pool.tasks > 4
    assert stats.counts.row_groups == 2


def test_a_killed_worker_costs_nothing_but_time(numbers):
    expected = digest(tps.make_dataset(numbers, batch_size=64, shuffle=True, seed=4))

    def slow(columns):
        time.sleep(0.02)
        return columns

    dataset = tps.make_dataset(
        numbers, batch_size=64, shuffle=True, seed=4, transform=slow, pool=tps.PoolOptions("process", 2)
    )
    killed = []

    def kill():
        deadline = time.monotonic() + 60
        while len(killed) < 3 and time.monotonic() < deadline:
            workers = [child for child in psutil.Process().children() if "pool.worker" in " ".join(child.cmdline())]
            if workers and workers[0].pid not in killed:
                killed.append(workers[0].pid)
                workers[0].send_signal(signal.SIGKILL)
            time.sleep(0.15)

    killer = threading.Thread(target=kill)
    killer.start()
    assert digest(dataset) == expected
    killer.join()
    assert killed


def test_workers_killed_while_idle_are_replaced(numbers):
    dataset = tps.make_dataset(numbers, batch_size=64, shuffle=True, seed=4, pool=tps.PoolOptions("process", 5))
    iterator = iter(dataset)
    first = next(iterator)["id"].numpy().tolist()
    time.sleep(0.5)  # until look-ahead is full and every worker idle
    workers = [child for child in psutil.Process().children() if "pool.worker" in " ".join(child.cmdline())]
    assert len(workers) >= 5
    for worker in workers:
        worker.send_signal(signal.SIGKILL)
    psutil.wait_procs(workers, timeout=5)
    rest = [int(i) for batch in iterator for i in batch["id"]]
    expected = tps.make_dataset(numbers, fields=["id"], batch_size=4000, shuffle=True, seed=4)
    assert first + rest == next(iter(expected))["id"].numpy().tolist()


def test_a_task_that_kills_its_worker_again_and_again_is_an_error_that_names_it(numbers):
    def deadly(columns):
        if 250 in columns["id"]:
            os.kill(os.getpid(), signal.SIGKILL)
        return columns

    dataset = tps.make_dataset(numbers, fields=["id"], batch_size=64, transform=deadly, pool="process")
    with pytest.raises(tf.errors.OpError, match=r"Rows 0 to 99 of row group 2 killed their worker process 3 times"):
        list(dataset)


def test_an_error_in_a_worker_process_comes_out_whole(numbers):
    def fails(columns):
        raise KeyError("no such thing")

    dataset = tps.make_dataset(numbers, fields=["id"], batch_size=64, transform=fails, pool="process")
    with pytest.raises(tf.errors.OpError, match=r"TransformError.*no such thing.*x\.parquet"):
        list(dataset)


def test_workers_import_no_tensorflow(numbers):
    def look(columns):
        import sys

        return {"id": np.full(len(columns["id"]), "tensorflow" in sys.modules, np.int64)}

    dataset = tps.make_dataset(numbers, fields=["id"], batch_size=4000, transform=look, pool="process")
    assert next(dataset.as_numpy_iterator())["id"].sum() == 0


def test_an_unguarded_script_may_use_processes(numbers, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import numpy as np, tfpetastorm as tps\n"
        "print('once')\n"
        "offset = 5\n"
        "def shift(columns):\n"
        "    return {'id': columns['id'] + offset}\n"
        f"dataset = tps.make_dataset({str(numbers)!r}, fields=['id'], where=lambda id: id % 2 == 0, transform=shift,\n"
        "                           batch_size=500, pool='process')\n"
        "print(sum(int(batch['id'].sum()) for batch in dataset.as_numpy_iterator()))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(tps.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=120, check=True, env=environment
    )
    assert done.stdout.split() == ["once", str(sum(i + 5 for i in range(0, 4000, 2)))]
