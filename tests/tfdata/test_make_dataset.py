"""What `make_dataset` gives, through the public API."""

from __future__ import annotations

from decimal import Decimal
from itertools import chain

import keras
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

import tfpetastorm as tps
from tfpetastorm.errors import MemoryBudgetError, OptionError


def ids_of(dataset, name="id"):
    batches = [batch[name] if isinstance(batch, dict) else batch[0][name] for batch in dataset.as_numpy_iterator()]
    return [int(i) for i in np.concatenate([np.atleast_1d(batch) for batch in batches])]


def test_rows_come_in_stored_order_with_exact_cardinality(plain):
    dataset = tps.make_dataset(plain, fields=["id", "name"], batch_size=32)
    assert ids_of(dataset) == list(range(240))
    assert int(dataset.cardinality()) == len(list(dataset)) == tps.steps(dataset) == 8
    assert dataset.element_spec["id"] == tf.TensorSpec([None], tf.int64)
    last = list(dataset.as_numpy_iterator())[-1]
    assert last["name"].tolist() == [f"row {i}".encode() for i in range(224, 240)]


def test_drop_remainder_gives_a_static_batch_dimension(plain):
    dataset = tps.make_dataset(plain, fields=["id"], batch_size=32, drop_remainder=True)
    assert dataset.element_spec["id"] == tf.TensorSpec([32], tf.int64)
    assert ids_of(dataset) == list(range(224))
    assert int(dataset.cardinality()) == 7


def test_without_a_batch_size_each_row_is_an_element(plain):
    dataset = tps.make_dataset(plain, fields=["id", "tags"])
    rows = list(dataset.as_numpy_iterator())
    assert int(dataset.cardinality()) == len(rows) == 240
    assert [row["tags"].tolist() for row in rows[:5]] == [[], [0], [0, 1], [0, 1, 2], []]
    assert dataset.element_spec["tags"] == tf.TensorSpec([None], tf.int64)


def test_fields_by_name_regex_and_field_keep_the_schemas_order(plain):
    schema = tps.open_dataset(plain).schema
    dataset = tps.make_dataset(plain, fields=[schema.tags, "na.*", "id"], batch_size=8)
    assert list(dataset.element_spec) == ["id", "name", "tags"]
    with pytest.raises(tps.TfpetastormError, match="speeed"):
        tps.make_dataset(plain, fields=["speeed"], batch_size=8)


def test_labels_make_pairs_for_keras(plain):
    features, label = next(iter(tps.make_dataset(plain, fields=["speed"], label="id", batch_size=4)))
    assert list(features) == ["speed"]
    assert label.numpy().tolist() == [0, 1, 2, 3]
    _, labels = next(iter(tps.make_dataset(plain, fields=["speed"], label=["id", "name"], batch_size=4)))
    assert set(labels) == {"id", "name"}
    with pytest.raises(OptionError, match="no features are left"):
        tps.make_dataset(plain, fields=["id"], label="id", batch_size=4)


def test_ragged_fields_are_ragged_tensors_or_padded(plain):
    ragged = next(iter(tps.make_dataset(plain, fields=["tags"], batch_size=6)))["tags"]
    assert isinstance(ragged, tf.RaggedTensor)
    assert ragged.to_list() == [[], [0], [0, 1], [0, 1, 2], [], [0]]
    dataset = tps.make_dataset(plain, fields=["tags"], batch_size=6)
    assert dataset.element_spec["tags"] == tf.RaggedTensorSpec([None, None], tf.int64, 1, tf.int64)
    padded = next(iter(tps.make_dataset(plain, fields=["tags"], batch_size=3, ragged="pad")))["tags"]
    assert padded.numpy().tolist() == [[0, 0], [0, 0], [0, 1]]
    sized = tps.make_dataset(plain, fields=["tags"], batch_size=4, ragged={"tags": 2})
    assert sized.element_spec["tags"].shape.as_list() == [None, 2]
    assert next(iter(sized))["tags"].numpy().tolist() == [[0, 0], [0, 0], [0, 1], [0, 1]]
    with pytest.raises(OptionError, match="not a field of variable shape"):
        tps.make_dataset(plain, ragged={"id": "pad"}, batch_size=4)


