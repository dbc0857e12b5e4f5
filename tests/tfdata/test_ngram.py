"""N-grams and windows as a user of `make_dataset` meets them, against a plain loop over the rows."""

from __future__ import annotations

import datetime as dt
import json
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import tfpetastorm as tps
from tests.plan.window_oracle import expected_starts
from tfpetastorm.errors import DatasetWarning, OptionError

SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("t", pa.int64()),
        ("at", pa.timestamp("ms")),
        ("drive", pa.string()),
        ("name", pa.string()),
        ("tags", pa.list_(pa.int32())),
        ("even", pa.bool_()),
    ]
)


def tags_of(row):
    return list(range(row, row + row % 4))


def write(folder, layout, drives, times):
    """A file for each list of row-group sizes; ids ascend."""
    start = 0
    for number, sizes in enumerate(layout):
        with pq.ParquetWriter(folder / f"part-{number:02}.parquet", SCHEMA) as writer:
            for size in sizes:
                ids = np.arange(start, start + size)
                t = np.asarray(times[start : start + size], np.int64)
                table = {
                    "id": ids,
                    "t": t,
                    "at": (t * 1000).astype("M8[ms]"),
                    "drive": [str(drive) for drive in drives[start : start + size]],
                    "name": [f"row {i}" for i in ids],
                    "tags": [tags_of(i) for i in ids],
                    "even": ids % 2 == 0,
                }
                writer.write_table(pa.table(table, schema=SCHEMA))
                start += size


def cells(value):
    """A tensor's cells as plain lists, text decoded."""
    found = value.to_list() if isinstance(value, tf.RaggedTensor) else value.numpy().tolist()

    def plain(item):
        return [plain(part) for part in item] if isinstance(item, list) else getattr(item, "decode", lambda: item)()

    return plain(found)


def check_row(row, name, cell):
    expected = {"name": f"row {row}", "tags": tags_of(row), "even": row % 2 == 0}
    if name in expected:
        assert cell == expected[name]


def windows_of(element, ngram):
    """The first row of each sample of a batch; every cell is that of its row."""
    if isinstance(ngram, tps.Window):
        ids = cells(element["id"])
        for name, value in element.items():
            if name != "row_mask":
                assert list(value.shape)[1] == ngram.length
                for rows, found in zip(ids, cells(value), strict=True):
                    for row, cell in zip(rows, found, strict=True):
                        check_row(row, name, cell)
        assert all(rows == list(range(rows[0], rows[0] + ngram.length)) for rows in ids)
        return [rows[0] for rows in ids]
    first = min(ngram.fields)
    assert list(element) == sorted(ngram.fields)
    starts = cells(element[first]["id"])
    for offset, fields in element.items():
        assert set(fields) == set(ngram.fields[offset])
        for name, value in fields.items():
            for start, cell in zip(starts, cells(value), strict=True):
                row = start + offset - first
                assert cell == row if name == "id" else True
                check_row(row, name, cell)
    return starts


def read(url, ngram, **options):
    """One pass: the first rows of the samples of each batch."""
    options = {"pool": "inline", "batch_size": 5} | options
    return [windows_of(element, ngram) for element in tps.make_dataset(str(url), ngram=ngram, **options)]


def flat(batches):
    return [start for batch in batches for start in batch]


