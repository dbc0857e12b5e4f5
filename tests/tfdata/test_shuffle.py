"""Shuffled datasets: every row once, whole, in an order that seed and epoch alone decide."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import keras
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tfpetastorm as tps
from tfpetastorm.errors import MemoryBudgetError, OptionError

ROWS = 400


def table_of(rows):
    """A column of every kind of memory: numbers, text as a dictionary and not, bytes, ragged, nested and fixed."""
    return pa.table(
        {
            "id": np.arange(rows),
            "word": [f"word {i % 7}" for i in range(rows)],
            "name": [f"{'long ' * (i % 5)}name of row {i}" for i in range(rows)],
            "blob": pa.array([bytes([i % 256]) * (i % 3) for i in range(rows)], pa.binary()),
            "ragged": pa.array([list(range(i, i + i % 4)) for i in range(rows)], pa.list_(pa.int64())),
            "words": pa.array([[f"{i}.{j}" for j in range(i % 3)] for i in range(rows)], pa.list_(pa.string())),
            "fixed": pa.array([[i, -i] for i in range(rows)], pa.list_(pa.float32(), 2)),
        }
    )


def check_rows(batch):
    """Whether the fields of every row belong together; the ids."""
    ids = batch["id"].numpy().tolist()
    assert [x.decode() for x in batch["word"].numpy()] == [f"word {i % 7}" for i in ids]
    assert [x.decode() for x in batch["name"].numpy()] == [f"{'long ' * (i % 5)}name of row {i}" for i in ids]
    assert batch["blob"].numpy().tolist() == [bytes([i % 256]) * (i % 3) for i in ids]
    assert batch["ragged"].to_list() == [list(range(i, i + i % 4)) for i in ids]
    assert batch["words"].to_list() == [[f"{i}.{j}".encode() for j in range(i % 3)] for i in ids]
    assert batch["fixed"].numpy().tolist() == [[i, -i] for i in ids]
    return ids


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shuffle")
    table = table_of(ROWS)
    pq.write_table(table[:150], folder / "a.parquet", row_group_size=40)
    # No dictionaries here: blocks join text of both layouts.
    pq.write_table(table[150:], folder / "b.parquet", row_group_size=30, use_dictionary=False)
    return folder


def ids_of(dataset):
    return [int(i) for batch in dataset for i in batch["id"]]


@pytest.mark.parametrize("block", [7, 100, 1000])
@pytest.mark.parametrize("batch_size", [None, 16, 500])
def test_rows_come_once_and_whole(url, block, batch_size):
    dataset = tps.make_dataset(url, batch_size=batch_size, shuffle=tps.Shuffle(block_rows=block), seed=1, epochs=2)
    if batch_size is None:
        ids = [int(row["id"]) for row in dataset]
    else:
        ids = [i for batch in dataset for i in check_rows(batch)]
    first, second = ids[:ROWS], ids[ROWS:]
    assert sorted(first) == sorted(second) == list(range(ROWS))
    assert first != second
    assert first != sorted(first)


def test_rows_mix_over_row_groups(url):
    ids = ids_of(tps.make_dataset(url, fields=["id"], batch_size=100, shuffle=tps.Shuffle(block_rows=200), seed=1))
    for start in range(0, ROWS, 200):
        block = ids[start : start + 200]
        # Of some row groups of 30 or 40 rows, and each batch has rows of most of them.
        groups = {i // 10 for i in block}
        assert len({i // 10 for i in block[:100]}) > 0.8 * len(groups)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    groups=st.lists(st.integers(1, 30), min_size=1, max_size=8),
    block=st.integers(1, 120),
    batch_size=st.integers(1, 50),
    seed=st.integers(0, 3),
    row_groups=st.booleans(),
    modulus=st.integers(1, 4),
)
def test_laws_of_any_layout(tmp_path, groups, block, batch_size, seed, row_groups, modulus):
    rows = sum(groups)
    table = table_of(rows)
    with pq.ParquetWriter(tmp_path / "x.parquet", table.schema) as writer:
        start = 0
        for size in groups:
            writer.write_table(table[start : start + size], row_group_size=size)
            start += size
    options = {
        "batch_size": batch_size,
        "shuffle": tps.Shuffle(row_groups=row_groups, block_rows=block),
        "seed": seed,
        "where": lambda id: id % modulus == 0,  # noqa: A006
        "pool": "inline",
        "epochs": 2,
    }
    dataset = tps.make_dataset(tmp_path / "x.parquet", **options)
    wanted = list(range(0, rows, modulus))
    batches = [check_rows(batch) for batch in dataset]
    assert len(batches) == int(dataset.cardinality()) == tps.steps(dataset) == 2 * -(-len(wanted) // batch_size)
    ids = [i for batch in batches for i in batch]
    assert sorted(ids[: len(wanted)]) == sorted(ids[len(wanted) :]) == wanted
    again = tps.make_dataset(tmp_path / "x.parquet", **{**options, "pool": "thread"})
    assert [check_rows(batch) for batch in again] == batches


def test_no_pass_repeats_the_order_of_another(url):
    dataset = tps.make_dataset(url, fields=["id"], batch_size=64, shuffle=True, seed=2)
    orders = {tuple(ids_of(dataset)) for _ in range(4)}
    assert len(orders) == 4
    again = tps.make_dataset(url, fields=["id"], batch_size=64, shuffle=True, seed=2)
    assert {tuple(ids_of(again)) for _ in range(4)} == orders
    other = tps.make_dataset(url, fields=["id"], batch_size=64, shuffle=True, seed=3)
    assert tuple(ids_of(other)) not in orders


def test_tensorflows_global_seed_changes_nothing(url):
    orders = set()
    for seed in (1, 2):
        keras.utils.set_random_seed(seed)
        orders.add(tuple(ids_of(tps.make_dataset(url, fields=["id"], batch_size=64, shuffle=True, seed=2))))
    assert len(orders) == 1


PROGRAM = """
import hashlib, sys
import tfpetastorm as tps
digest = hashlib.sha256()
pool = tps.PoolOptions(sys.argv[2], int(sys.argv[3]))
options = {"batch_size": 32, "shuffle": tps.Shuffle(block_rows=90), "seed": 5, "epochs": 2}
for batch in tps.make_dataset(sys.argv[1], fields=["id", "name"], pool=pool, **options):
    digest.update(batch["id"].numpy().tobytes() + b"".join(batch["name"].numpy()))