def test_ragged_batches_cross_row_groups(plain):
    tags = [row for batch in tps.make_dataset(plain, fields=["tags"], batch_size=7) for row in batch["tags"].to_list()]
    assert tags == [list(range(i % 4)) for i in range(240)]


# ---------------------------------------------------------------------- nulls


def test_a_null_raises_naming_field_file_row_and_remedy(plain):
    with pytest.raises(tf.errors.OpError, match=r"label.*part-0\.parquet.*row group 0.*row 3") as error:
        list(tps.make_dataset(plain, fields=["label"], batch_size=8))
    assert "nulls=" in str(error.value) or "nulls={" in str(error.value)


def test_nulls_are_filled_or_masked(plain):
    expected = [-1 if i % 7 == 3 else i % 5 for i in range(240)]
    filled = tps.make_dataset(plain, fields=["label"], nulls={"label": -1}, batch_size=50)
    assert ids_of(filled, "label") == expected
    masked = tps.make_dataset(plain, fields=["label", "name"], nulls="mask", batch_size=240)
    batch = next(masked.as_numpy_iterator())
    assert list(batch) == ["label", "label_valid", "name", "name_valid"]
    assert batch["label_valid"].tolist() == [value >= 0 for value in expected]
    assert batch["name_valid"].all()
    one = tps.make_dataset(plain, fields=["label", "name"], nulls={"label": tps.Nulls.MASK}, batch_size=4)
    assert list(one.element_spec) == ["label", "label_valid", "name"]


def test_text_and_ragged_nulls_are_filled(tmp_path):
    table = pa.table({"name": ["a", None, "c"], "tags": [[1], None, [2, 3]], "at": pa.array([1, None, 3], pa.date32())})
    pq.write_table(table, tmp_path / "x.parquet")
    nulls = {"name": "?", "tags": [9, 9], "at": np.datetime64("1970-01-02")}
    batch = next(iter(tps.make_dataset(tmp_path, nulls=nulls, batch_size=3)))
    assert batch["name"].numpy().tolist() == [b"a", b"?", b"c"]
    assert batch["tags"].to_list() == [[1], [9, 9], [2, 3]]
    assert batch["at"].numpy().tolist() == [1, 1, 3]


@pytest.mark.parametrize("nulls", [{"nme": 1}, {"label": "x"}, {"label": 2.5}, {"label": 2**40}, "drop", 3])
def test_impossible_fills_are_refused_at_once(plain, nulls):
    with pytest.raises(OptionError, match="nulls"):
        tps.make_dataset(plain, nulls=nulls, batch_size=4)


# ---------------------------------------------------------------------- where and split