@st.composite
def cases(draw):
    layout = draw(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=4), min_size=1, max_size=3))
    rows = max(1, sum(map(sum, layout)))
    layout[0][0] += rows - sum(map(sum, layout))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    drives = np.cumsum(random.integers(0, 10, rows) < draw(st.sampled_from([0, 1, 2])))
    times = np.cumsum(random.choice([0, 1, 1, 2, 5], rows))
    where = draw(st.sampled_from([None, None, [("id", "not in", [3, 11])], [("id", ">", 4)], lambda id: id % 7 != 6]))  # noqa: A006
    passes = np.array([i not in (3, 11) for i in range(rows)])
    if where is None:
        passes[:] = True
    elif callable(where):
        passes = np.arange(rows) % 7 != 6
    elif where[0][1] == ">":
        passes = np.arange(rows) > 4
    common = {}
    kind = draw(st.sampled_from([None, "t", "at"]))
    if kind is not None:
        common["timestamp_field"] = kind
        threshold = draw(st.sampled_from([None, 0, 1, 2]))
        if threshold is not None:
            common["delta_threshold"] = threshold if kind == "t" else dt.timedelta(seconds=threshold)
    if draw(st.booleans()):
        common["sequence_field"] = "drive"
    if draw(st.booleans()):
        names = draw(st.sets(st.sampled_from(["t", "drive", "name", "tags", "even"]), max_size=3))
        ngram = tps.Window(draw(st.integers(1, 5)), draw(st.integers(1, 4)), fields=["id", *names], **common)
    else:
        offsets = draw(st.sets(st.integers(-3, 3), min_size=1, max_size=3))
        choice = st.sets(st.sampled_from(["t", "name", "tags"]), min_size=1, max_size=2)
        fields = {
            offset: sorted(draw(choice) | {"id"} if offset == min(offsets) else draw(choice)) for offset in offsets
        }
        if kind is not None and draw(st.booleans()):
            common["timestamp_overlap"] = False
        else:
            common["stride"] = draw(st.integers(1, 4))
        ngram = tps.NGram(fields, **common)
    wanted = ngram.resolve(tps.Unischema("S", SCHEMA_FIELDS))
    clock = times * 1000 if kind == "at" else times
    expected = expected_starts(wanted, passes, drives, clock.tolist(), [True] * rows)
    return layout, drives, times, where, ngram, expected


SCHEMA_FIELDS = [
    tps.UnischemaField("id", np.int64),
    tps.UnischemaField("t", np.int64),
    tps.UnischemaField("at", np.dtype("M8[ms]")),
    tps.UnischemaField("drive", np.str_),
    tps.UnischemaField("name", np.str_),
    tps.UnischemaField("tags", np.int32, (None,)),
    tps.UnischemaField("even", np.bool_),
]


@given(cases(), st.integers(1, 9), st.booleans())
@settings(max_examples=50)
def test_in_stored_order_they_are_those_of_a_plain_loop(case, batch_size, drop_remainder):
    layout, drives, times, where, ngram, expected = case
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), layout, drives, times)
        options = {"where": where, "batch_size": batch_size, "drop_remainder": drop_remainder}
        kept = len(expected) // batch_size * batch_size if drop_remainder else len(expected)
        if not expected:
            with pytest.warns(DatasetWarning, match="no windows"), pytest.raises(OptionError, match="no windows"):
                read(folder, ngram, **options)
            return
        if not kept:
            with pytest.raises(OptionError, match="no step"):
                read(folder, ngram, **options)
            return
        batches = read(folder, ngram, **options)
        assert flat(batches) == expected[:kept]
        assert all(len(batch) == batch_size for batch in batches[:-1])