print(digest.hexdigest())
"""


def test_pools_workers_and_processes_give_the_same_bytes(url):
    digest = hashlib.sha256()
    options = {"batch_size": 32, "shuffle": tps.Shuffle(block_rows=90), "seed": 5, "epochs": 2, "pool": "inline"}
    for batch in tps.make_dataset(url, fields=["id", "name"], **options):
        digest.update(batch["id"].numpy().tobytes() + b"".join(batch["name"].numpy()))
    for pool, workers in [("thread", 3), ("process", 2)]:
        command = [sys.executable, "-c", PROGRAM, str(url), pool, str(workers)]
        run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        assert run.stdout.strip() == digest.hexdigest()


def test_each_row_group_is_fetched_once_an_epoch(url):
    groups = len(tps.open_dataset(url).row_groups)
    for shuffle in [tps.Shuffle(rows=False), tps.Shuffle(block_rows=1000)]:
        dataset = tps.make_dataset(url, fields=["id", "ragged"], batch_size=64, shuffle=shuffle, seed=1, epochs=2)
        assert len(ids_of(dataset)) == 2 * ROWS
        assert tps.stats(dataset).counts.row_groups == 2 * groups
        assert tps.stats(dataset).counts.rows == 2 * ROWS


def test_a_checkpoint_in_the_middle_of_a_block_goes_on_exactly(url, tmp_path):
    def make():
        return tps.make_dataset(url, fields=["id"], batch_size=16, shuffle=tps.Shuffle(block_rows=90), seed=4, epochs=2)

    whole = [batch["id"].numpy().tolist() for batch in make()]
    iterator = iter(make())
    seen = [next(iterator)["id"].numpy().tolist() for _ in range(20)]
    path = tf.train.Checkpoint(iterator=iterator).write(str(tmp_path / "checkpoint"))
    restored = iter(make())
    tf.train.Checkpoint(iterator=restored).read(path).assert_consumed()
    assert seen + [batch["id"].numpy().tolist() for batch in restored] == whole


def test_a_block_beyond_the_budget_is_refused_before_reading_and_told_which_fits(url):
    pool = tps.PoolOptions("inline", budget_bytes=60_000)
    with pytest.raises(MemoryBudgetError, match=r"block of 400 rows.*block_rows=(\d+)") as error:
        tps.make_dataset(url, batch_size=8, shuffle=tps.Shuffle(block_rows=100_000), pool=pool)
    fits = int(str(error.value).split("block_rows=")[1].split(")")[0].replace("_", ""))
    dataset = tps.make_dataset(url, batch_size=8, shuffle=tps.Shuffle(block_rows=fits), pool=pool)
    assert sorted(ids_of(dataset)) == list(range(ROWS))


def test_a_block_in_bytes_is_resolved_in_rows(url):
    small = tps.make_dataset(url, fields=["id"], batch_size=8, shuffle=tps.Shuffle(block_bytes=8 * 50), seed=1)
    rows = tps.make_dataset(url, fields=["id"], batch_size=8, shuffle=tps.Shuffle(block_rows=50), seed=1)
    assert ids_of(small) == ids_of(rows)


@pytest.mark.parametrize("where", [None, lambda id: id % 2 == 0])  # noqa: A006
def test_a_damaged_row_is_replaced_by_another_of_its_block(tmp_path, where):
    schema = tps.Unischema(
        "Damaged",
        [
            tps.UnischemaField("id", np.int64, ()),
            tps.UnischemaField("array", np.int32, (2,), tps.NdarrayCodec()),
        ],
    )
    with tps.DatasetWriter(tmp_path / "d", schema, row_group_rows=20) as writer:
        writer.write_batch(
            {"id": np.arange(100), "array": np.stack([np.arange(100), -np.arange(100)], 1).astype(np.int32)}
        )
    (path,) = (tmp_path / "d").glob("*.parquet")
    table = pq.read_table(path)
    cells = table["array"].to_pylist()
    bad = {0, 22, 24, 98}
    table = table.set_column(1, table.schema.field("array"), [[b"?" if i in bad else c for i, c in enumerate(cells)]])
    pq.write_table(table, path, row_group_size=20)
    wanted = [i for i in range(100) if where is None or i % 2 == 0]
    options = {"batch_size": 10, "seed": 1, "where": where, "on_error": tps.Skip(budget=4), "pool": "inline"}
    for shuffle in [tps.Shuffle(rows=False), tps.Shuffle(block_rows=30)]:
        dataset = tps.make_dataset(tmp_path / "d", shuffle=shuffle, **options)
        ids = []
        for batch in dataset:
            assert (batch["array"].numpy() == np.stack([batch["id"], -batch["id"]], 1)).all()
            ids += batch["id"].numpy().tolist()
        assert len(ids) == len(wanted)
        assert set(ids) == set(wanted) - bad
        assert tps.stats(dataset).skipped_rows == 4


def test_options_that_can_not_work(url):
    for bad in [3, "yes", {"rows": True}]:
        with pytest.raises(OptionError, match="shuffle takes"):
            tps.make_dataset(url, shuffle=bad)