@pytest.mark.parametrize(
    "where",
    [
        [("speed", ">", 12.0), ("id", "!=", 150)],
        [[("speed", ">", 12.0), ("id", "!=", 150)]],
        (pc.field("speed") > 12.0) & (pc.field("id") != 150),
        lambda speed, id: (speed > 12.0) & (id != 150),  # noqa: A006
        tps.ColumnPredicate(["speed", "id"], lambda speed, number: (speed > 12.0) & (number != 150)),
    ],
    ids=["tuples", "or of ands", "expression", "function", "ColumnPredicate"],
)
def test_every_spelling_of_where_selects_the_same_rows(plain, where):
    dataset = tps.make_dataset(plain, fields=["id"], where=where, batch_size=32)
    expected = [i for i in range(240) if np.float32(i / 10) > 12.0 and i != 150]
    assert ids_of(dataset) == expected
    assert int(dataset.cardinality()) == -(-len(expected) // 32)


def test_where_on_nulls_lists_and_partitions(plain, hive):
    dataset = tps.make_dataset(plain, fields=["id"], where=[("label", "in", [0, 4])], batch_size=32)
    assert ids_of(dataset) == [i for i in range(240) if i % 7 != 3 and i % 5 in (0, 4)]
    assert ids_of(tps.make_dataset(hive, where=[("drive", "=", "b")], batch_size=8)) == list(range(20, 40))
    dataset = tps.make_dataset(hive, where=[("day", "<", 2), ("id", ">=", 15)], batch_size=8)
    assert ids_of(dataset) == list(range(15, 40))
    assert next(iter(dataset))["drive"].numpy()[0] == b"a"
    function = tps.make_dataset(hive, fields=["id"], where=lambda drive: drive == "c", batch_size=8)
    assert ids_of(function) == list(range(40, 60))


def test_pruned_row_groups_are_not_fetched_and_only_survivors_decoded(plain):
    dataset = tps.make_dataset(plain, fields=["id", "name"], where=[("id", ">=", 230)], batch_size=4)
    assert ids_of(dataset) == list(range(230, 240))
    counts = tps.stats(dataset).counts
    assert (counts.row_groups, counts.rows) == (2, 10)  # the predicate's column, then the others
    with pytest.raises(OptionError, match="leave none of 240"):
        tps.make_dataset(plain, where=[("id", ">", 1000)], batch_size=4)
    with pytest.raises(OptionError, match="idd"):
        tps.make_dataset(plain, where=[("idd", ">", 1000)], batch_size=4)
    with pytest.raises(OptionError, match="must be names of fields"):
        tps.make_dataset(plain, where=lambda x: x > 3, batch_size=4)


@pytest.mark.parametrize("by", ["row", "row_group", "id"])
def test_splits_make_up_the_whole(plain, by):
    parts = {"train": 0.6, "val": 0.2, "test": 0.2}
    found = {
        p: ids_of(tps.make_dataset(plain, fields=["id"], split=tps.Split(p, parts, by), batch_size=9)) for p in parts
    }
    assert sorted(chain(*found.values())) == list(range(240))
    assert 100 < len(found["train"]) < 190
    pair = [
        ids_of(tps.make_dataset(plain, fields=["id"], split=s, batch_size=9)) for s in [("train", 0.9), ("test", 0.1)]
    ]
    assert sorted(chain(*pair)) == list(range(240))


def test_split_and_where_combine_with_exact_cardinality(plain):
    dataset = tps.make_dataset(plain, fields=["id"], split=("train", 0.5), where=lambda speed: speed < 10, batch_size=1)
    assert int(dataset.cardinality()) == len(ids_of(dataset))
    assert all(i < 100 for i in ids_of(dataset))


# ---------------------------------------------------------------------- transform


def test_transform_runs_on_columns_and_is_checked(plain):
    def edit(columns):
        assert columns["name"].dtype == object
        return {
            "double": columns["speed"] * 2,
            "pair": np.stack([columns["id"], -columns["id"]], axis=1),
            "upper": np.array([name.upper() for name in columns["name"]], object),
            "id": columns["id"],
        }

    fields = [
        tps.UnischemaField("double", np.float32),
        tps.UnischemaField("pair", np.int64, (2,)),
        tps.UnischemaField("upper", np.str_),
    ]
    change = tps.Transform(edit, fields, ["speed", "name"])
    dataset = tps.make_dataset(plain, fields=["id", "speed", "name"], transform=change, batch_size=100)
    batch = next(dataset.as_numpy_iterator())
    assert list(batch) == ["id", "double", "pair", "upper"]
    assert batch["pair"][7].tolist() == [7, -7]
    assert batch["upper"][7] == b"ROW 7"
    np.testing.assert_allclose(batch["double"], np.arange(100) / 5, rtol=1e-6)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda columns: {"speed": columns["speed"].astype(np.float64)}, "wrong dtype"),
        (lambda columns: {"speed": columns["speed"][:3]}, "wrong number of rows"),
        (lambda columns: {"speed": columns["speed"][:, None]}, "wrong shape"),
        (lambda columns: {}, "returned no field"),
        (lambda columns: {**columns, "extra": columns["speed"]}, "not declared"),
        (lambda columns: 1 / 0, "ZeroDivisionError"),
        (lambda columns: [1], "must return a dict"),
    ],
)
def test_a_transform_that_breaks_its_word_is_an_error_that_says_where(plain, function, message):
    with pytest.raises(tf.errors.OpError, match=message) as error:
        list(tps.make_dataset(plain, fields=["speed"], transform=function, batch_size=8))
    assert "part-0.parquet" in str(error.value)