@given(cases(), st.integers(1, 9), st.sampled_from([True, 1, 2, 7, 40]), st.integers(0, 2**62))
@settings(max_examples=20)
def test_shuffled_each_comes_once_and_every_epoch_has_its_own_order(case, batch_size, block, seed):
    layout, drives, times, where, ngram, expected = case
    if not expected:
        return
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), layout, drives, times)
        shuffle = True if block is True else tps.Shuffle(block_rows=block)
        options = {"where": where, "batch_size": batch_size, "shuffle": shuffle, "seed": seed, "epochs": 2}
        batches = read(folder, ngram, **options)
        steps = -(-len(expected) // batch_size)
        assert len(batches) == 2 * steps
        one, two = flat(batches[:steps]), flat(batches[steps:])
        assert sorted(one) == sorted(two) == expected
        assert read(folder, ngram, **{**options, "pool": "thread"}) == batches
        if len(expected) > 25 and block is True:
            assert one != two
            assert one != expected


@given(
    cases(),
    st.integers(2, 5),
    st.integers(0, 6),
    st.sampled_from(["drop", "repeat", "pad"]),
    st.sampled_from([False, 1, 3, 20]),
    st.integers(0, 2**62),
)
@settings(max_examples=25)
def test_shards_have_equal_steps_and_share_nothing(case, count, more, even, block, seed):
    layout, drives, times, where, ngram, expected = case
    batch_size = count + more
    shuffle = block and tps.Shuffle(block_rows=block)
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), layout, drives, times)
        if not expected or (even == "drop" and len(expected) < count):
            return
        steps, seen, real = set(), Counter(), Counter()
        for shard in range(count):
            dataset = tps.make_dataset(
                folder, ngram=ngram, where=where, batch_size=batch_size, shard=(shard, count), even=even,
                shuffle=shuffle, seed=seed, pool="inline",
            )  # fmt: skip
            batches = list(dataset)
            assert tps.steps(dataset) == len(batches)
            steps.add(len(batches))
            for batch in batches:
                mask = None
                if even == "pad":
                    fields = batch if isinstance(ngram, tps.Window) else batch[min(batch)]
                    mask = fields.pop("row_mask").numpy()
                starts = windows_of(batch, ngram)
                seen.update(starts)
                real.update(starts if mask is None else [s for s, m in zip(starts, mask, strict=True) if m])
        assert len(steps) == 1
        assert set(seen) <= set(expected)
        if even == "pad":
            assert real == Counter(expected)
        elif even == "drop":
            assert max(seen.values()) == 1
            assert len(expected) - len(seen) < batch_size
        else:
            assert set(seen) == set(expected)


