"""What a transform may do with its columns, and what it is told when it may not."""

from __future__ import annotations

import threading
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

import tfpetastorm as tps
from tfpetastorm.errors import OptionError


@pytest.fixture
def mixed(tmp_path):
    folder = tmp_path / "mixed"
    folder.mkdir()
    table = pa.table(
        {
            "number": [1, 2, 3],
            "text": ["a", "b", "c"],
            "price": pa.array([Decimal("1.50"), Decimal("2.00"), Decimal("0.25")]),
            "list": [[1], [], [2, 3]],
            "words": [["x"], [], ["y", "z"]],
        }
    )
    pq.write_table(table, folder / "a.parquet")
    return folder


def only(dataset):
    (batch,) = list(dataset)
    return {name: v.to_list() if isinstance(v, tf.RaggedTensor) else v.numpy().tolist() for name, v in batch.items()}


@pytest.mark.parametrize("pool", ["inline", "process"])
def test_what_is_changed_in_place_comes_out(mixed, pool):
    """Numbers and objects alike: a function may write into the arrays it is given."""

    def edit(columns):
        columns["number"][0] = 10
        columns["text"][1] = "changed"
        columns["price"][2] = Decimal("9.99")
        columns["list"][0] = np.array([7, 8, 9])
        columns["list"][2][1] = 33
        columns["words"][1] = np.array(["new"], object)
        return columns

    assert only(tps.make_dataset(mixed, transform=edit, batch_size=3, pool=pool)) == {
        "number": [10, 2, 3],
        "text": [b"a", b"changed", b"c"],
        "price": [b"1.50", b"2.00", b"9.99"],
        "list": [[7, 8, 9], [], [2, 33]],
        "words": [[b"x"], [b"new"], [b"y", b"z"]],
    }


def test_arrays_of_any_layout_come_out(mixed):
    def edit(columns):
        frozen = np.arange(12).reshape(2, 3, 2).transpose(1, 0, 2)[::-1]
        frozen.flags.writeable = False
        return {"number": columns["number"][::-1], "block": frozen}

    change = tps.Transform(edit, [tps.UnischemaField("block", np.int64, (2, 2))])
    found = only(tps.make_dataset(mixed, fields=["number"], transform=change, batch_size=3))
    assert found == {"number": [3, 2, 1], "block": [[[4, 5], [10, 11]], [[2, 3], [8, 9]], [[0, 1], [6, 7]]]}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("text", np.array([None, "b", "c"], object), "expected str, found None"),
        ("text", [b"a", b"b", b"c"], "expected str, found bytes"),
        ("price", [None, Decimal(1), Decimal(2)], "expected Decimal, found None"),
        ("price", [0.1, 0.2, 0.3], "expected Decimal, found float"),
        ("words", [["a"], [None], []], "expected str, found None"),
        ("number", [[1], [2, 3], 4], "'number'.*is no array"),
        ("list", 5, "'list'.*is no array"),
        ("text", 5, "wrong shape"),
        ("text", ["\ud800", "b", "c"], "is not text"),
    ],
)
def test_what_does_not_fit_names_the_field_and_place(mixed, name, value, message):
    def edit(columns):
        return {**columns, name: value}

    with pytest.raises(tf.errors.OpError, match=rf"TransformError.*{message}.*a\.parquet"):
        only(tps.make_dataset(mixed, transform=edit, batch_size=3))


def test_a_declared_change_that_is_not_made_is_noticed(mixed):
    change = tps.Transform(lambda columns: columns, [tps.UnischemaField("number", np.float32)])
    with pytest.raises(tf.errors.OpError, match=r"wrong dtype: expected float32, found int64.*a\.parquet"):
        only(tps.make_dataset(mixed, fields=["number"], transform=change, batch_size=3))
    with pytest.raises(OptionError, match="nothing computes"):
        tps.Transform(None, [tps.UnischemaField("number", np.float32)])


@pytest.mark.parametrize("pool", ["inline", "thread", "process"])
def test_a_function_that_exits_is_an_error_that_says_so(mixed, pool):
    with pytest.raises(tf.errors.OpError, match=r"The transform failed with SystemExit.*a\.parquet"):
        only(tps.make_dataset(mixed, transform=lambda columns: exit(3), batch_size=3, pool=pool))
    with pytest.raises(tps.TfpetastormError, match="function failed with SystemExit"):
        tps.make_dataset(mixed, where=lambda number: exit(3), batch_size=3, pool=pool)


def test_what_cannot_be_sent_to_workers_is_named(mixed):
    lock = threading.Lock()

    def edit(columns):
        with lock:
            return columns

    assert only(tps.make_dataset(mixed, fields=["number"], transform=edit, batch_size=3))["number"] == [1, 2, 3]
    with pytest.raises(tf.errors.OpError, match=r"PoolError.*can't be sent to worker processes.*lock.*pool='thread'"):
        only(tps.make_dataset(mixed, transform=edit, batch_size=3, pool="process"))


def test_something_has_to_come_out(mixed):
    with pytest.raises(OptionError, match="No field comes out"):
        tps.make_dataset(mixed, fields=[], batch_size=3)
    with pytest.raises(OptionError, match="No field comes out"):
        tps.make_dataset(mixed, fields=["number"], transform=tps.Transform(None, [], ["number"]), batch_size=3)