def test_transform_makes_ragged_fields(plain):
    def edit(columns):
        cells = np.empty(len(columns["id"]), object)
        for i, number in enumerate(columns["id"]):
            cells[i] = np.full((number % 3, 2), number, np.float32)
        return {"boxes": cells}

    change = tps.Transform(edit, [tps.UnischemaField("boxes", np.float32, (None, 2))], ["id"])
    batch = next(iter(tps.make_dataset(plain, fields=["id"], transform=change, batch_size=5)))
    assert batch["boxes"].to_list() == [[], [[1, 1]], [[2, 2], [2, 2]], [], [[4, 4]]]


# ---------------------------------------------------------------------- order


def test_shuffled_passes_differ_and_a_seed_repeats_the_run(plain):
    def run(**options):
        dataset = tps.make_dataset(plain, fields=["id"], batch_size=16, shuffle=True, **options)
        return [ids_of(dataset) for _ in range(4)]

    first = run(seed=0)
    assert run(seed=0) == first
    assert len({tuple(ids) for ids in first}) == 4
    assert all(sorted(ids) == list(range(240)) for ids in first)
    assert run(seed=1) != first
    assert run() != run()


def test_the_order_is_the_datasets_own_whatever_tensorflows_seed(plain):
    def run():
        return ids_of(tps.make_dataset(plain, fields=["id"], batch_size=16, shuffle=True, seed=3))

    expected = run()
    try:
        for seed in (0, 1):
            keras.utils.set_random_seed(seed)
            assert run() == expected
    finally:
        tf.random.set_seed(None)


def test_epochs_follow_each_other_and_can_be_pinned(plain):
    def passes(n=1, **options):
        dataset = tps.make_dataset(plain, fields=["id"], batch_size=16, shuffle=True, seed=5, **options)
        return [ids_of(dataset) for _ in range(n)]

    singles = passes(4)
    assert passes(2, epochs=2) == [singles[0] + singles[1], singles[2] + singles[3]]
    assert passes(2, epoch=2) == [singles[2], singles[2]]
    endless = tps.make_dataset(plain, fields=["id"], batch_size=16, shuffle=True, seed=5, epochs=None)
    assert int(endless.cardinality()) == tf.data.INFINITE_CARDINALITY
    assert ids_of(endless.take(45)) == list(chain(*singles[:3]))
    assert tps.steps(endless) is None
    repeated = tps.make_dataset(plain, fields=["id"], batch_size=16, shuffle=True, seed=5).repeat(4)
    assert ids_of(repeated) == list(chain(*singles))


def test_iterators_at_the_same_time_do_not_disturb_each_other(plain):
    dataset = tps.make_dataset(plain, fields=["id"], batch_size=16, shuffle=True, seed=5)
    expected = [
        ids_of(tps.make_dataset(plain, fields=["id"], batch_size=16, shuffle=True, seed=5, epoch=e)) for e in (0, 1)
    ]
    pairs = list(tf.data.Dataset.zip((dataset, dataset)).as_numpy_iterator())
    found = [[int(i) for pair in pairs for i in pair[k]["id"]] for k in (0, 1)]
    assert sorted(found) == sorted(expected)