@given(cases(), st.integers(1, 4), st.sampled_from([False, 1, 3, 20]), st.integers(0, 2**62), st.data())
@settings(max_examples=25)
def test_from_any_position_the_rest_comes(case, batch_size, block, seed, data):
    layout, drives, times, where, ngram, expected = case
    if not expected:
        return
    shuffle = block and tps.Shuffle(block_rows=block)
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), layout, drives, times)
        options = {"ngram": ngram, "where": where, "batch_size": batch_size, "shuffle": shuffle, "seed": seed}
        options |= {"pool": "inline", "epochs": 2}
        dataset = tps.make_dataset(folder, **options)
        whole = [windows_of(batch, ngram) for batch in dataset]
        step = data.draw(st.integers(0, len(whole) // 2))
        position = tps.Position.from_json(tps.position(dataset, step).to_json())
        rest = [windows_of(batch, ngram) for batch in tps.make_dataset(folder, start=position, **options)]
        assert rest[: len(whole) - step] == whole[step:]


@pytest.fixture
def drives(tmp_path):
    """60 rows: three drives of 20, in files of 25 and 35 rows, row groups of 6; time begins anew in each drive."""
    folder = tmp_path / "drives"
    folder.mkdir()
    layout = [[6, 6, 6, 7], [6, 6, 6, 6, 6, 5]]
    write(folder, layout, np.repeat(["a", "b", "c"], 20), list(range(20)) * 3)
    return folder


def test_one_at_a_time(drives):
    window = tps.Window(3, fields=["id", "tags"], sequence_field="drive")
    starts = [i for i in range(60) if i % 20 < 18]
    found = list(tps.make_dataset(drives, ngram=window, pool="inline"))
    assert [cells(element["id"]) for element in found] == [[i, i + 1, i + 2] for i in starts]
    for start, element in zip(starts, found, strict=True):
        padded = cells(element["tags"])
        assert [row[: (start + i) % 4] for i, row in enumerate(padded)] == [tags_of(start + i) for i in range(3)]
    ngram = tps.NGram({0: ["id"], 2: ["name", "tags"]}, sequence_field="drive")
    found = list(tps.make_dataset(drives, ngram=ngram, pool="inline"))
    assert [cells(element[0]["id"]) for element in found] == starts
    assert [cells(element[2]["tags"]) for element in found] == [tags_of(i + 2) for i in starts]


def test_shapes_are_known_beforehand(drives):
    window = tps.Window(3, fields=["id", "tags"])
    spec = tps.make_dataset(drives, ngram=window, batch_size=4, drop_remainder=True).element_spec
    assert spec["id"] == tf.TensorSpec([4, 3], tf.int64)
    assert spec["tags"].shape.as_list() == [4, 3, None]
    padded = tps.make_dataset(drives, ngram=window, batch_size=4, ragged={"tags": 2}).element_spec
    assert padded["tags"] == tf.TensorSpec([None, 3, 2], tf.int32)
    ngram = tps.NGram({-1: ["id"], 1: ["tags"]})
    spec = tps.make_dataset(drives, ngram=ngram, batch_size=4).element_spec
    assert list(spec) == [-1, 1]
    assert spec[-1] == {"id": tf.TensorSpec([None], tf.int64)}
    assert spec[1]["tags"].shape.as_list() == [None, None]
    one = tps.make_dataset(drives, ngram=window).element_spec
    assert one["id"] == tf.TensorSpec([3], tf.int64)


def test_with_label(drives):
    window = tps.Window(3, fields=["id", "t"], sequence_field="drive")
    features, label = next(iter(tps.make_dataset(drives, ngram=window, label="t", batch_size=2)))
    assert cells(features["id"]) == [[0, 1, 2], [1, 2, 3]]
    assert cells(label) == [[0, 1, 2], [1, 2, 3]]
    ngram = tps.NGram({-1: ["id"], 0: ["id", "t"]})
    features, label = next(
        iter(tps.make_dataset(drives, where=[("drive", "=", "a")], ngram=ngram, label="t", batch_size=2))
    )
    assert {offset: list(fields) for offset, fields in features.items()} == {-1: ["id"], 0: ["id"]}
    assert cells(label) == [1, 2]


def test_make_dataset_chooses_the_fields_of_a_window(drives):
    assert list(tps.make_dataset(drives, ngram=tps.Window(3), fields=["id", "n.*"], batch_size=2).element_spec) == [
        "id",
        "name",
    ]
    assert set(tps.make_dataset(drives, ngram=tps.Window(3), batch_size=2).element_spec) == set(SCHEMA.names)


def test_fields_that_decide_need_not_come_out(drives):
    window = tps.Window(
        4, 4, fields=["id"], sequence_field="drive", timestamp_field="at", delta_threshold=dt.timedelta(1)
    )
    dataset = tps.make_dataset(drives, ngram=window, batch_size=50)
    assert flat([windows_of(batch, window) for batch in dataset]) == list(range(0, 60, 4))
    assert list(dataset.element_spec) == ["id"]
    assert int(dataset.cardinality()) == tps.steps(dataset) == 1


def test_nulls_are_masked_row_by_row(tmp_path):
    table = pa.table({"id": range(6), "x": pa.array([0, None, 2, 3, None, 5])})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    batch = next(iter(tps.make_dataset(tmp_path, ngram=tps.Window(2), nulls="mask", batch_size=9)))
    assert cells(batch["x_valid"]) == [[True, False], [False, True], [True, True], [True, False], [False, True]]
    ngram = tps.NGram({0: ["id"], 1: ["x"]})
    batch = next(iter(tps.make_dataset(tmp_path, ngram=ngram, nulls="mask", batch_size=9)))
    assert cells(batch[1]["x_valid"]) == [False, True, True, False, True]
    assert list(batch[0]) == ["id", "id_valid"]


def test_no_windows_warn_and_raise(drives):
    with (
        pytest.warns(DatasetWarning, match="longest run has 20") as caught,
        pytest.raises(OptionError, match="run has 20"),
    ):
        tps.make_dataset(drives, ngram=tps.Window(21, sequence_field="drive"), batch_size=2)
    assert [Path(warning.filename).name for warning in caught] == ["test_ngram.py"]


def test_what_is_no_ngram_is_refused(drives):
    with pytest.raises(OptionError, match="NGram or a Window"):
        tps.make_dataset(drives, ngram=3, batch_size=2)
    with pytest.raises(OptionError, match="Did you mean 'drive'"):
        tps.make_dataset(drives, ngram=tps.NGram({0: ["drives"]}), batch_size=2)


def test_row_groups_are_read_twice_only_at_borders(drives):
    """In stored order a window that goes on in the next row group costs at most one more fetch of it."""
    dataset = tps.make_dataset(drives, ngram=tps.Window(3, fields=["id"]), batch_size=4, pool="inline")
    assert len(flat([windows_of(batch, tps.Window(3)) for batch in dataset])) == 58
    assert tps.stats(dataset).counts.row_groups <= 2 * 10


def petastorms(golden):
    folder = golden / "petastorm-0.13.1"
    expected = json.loads((folder / "drive_small.ngram.json").read_text())
    return folder / "drive_small", expected


def test_on_one_row_group_they_are_petastorms_own(golden, tmp_path):
    """petastorm forms none across row groups: each of its row groups is made a dataset here."""
    folder, expected = petastorms(golden)
    found = []
    ngram = tps.NGram(
        {offset: ["timestamp"] for offset in expected["offsets"]}, expected["delta_threshold"], "timestamp"
    )
    number = 0
    for file in sorted(folder.glob("*.parquet")):
        stored = pq.ParquetFile(file)
        for group in range(stored.num_row_groups):
            number += 1
            part = tmp_path / str(number)
            part.mkdir()
            pq.write_table(stored.read_row_group(group), part / file.name)
            dataset = tps.make_dataset(part, ngram=ngram, batch_size=7)
            for batch in dataset:
                stamps = [cells(batch[offset]["timestamp"]) for offset in expected["offsets"]]
                found += [list(window) for window in zip(*stamps, strict=True)]
    assert sorted(found) == sorted(expected["windows"])


def test_across_row_groups_there_are_all_that_petastorm_forms_and_those_at_borders(golden):
    folder, expected = petastorms(golden)
    ngram = tps.NGram(
        {offset: ["timestamp"] for offset in expected["offsets"]}, expected["delta_threshold"], "timestamp"
    )
    found = []
    for batch in tps.make_dataset(folder, ngram=ngram, batch_size=7):
        found += [
            list(w) for w in zip(*(cells(batch[offset]["timestamp"]) for offset in expected["offsets"]), strict=True)
        ]
    stamps = [int(row["timestamp"]) for row in tps.make_dataset(folder, fields=["timestamp"])]
    threes = zip(stamps, stamps[1:], stamps[2:], strict=False)
    assert found == [[a, b, c] for a, b, c in threes if b - a <= 200 and c - b <= 200]
    assert {tuple(w) for w in expected["windows"]} < {tuple(w) for w in found}


def test_fields_that_a_transform_makes(drives):
    double = tps.Transform(
        lambda columns: {**columns, "t": columns["t"] / 2, "two": columns["id"] * 2},
        edit_fields=[tps.UnischemaField("t", np.float64), tps.UnischemaField("two", np.int64)],
    )
    # Gaps are those of the stored field.
    common = {"sequence_field": "drive", "timestamp_field": "t", "delta_threshold": 1}
    options = {"transform": double, "batch_size": 60, "pool": "inline"}
    window = tps.Window(3, fields=["two", "t"], **common)
    batch = next(iter(tps.make_dataset(drives, fields=["id"], ngram=window, **options)))
    starts = [i for i in range(60) if i % 20 < 18]
    assert cells(batch["two"]) == [[2 * i, 2 * i + 2, 2 * i + 4] for i in starts]
    ngram = tps.NGram({0: ["id", "t"], 2: ["two"]}, **common)
    batch = next(iter(tps.make_dataset(drives, ngram=ngram, **options)))
    assert cells(batch[2]["two"]) == [2 * i + 4 for i in starts]
    assert cells(batch[0]["t"]) == [i % 20 / 2 for i in starts]
    with pytest.raises(OptionError, match="names no field"):
        tps.make_dataset(drives, ngram=tps.Window(3, timestamp_field="two"), **options)


@pytest.mark.parametrize("shuffle", [False, tps.Shuffle(block_rows=20)])
@pytest.mark.parametrize("pool", ["thread", "process"])
def test_pools_change_nothing(drives, pool, shuffle):
    window = tps.Window(4, 2, fields=["id", "tags"])
    expected = read(drives, window, shuffle=shuffle, seed=4)
    assert read(drives, window, shuffle=shuffle, seed=4, pool=pool) == expected


def test_parts_of_a_split_share_no_row(drives):
    window = tps.Window(2, fields=["id"])
    rows = []
    for part in ("train", "test"):
        split = tps.Split(part, {"train": 0.5, "test": 0.5}, by="row_group")
        starts = flat(read(drives, window, split=split))
        rows.append({row for start in starts for row in (start, start + 1)})
    assert not rows[0] & rows[1]
    assert rows[0] | rows[1] == set(range(60))


@pytest.mark.parametrize("shuffle", [False, True])
def test_no_window_holds_a_damaged_row(drives, shuffle):
    """Others take their places, so the number of steps holds."""
    file = drives / "part-00.parquet"
    column = pq.ParquetFile(file).metadata.row_group(1).column(SCHEMA.get_field_index("name"))
    data = bytearray(file.read_bytes())
    data[column.data_page_offset : column.data_page_offset + 20] = bytes(20)
    file.write_bytes(data)
    window = tps.Window(3, fields=["id", "name"])
    with pytest.raises(tf.errors.OpError, match=r"part-00.parquet, row group 1"):
        read(drives, window)
    dataset = tps.make_dataset(
        drives, ngram=window, batch_size=5, shuffle=shuffle, seed=3, on_error=tps.Skip(budget=6), pool="inline"
    )
    starts = flat([windows_of(batch, window) for batch in dataset])
    assert len(starts) == 58
    assert set(starts) == set(range(58)) - set(range(4, 12))


@pytest.mark.parametrize("shuffle", [False, tps.Shuffle(block_rows=11)])
def test_other_shards_go_on_where_these_left_off(drives, shuffle):
    window = tps.Window(3, fields=["id"], sequence_field="drive")

    def made(count, shard, **options):
        return tps.make_dataset(
            drives, ngram=window, batch_size=6, shard=(shard, count), even="drop", shuffle=shuffle, seed=5,
            pool="inline", **options,
        )  # fmt: skip

    first = [made(3, shard) for shard in range(3)]
    seen = [flat([windows_of(batch, window) for batch in dataset.take(4)]) for dataset in first]
    position = tps.position(first[0], 4)
    assert all(tps.position(dataset, 4) == position for dataset in first)
    rest = [made(2, shard, start=position) for shard in range(2)]
    assert tps.steps(rest[0]) == tps.steps(rest[1])
    seen += [flat([windows_of(batch, window) for batch in dataset]) for dataset in rest]
    # 54 windows: 24 from the three shards, the others from the two.
    assert sorted(flat(seen)) == [i for i in range(60) if i % 20 < 18]


def test_a_position_under_other_windows_is_refused(drives):
    options = {"fields": ["id"], "batch_size": 6, "seed": 5}
    position = tps.position(tps.make_dataset(drives, ngram=tps.Window(3), **options), 2)
    for other in (None, tps.Window(4), tps.Window(3, 2), tps.NGram({0: ["id"], 2: ["id"]})):
        with pytest.raises(OptionError, match="ngram"):
            tps.make_dataset(drives, ngram=other, start=position, **options)


def test_an_iterator_is_restored(drives, tmp_path):
    options = {"ngram": tps.Window(3, fields=["id", "tags"]), "batch_size": 6, "seed": 5, "pool": "inline"}
    options["shuffle"] = tps.Shuffle(block_rows=11)
    iterator = iter(tps.make_dataset(drives, **options))
    for _ in range(3):
        next(iterator)
    path = tf.train.Checkpoint(iterator=iterator).save(str(tmp_path / "checkpoint"))
    rest = [windows_of(batch, options["ngram"]) for batch in iterator]
    again = iter(tps.make_dataset(drives, **options))
    tf.train.Checkpoint(iterator=again).restore(path)
    assert [windows_of(batch, options["ngram"]) for batch in again] == rest
