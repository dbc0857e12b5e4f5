"""`make_dataset(start=position)` goes on just where a run was, under as many shards as there are then."""

from __future__ import annotations

import copy
import pickle
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import tfpetastorm as tps
from tfpetastorm.errors import OptionError, PositionError


def write(folder: Path, groups: list[int]) -> int:
    """A file with row groups of these sizes; ids ascend, `part` is the id modulo 3. Gives the rows."""
    schema = pa.schema([("id", pa.int64()), ("part", pa.int32())])
    start = 0
    with pq.ParquetWriter(folder / "x.parquet", schema) as writer:
        for size in groups:
            ids = np.arange(start, start + size)
            writer.write_table(pa.table({"id": ids, "part": ids % 3}, schema=schema))
            start += size
    return start


@pytest.fixture(scope="module")
def url(tmp_path_factory) -> Path:
    """1,000 rows in 100 row groups."""
    folder = tmp_path_factory.mktemp("resume")
    write(folder, [10] * 100)
    return folder


SHUFFLE = tps.Shuffle(block_rows=40)


def make(url: Any, **options: Any) -> Any:
    return tps.make_dataset(
        str(url), **{"fields": ["id"], "batch_size": 16, "shuffle": SHUFFLE, "seed": 5, "pool": "inline", **options}
    )


def ids_of(batch: Any) -> list[int]:
    # With a label it is a tuple, with an NGram a dict by offset.
    features = batch[0] if isinstance(batch, tuple) or "id" not in batch else batch
    return features["id"].numpy().ravel().tolist()


def read(dataset: Any) -> list[list[int]]:
    return [ids_of(batch) for batch in dataset]


OPTIONS: dict[str, dict[str, Any]] = {
    "shuffled": {},
    "as stored": {"shuffle": False},
    "whole row groups": {"shuffle": tps.Shuffle(rows=False)},
    "where": {"where": [("part", "!=", 1)]},
    "split": {"split": ("train", 0.7)},
    "windows": {"ngram": tps.Window(3)},
    "n-grams of where": {"ngram": tps.NGram({0: ["id"], 1: ["id"]}), "where": [("part", "!=", 1)]},
    "rows": {"batch_size": None},
    "process pool": {"pool": "process"},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_the_rest_of_the_epoch_comes_and_then_whole_ones(url, options):
    whole = read(make(url, epochs=3, **options))
    steps = len(whole) // 3
    for step in (0, 1, steps // 2, steps - 1):
        position = tps.Position.from_json(tps.position(make(url, **options), step).to_json())
        assert (position.epoch, position.steps) == (0, step)
        dataset = make(url, start=position, epochs=2, **options)
        assert tps.steps(dataset) == 2 * steps - step
        assert read(dataset) == whole[step : 2 * steps]
        # Later passes have the epochs after those.
        assert read(dataset)[:steps] == whole[2 * steps :]


def test_positions_count_on_over_epochs_and_over_one_another(url):
    whole = read(make(url, epochs=4))
    steps = len(whole) // 4
    run = make(url, epochs=3)
    end = tps.position(run, steps)
    assert (end.epoch, end.segments) == (1, ())
    assert read(make(url, start=end)) == whole[steps : 2 * steps]
    later = tps.position(run, 2 * steps + 7)
    assert (later.epoch, later.steps) == (2, 7)
    dataset = make(url, start=later)
    assert read(dataset) == whole[2 * steps + 7 : 3 * steps]
    assert tps.position(dataset) == later
    assert tps.position(make(url, start=later, epochs=2), steps) == tps.position(make(url, epochs=4), 3 * steps + 7)
    # Positions of a run that was gone on are those of one that never stopped.
    assert tps.position(dataset, 3) == tps.position(run, 2 * steps + 10)
    with pytest.raises(OptionError, match=f"{steps - 7} steps"):
        tps.position(dataset, steps - 6)
    endless = make(url, start=later, epochs=None)
    assert read(endless.take(steps)) == whole[2 * steps + 7 : 3 * steps + 7]
    assert (tps.steps(endless), tps.position(endless, 10 * steps).epoch) == (None, 12)


def test_each_pass_is_the_next_epoch(url):
    whole = read(make(url, epochs=3))
    steps = len(whole) // 3
    dataset = make(url, start=tps.position(make(url), 40))
    passes = [read(dataset) for _ in range(3)]
    assert passes == [whole[40:steps], whole[steps : 2 * steps], whole[2 * steps :]]


@settings(max_examples=25)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=20),
    st.one_of(st.just(False), st.builds(lambda n: tps.Shuffle(block_rows=n), st.integers(1, 60))),
    st.sampled_from([None, [("part", "!=", 1)]]),
    st.lists(st.integers(5, 24), min_size=3, max_size=3),
    st.data(),
)
def test_four_shards_then_three_then_five(groups, shuffle, where, sizes, data):
    options = {"shuffle": shuffle, "where": where, "even": "drop"}
    counts = [4, 3, 5]
    with tempfile.TemporaryDirectory() as folder:
        rows = write(Path(folder), groups)
        expected = {i for i in range(rows) if where is None or i % 3 != 1}
        if len(expected) < 5:
            return
        seen: Counter[int] = Counter()
        position, epoch = None, 0
        for count, batch_size in zip(counts, sizes, strict=True):
            shards = [
                make(folder, shard=(i, count), batch_size=batch_size, start=position, **options) for i in range(count)
            ]
            [steps] = {tps.steps(shard) for shard in shards}
            if tps.position(shards[0]).epoch > epoch:
                # Too little was left for a step.
                break
            assert steps >= 1
            made = steps if count == 5 else data.draw(st.integers(0, steps - 1))
            passes = [read(shard if made == steps else shard.take(made)) for shard in shards]
            assert [len(batches) for batches in passes] == [made] * count
            for step in zip(*passes, strict=True):
                assert all(step)
                assert sum(map(len, step)) <= batch_size
            seen.update(i for batches in passes for batch in batches for i in batch)
            [position] = {tps.position(shard, made).to_json() for shard in shards}
            position = tps.Position.from_json(position)
    assert max(seen.values(), default=1) == 1, "a row came twice"
    assert set(seen) <= expected
    # What fills no step of all five is left out, and no more.
    assert len(expected) - len(seen) < 5


