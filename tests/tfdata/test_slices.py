"""Row groups so large that they are read in slices: rows, filters, splits and damage across their borders."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import tfpetastorm as tps
from tfpetastorm.read.fetch import Fetcher, Source

ROWS, GROUP = 96, 48


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Two row groups, each taken for about 170 MB decoded as its images are of any size: read in three slices."""
    path = tmp_path_factory.mktemp("large") / "dataset"
    schema = tps.Unischema(
        "Large",
        [
            tps.UnischemaField("id", np.int64),
            tps.UnischemaField("name", np.str_, nullable=True),
            tps.UnischemaField("image", np.uint8, (None, None, 3), tps.CompressedImageCodec("png")),
            tps.UnischemaField("tags", np.int16, (None,), nullable=True),
            tps.UnischemaField("pair", np.float32, (2,), tps.NdarrayCodec()),
        ],
    )
    random = np.random.default_rng(0)
    noise = random.integers(0, 256, (320, 320, 3), np.uint8)
    with tps.DatasetWriter(path, schema, row_group_rows=GROUP) as writer:
        for i in range(ROWS):
            writer.write(
                {
                    "id": i,
                    "name": None if i % 5 == 0 else f"n{i % 7}",
                    "image": noise[: 319 - i % 3, i:],
                    "tags": None if i % 4 == 0 else np.arange(i % 3, dtype=np.int16),
                    "pair": np.array([i, -i], np.float32),
                }
            )
    return path


def check(batch):
    """Every row's fields belong together."""
    ids = batch["id"].numpy().tolist()
    assert batch["image"].row_lengths().numpy().tolist() == [319 - i % 3 for i in ids]
    assert batch["name"].numpy().tolist() == [b"" if i % 5 == 0 else f"n{i % 7}".encode() for i in ids]
    assert batch["name_valid"].numpy().tolist() == [i % 5 != 0 for i in ids]
    assert batch["tags"].to_list() == [[] if i % 4 == 0 else list(range(i % 3)) for i in ids]
    assert batch["pair"].numpy().tolist() == [[i, -i] for i in ids]


def ids_of(dataset):
    return [int(i) for batch in dataset for i in batch["id"]]


@pytest.mark.parametrize("pool", ["inline", "thread", "process"])
def test_slices_come_whole_in_order_and_are_fetched_once(large, pool):
    options = tps.PoolOptions(pool, workers=2)
    dataset = tps.make_dataset(large, nulls="mask", batch_size=7, pool=options)
    ids = []
    for batch in dataset:
        check(batch)
        ids += [int(i) for i in batch["id"]]
    assert ids == list(range(ROWS))
    counts = tps.stats(dataset).counts
    # Row groups are not fetched for each slice; a second worker may have to at a border.
    assert 2 <= counts.row_groups <= (4 if pool == "process" else 2)
    assert tps.stats(dataset).pool.tasks == 6
    assert counts.cells == 2 * ROWS


def test_filters_and_splits_number_rows_in_the_row_group(large):
    where = [("name", "in", ["n1", "n3"])]
    expected = [i for i in range(ROWS) if i % 5 and i % 7 in (1, 3)]
    dataset = tps.make_dataset(large, where=where, nulls="mask", batch_size=5)
    ids = []
    for batch in dataset:
        check(batch)
        ids += [int(i) for i in batch["id"]]
    assert ids == expected
    assert tps.stats(dataset).counts.cells == 2 * len(expected)
    function = tps.make_dataset(large, where=lambda pair: pair[:, 1] < -50, nulls="mask", batch_size=5)
    assert ids_of(function) == list(range(51, ROWS))
    halves = [tps.Split(part, {"a": 0.5, "b": 0.5}) for part in "ab"]
    parts = [ids_of(tps.make_dataset(large, split=half, nulls="mask", batch_size=5)) for half in halves]
    # Slices depend on the fields that are read; which part a row belongs to does not.
    assert parts == [ids_of(tps.make_dataset(large, fields=["id"], split=half, batch_size=5)) for half in halves]
    assert sorted(parts[0] + parts[1]) == list(range(ROWS))


def test_an_error_in_a_slice_tells_the_row_of_the_row_group(large):
    def edit(columns):
        if 40 in columns["id"]:
            raise ValueError("forty")
        return columns

    with pytest.raises(tf.errors.OpError, match=r"forty.*row group 0, rows 32 to 47"):
        ids_of(tps.make_dataset(large, transform=edit, nulls="mask", batch_size=5))
    with pytest.raises(tf.errors.OpError, match=r"null.*'tags'.*row group 0, row 0\b"):
        ids_of(tps.make_dataset(large, nulls={"name": ""}, batch_size=5))


def test_what_is_at_hand_is_let_go_of_with_the_last_slice(large):
    """Whole row groups are outside the budget: no more of them may be kept than slices are being cut from."""
    stored = tps.open_dataset(large)
    source = Source(stored.filesystem, stored.inventory, stored.column_paths, stored.partition_fields)
    fetcher = Fetcher(source)
    fields = [stored.schema.fields["id"], stored.schema.fields["tags"]]
    for row_group in (0, 1, 0):
        spent = []
        for _ in range(3):
            arrays, cost = fetcher.fetch(row_group, fields, keep=True, rows=16)
            spent.append(cost)
            assert len(arrays["id"]) == GROUP
            assert fetcher.at_hand == (1 if len(spent) < 3 else 0)
        assert spent[0] > 0
        assert spent[1:] == [0, 0]
