"""`make_petastorm_dataset`: what a reader gives, as a tf.data.Dataset of namedtuples."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

import tfpetastorm as tps
from tfpetastorm.errors import ReplacedError
from tfpetastorm.predicates import in_lambda
from tfpetastorm.tf_utils import make_petastorm_dataset, tf_tensors
from tfpetastorm.weighted_sampling_reader import WeightedSamplingReader

ROWS = 50
SCHEMA = tps.Unischema(
    "Sample",
    [
        tps.UnischemaField("id", np.int64, ()),
        tps.UnischemaField("image", np.uint8, (4, 5, 3), tps.CompressedImageCodec("png")),
        tps.UnischemaField("depth", np.uint16, (2, 2), tps.NdarrayCodec()),
        tps.UnischemaField("points", np.float32, (None, 2), tps.NdarrayCodec()),
        tps.UnischemaField("name", np.str_, ()),
        tps.UnischemaField("price", Decimal, (), tps.ScalarCodec("decimal128(10, 4)")),
        tps.UnischemaField("when", np.dtype("datetime64[us]"), ()),
        tps.UnischemaField("day", dt.date, ()),
    ],
)


def row_of(i):
    rng = np.random.default_rng(i)
    return {
        "id": i,
        "image": rng.integers(0, 255, (4, 5, 3), np.uint8),
        "depth": rng.integers(0, 60000, (2, 2), np.uint16),
        "points": rng.random((i % 3, 2), np.float32),
        "name": f"row {i}",
        "price": Decimal(i) / 4,
        "when": np.datetime64(i, "us"),
        "day": dt.date(1970, 1, 1) + dt.timedelta(days=i),
    }


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    path = tmp_path_factory.mktemp("samples") / "dataset"
    with tps.DatasetWriter(str(path), SCHEMA, row_group_rows=10) as writer:
        for i in range(ROWS):
            writer.write(row_of(i))
    return path


def check(row):
    expected = row_of(int(row.id))
    for name in ("image", "depth", "points"):
        np.testing.assert_array_equal(getattr(row, name).numpy(), expected[name])
    assert row.name.numpy().decode() == expected["name"]
    assert Decimal(row.price.numpy().decode()) == expected["price"]
    assert not row.price.numpy().endswith(b"00")
    assert int(row.when) == int(row.id) * 1000
    assert int(row.day) == int(row.id) * 86_400_000_000_000


def test_rows_have_petastorm_s_names_and_dtypes(samples):
    with tps.make_reader(samples, seed=3) as reader:
        dataset = make_petastorm_dataset(reader)
        spec = dataset.element_spec
        rows = list(dataset)
        assert int(dataset.cardinality()) == ROWS
    assert spec._fields == tuple(SCHEMA.fields)
    assert spec.depth == tf.TensorSpec((2, 2), tf.int32)
    assert spec.points == tf.TensorSpec((None, 2), tf.float32)
    assert spec.image == tf.TensorSpec((4, 5, 3), tf.uint8)
    assert spec.when.dtype == spec.day.dtype == tf.int64
    assert sorted(int(row.id) for row in rows) == list(range(ROWS))
    for row in rows:
        check(row)


def test_several_passes_each_with_its_own_order(samples):
    """Petastorm warned of a second pass, and could fail at the third (#610)."""
    with tps.make_reader(samples, ["id"], seed=3, num_epochs=2) as reader:
        dataset = make_petastorm_dataset(reader)
        assert int(dataset.cardinality()) == 2 * ROWS
        passes = [[int(row.id) for row in dataset] for _ in range(3)]
        next(iter(dataset))
        passes.append([int(row.id) for row in dataset.repeat(2)][: 2 * ROWS])
    for ids in passes:
        assert sorted(ids[:ROWS]) == sorted(ids[ROWS:]) == list(range(ROWS))
    assert len({tuple(ids[:ROWS]) for ids in passes}) == 4


def test_the_orders_are_the_reader_s(samples):
    with tps.make_reader(samples, ["id"], seed=3, shuffle_rows=True, num_epochs=2) as reader:
        dataset = [int(row.id) for row in make_petastorm_dataset(reader)]
        assert dataset == [int(row.id) for row in reader]


def test_endless(samples):
    with tps.make_reader(samples, ["id"], num_epochs=None) as reader:
        dataset = make_petastorm_dataset(reader)
        assert int(dataset.cardinality()) == tf.data.INFINITE_CARDINALITY
        assert sorted(int(row.id) for row in dataset.take(3 * ROWS)) == sorted(list(range(ROWS)) * 3)


@pytest.mark.parametrize("pool", ["thread", "process"])
def test_a_predicate(samples, pool):
    with tps.make_reader(samples, predicate=in_lambda(["id"], lambda i: i % 7 == 1), reader_pool_type=pool) as reader:
        rows = list(make_petastorm_dataset(reader))
    assert sorted(int(row.id) for row in rows) == list(range(1, ROWS, 7))
    for row in rows:
        check(row)


def test_n_grams(samples):
    """Petastorm's datasets came to n-grams late (#146, PR #533)."""
    ngram = tps.NGram({-1: ["id", "image"], 1: ["id", "depth"]}, 10, "id")
    with tps.make_reader(samples, ngram, shuffle_rows=True, seed=1) as reader:
        dataset = make_petastorm_dataset(reader)
        assert list(dataset.element_spec) == [-1, 0, 1]
        assert dataset.element_spec[0] == ()
        grams = list(dataset)
        assert int(dataset.cardinality()) == len(grams) == ROWS - 2
    for gram in grams:
        assert int(gram[1].id) == int(gram[-1].id) + 2
        np.testing.assert_array_equal(gram[-1].image.numpy(), row_of(int(gram[-1].id))["image"])
        assert gram[1].depth.dtype == tf.int32


def test_batches(samples):
    fields = ["id", "image", "depth", "name"]
    with tps.make_batch_reader(samples, fields, shuffle_row_groups=False, num_epochs=2) as reader:
        dataset = make_petastorm_dataset(reader)
        assert dataset.element_spec.image.shape.as_list() == [None, 4, 5, 3]
        batches = list(dataset)
    assert [batch.id.numpy().tolist() for batch in batches[:5]] == [list(range(i, i + 10)) for i in range(0, ROWS, 10)]
    assert len(batches) == 10
    np.testing.assert_array_equal(batches[1].image[3].numpy(), row_of(13)["image"])
    assert batches[0].depth.dtype == tf.int32


def test_lists_in_batches_are_dense_or_an_error(tmp_path):
    even, uneven = tmp_path / "even", tmp_path / "uneven"
    for folder, lists in ((even, [[1, 2], [3, 4]]), (uneven, [[1], [2, 3]])):
        folder.mkdir()
        pq.write_table(pa.table({"x": lists}), folder / "part.parquet")
    with tps.make_batch_reader(even) as reader:
        assert next(iter(make_petastorm_dataset(reader))).x.numpy().tolist() == [[1, 2], [3, 4]]
    with (
        tps.make_batch_reader(uneven) as reader,
        pytest.raises(tf.errors.InvalidArgumentError, match="differ in shape"),
    ):
        list(make_petastorm_dataset(reader))


@pytest.mark.parametrize("make", [tps.make_reader, tps.make_batch_reader])
def test_a_null_is_an_error_that_names_its_field(tmp_path, make):
    pq.write_table(pa.table({"x": [1, None]}), tmp_path / "part.parquet")
    with make(tmp_path) as reader, pytest.raises(tf.errors.OpError, match=r"field 'x'.*nulls="):
        list(make_petastorm_dataset(reader))


def test_once_the_reader_is_stopped_it_is_an_error(samples):
    with tps.make_reader(samples, ["id"]) as reader:
        dataset = make_petastorm_dataset(reader)
        next(iter(dataset))
    with pytest.raises(tf.errors.OpError, match="stopped"):
        list(dataset)


def test_a_mix_of_readers_row_by_row(samples):
    readers = [tps.make_reader(samples, ["id", "image", "price"], num_epochs=1, seed=seed) for seed in (1, 2)]
    with WeightedSamplingReader(readers, [0.5, 0.5], seed=4) as mix:
        dataset = make_petastorm_dataset(mix)
        assert dataset.element_spec.image == tf.TensorSpec((4, 5, 3), tf.uint8)
        passes = [[int(row.id) for row in dataset] for _ in range(2)]
    assert all(len(ids) > ROWS for ids in passes)


def test_keras_trains_on_it(samples):
    with tps.make_reader(samples, ["id", "image"], num_epochs=1) as reader:
        dataset = make_petastorm_dataset(reader).map(
            lambda row: (tf.cast(row.image, tf.float32) / 255, tf.cast(row.id % 2, tf.float32))
        )
        model = tf.keras.Sequential([tf.keras.layers.Flatten(), tf.keras.layers.Dense(1)])
        model.compile("sgd", "mse")
        history = model.fit(dataset.batch(10), epochs=2, verbose=0, shuffle=False)
    assert len(history.history["loss"]) == 2


def test_tf_tensors_shows_the_new_call(samples):
    with tps.make_reader(samples) as reader, pytest.raises(ReplacedError, match=r"make_petastorm_dataset\(reader\)"):
        tf_tensors(reader)


def test_what_is_no_reader():
    with pytest.raises(ValueError, match="reader"):
        make_petastorm_dataset([1, 2])


def test_programs_of_tensorflow_1_build_graphs(samples):
    v1 = tf.compat.v1
    with tf.Graph().as_default(), tps.make_reader(samples, ["id", "depth"]) as reader:
        dataset = make_petastorm_dataset(reader)
        assert dataset.output_shapes.depth == tf.TensorShape([2, 2])
        row = dataset.repeat(2).make_one_shot_iterator().get_next()
        with v1.Session() as session:
            # TensorFlow's thread may begin the second pass before it is asked to.
            with pytest.warns(UserWarning, match="num_epochs="):
                ids = [int(session.run(row).id) for _ in range(2 * ROWS)]
            with pytest.raises(tf.errors.OutOfRangeError):
                session.run(row)
    assert sorted(ids[:ROWS]) == sorted(ids[ROWS:]) == list(range(ROWS))