def test_under_another_number_of_shards_none_is_lost_if_the_tail_is_padded(tmp_path):
    rows = write(tmp_path, [10] * 11)
    first = [make(tmp_path, shard=(i, 4), even="pad") for i in range(4)]
    seen = Counter(i for shard in first for ids in read(shard.take(3)) for i in ids)
    rest = [make(tmp_path, shard=(i, 3), even="pad", start=tps.position(first[0], 3)) for i in range(3)]
    for shard in rest:
        for batch in shard:
            seen.update(batch["id"].numpy()[batch["row_mask"].numpy()].tolist())
    assert seen == Counter(range(rows))


@pytest.mark.parametrize("name", ["shuffled", "as stored", "where", "windows", "n-grams of where"])
def test_what_was_consumed_is_not_read_again(url, name):
    """100 row groups; the samples of a block, and of the blocks that are made ahead of need, are in few of them."""
    options = OPTIONS[name]
    steps = tps.steps(make(url, **options))
    fetched = []
    for step in (0, steps // 3, steps // 2, steps - 4):
        dataset = make(url, start=tps.position(make(url, **options), step), **options)
        assert tps.stats(dataset).counts.row_groups == 0
        next(iter(dataset))
        fetched.append(tps.stats(dataset).counts.row_groups)
    assert min(fetched) >= 1
    groups_a_block = 40 * 100 / (16 * steps) + 2
    assert max(fetched) <= 4 * groups_a_block
    whole = make(url, **options)
    read(whole)
    last = make(url, start=tps.position(make(url, **options), steps - 1), **options)
    assert len(read(last)) == 1
    assert tps.stats(last).counts.row_groups <= tps.stats(whole).counts.row_groups // 5


def half(columns):
    return columns


def other(columns):
    return columns


def old(**options: Any) -> dict[str, Any]:
    return {"fields": ["id", "part"], **options}


@pytest.mark.parametrize(
    ("was", "now", "message"),
    [
        (old(), {"fields": ["id"]}, r"fields \(was \['id', 'part'\], is \['id'\]\)"),
        (old(), old(where=[("part", "!=", 1)]), r"where \(was None"),
        (old(where=[("part", "!=", 1)]), old(where=[("part", "!=", 2)]), "where"),
        (old(), old(split=("train", 0.9)), "split"),
        (old(split=("train", 0.9)), old(split=("test", 0.1)), "split"),
        (old(), old(shuffle=False), "shuffle"),
        (old(), old(shuffle=tps.Shuffle(block_rows=41)), r"shuffle .*'block_rows': 40.*'block_rows': 41"),
        (old(), old(seed=6), r"seed \(was 5, is 6\)"),
        (old(), old(ngram=tps.Window(2)), "ngram"),
        (old(transform=half), old(transform=other), r"transform \(was 'half', is 'other'\)"),
    ],
)
def test_what_changed_is_named(url, was, now, message):
    position = tps.position(make(url, **was), 3)
    with pytest.raises(PositionError, match=message):
        make(url, start=position, **now)
    # What does not decide the order may change.
    assert read(make(url, start=position, **{**was, "pool": "thread", "label": "part"}))


@pytest.mark.parametrize("change", ["rows", "one file more", "written anew"])
def test_a_dataset_that_changed_is_refused(tmp_path, change):
    write(tmp_path, [10] * 5)
    position = tps.position(make(tmp_path), 2)
    if change == "rows":
        write(tmp_path, [10] * 4 + [11])
    elif change == "written anew":
        table = pq.read_table(tmp_path / "x.parquet")
        pq.write_table(table.take(list(range(49, -1, -1))), tmp_path / "x.parquet", row_group_size=10)
    else:
        shutil.copy(tmp_path / "x.parquet", tmp_path / "y.parquet")
    with pytest.raises(PositionError, match="the dataset's files"):
        make(tmp_path, start=position)


def test_a_function_that_judges_otherwise_than_before_is_noticed(url):
    def judge(limit):
        return lambda id: id > limit  # noqa: A006

    position = tps.position(make(url, where=judge(10)), 3)
    with pytest.raises(PositionError, match="how many rows of each row group come"):
        make(url, where=judge(11), start=position)
    assert read(make(url, where=judge(10), start=position))


def test_a_position_can_be_copied_and_pickled(url):
    position = tps.position(make(url, where=[("part", "!=", 1)]), 3)
    assert pickle.loads(pickle.dumps(position)) == copy.deepcopy(position) == position
    assert len({position, copy.copy(position)}) == 1


def test_the_seed_may_come_with_the_position(url):
    run = make(url, seed=None, epochs=2)
    whole = read(run)
    position = tps.position(run, 10)
    assert read(make(url, seed=None, start=position, epochs=2)) == whole[10:]
    with pytest.raises(OptionError, match="epoch= must be left out"):
        make(url, start=position, epoch=3)


@pytest.mark.parametrize("steps", [3, 23, 30])
def test_an_iterator_from_a_position_is_checkpointed_and_restored(url, tmp_path, steps):
    """23 steps are left of the first epoch."""
    dataset = make(url, start=tps.position(make(url), 40), epochs=2)
    iterator = iter(dataset)
    begun = [ids_of(next(iterator)) for _ in range(steps)]
    saved = tf.train.Checkpoint(iterator=iterator).save(tmp_path / "a")
    whole = read(make(url, epochs=2))[40:]
    again = iter(make(url, start=tps.position(make(url), 40), epochs=2))
    tf.train.Checkpoint(iterator=again).restore(saved).assert_consumed()
    assert begun + [ids_of(batch) for batch in again] == whole


@pytest.mark.parametrize(
    "text",
    ["", "{}", "[]", '{"format": "tfpetastorm.position.v9"}', '{"format": "tfpetastorm.position.v1", "seed": 1}'],
)
def test_what_is_no_position_is_refused(text):
    with pytest.raises(PositionError):
        tps.Position.from_json(text)