# ---------------------------------------------------------------------- options


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": 0},
        {"batch_size": True},
        {"batch_size": 4, "epochs": 0},
        {"batch_size": 4, "shuffle": 3},
        {"batch_size": 4, "on_error": "skip"},
        {"batch_size": 4, "pool": "fork"},
        {"batch_size": 4, "split": ("train", 2.0)},
        {"batch_size": 4, "split": tps.Split("a", {"a": 1.0}, by="tags")},
        {"batch_size": 4, "where": 3},
        {"batch_size": 4, "transform": 3},
        {"batch_size": 4, "label": "nope"},
    ],
)
def test_options_that_cannot_work_are_refused_at_once(plain, options):
    with pytest.raises(tps.TfpetastormError):
        tps.make_dataset(plain, **options)


def test_a_task_beyond_the_budget_is_refused_with_the_size_that_fits(plain):
    with pytest.raises(MemoryBudgetError, match="budget_bytes=") as error:
        tps.make_dataset(plain, batch_size=4, pool=tps.PoolOptions(budget_bytes=100))
    size = int(str(error.value).split("budget_bytes=")[1].split(")")[0])
    assert (
        len(list(tps.make_dataset(plain, fields=["id"], batch_size=240, pool=tps.PoolOptions(budget_bytes=size)))) == 1
    )


def test_urls_lists_globs_and_opened_datasets(plain):
    everything = list(range(240))
    for url in [str(plain), plain, plain.as_uri(), str(plain / "*.parquet"), sorted(plain.glob("*.parquet"))]:
        assert ids_of(tps.make_dataset(url, fields=["id"], batch_size=64)) == everything
    assert ids_of(tps.make_dataset(tps.open_dataset(plain), fields=["id"], batch_size=64)) == everything
    with pytest.raises(tps.DatasetError):
        tps.make_dataset(plain / "nothing", batch_size=4)


def test_decimals_dates_and_times_in_the_graph(tmp_path):
    table = pa.table(
        {
            "price": pa.array([Decimal("1.20"), Decimal("-3.00")], pa.decimal128(10, 2)),
            "at": pa.array([1, -5], pa.timestamp("us")),
            "day": pa.array([3, 4], pa.date32()),
            "half": pa.array(np.array([0.5, 2], np.float16)),
            "big": pa.array([2**64 - 1, 0], pa.uint64()),
        }
    )
    pq.write_table(table, tmp_path / "x.parquet")
    batch = next(tps.make_dataset(tmp_path, batch_size=2).as_numpy_iterator())
    assert batch["price"].tolist() == [b"1.20", b"-3.00"]
    assert (batch["at"].dtype, batch["at"].tolist()) == (np.int64, [1, -5])
    assert (batch["day"].dtype, batch["day"].tolist()) == (np.int32, [3, 4])
    assert (batch["half"].dtype, batch["half"].tolist()) == (np.float16, [0.5, 2])
    assert (batch["big"].dtype, batch["big"].tolist()) == (np.uint64, [2**64 - 1, 0])


def test_keras_fits_and_shows_a_known_number_of_steps(plain, capsys):
    dataset = tps.make_dataset(plain, fields=["speed"], label="id", batch_size=32, shuffle=True, seed=1)
    model = keras.Sequential([keras.Input((1,), name="speed"), keras.layers.Dense(1)])
    model.compile("sgd", "mse", jit_compile=False)
    history = model.fit(dataset.map(lambda x, y: (x["speed"][:, None] / 24, y / 240)), epochs=3, shuffle=False)
    assert len(history.history["loss"]) == 3
    assert "8/8" in capsys.readouterr().out


def test_the_monitor_measures_waiting(plain):
    monitor = tps.Monitor(tps.make_dataset(plain, fields=["id"], batch_size=24))
    assert ids_of(monitor.dataset) == list(range(240))
    report = monitor.report()
    assert (report.steps, report.rows) == (10, 240)
    assert 0 < report.wait_seconds <= report.step_seconds * 1.01
    assert 0 <= report.wait_share <= 1.01
    monitor.reset()
    assert monitor.report().steps == 0
