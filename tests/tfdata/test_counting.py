"""The index pass that counts what `where=` and `split=` leave: what it may rest on, and that reading agrees with it."""

from __future__ import annotations

import datetime as dt
import os
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

import tfpetastorm as tps
from tfpetastorm.errors import OptionError
from tfpetastorm.storage.where import to_expression


def ids_of(dataset):
    return [int(i) for batch in dataset.as_numpy_iterator() for i in batch["id"]]


@pytest.fixture
def numbers(tmp_path):
    folder = tmp_path / "numbers"
    folder.mkdir()
    write(folder / "a.parquet", np.arange(100))
    return folder


def write(file, values):
    """Always in as many bytes."""
    pq.write_table(pa.table({"id": values}), file, compression="none", use_dictionary=False)


def test_cached_counts_of_long_lists_of_values_are_told_apart(numbers):
    """pyarrow prints only the first and last ten values of a list."""
    few = [*range(15), *[-1] * 70, *range(85, 100)]
    many = list(range(100))
    for values in (few, many):
        where = pc.field("id").isin(values)
        dataset = tps.make_dataset(numbers, where=where, batch_size=7, sidecar="always")
        assert ids_of(dataset) == sorted({value for value in values if value >= 0})


def test_cached_counts_do_not_outlive_the_files(numbers):
    """The same size, the same footer, other values."""

    def count(threshold):
        dataset = tps.make_dataset(numbers, where=[("id", "<", threshold)], batch_size=7, sidecar="always")
        return int(dataset.cardinality()), ids_of(dataset)

    assert count(50)[1] == list(range(50))
    file = numbers / "a.parquet"
    before = file.stat()
    write(file, np.arange(100) // 2)
    os.utime(file, ns=(before.st_mtime_ns + 1, before.st_mtime_ns + 1))
    assert file.stat().st_size == before.st_size
    assert count(49) == (14, [i // 2 for i in range(98)])
    assert count(50) == (15, [i // 2 for i in range(100)])


def test_rows_that_changed_since_they_were_counted_are_an_error(plain):
    """Not filled up with other rows, nor cut: that is for damage that the user chose to skip."""
    answers = {"limit": 90}

    def wavering(id):  # noqa: A002
        return id < answers["limit"]

    dataset = tps.make_dataset(plain, fields=["id"], where=wavering, batch_size=10, pool="inline")
    assert ids_of(dataset) == list(range(90))
    for limit in (85, 95):
        answers["limit"] = limit
        with pytest.raises(tf.errors.OpError, match=r"when it was counted.*part-0.*row group \d.*expected .* rows"):
            ids_of(dataset)


@pytest.mark.parametrize("where", [pc.scalar(True), pc.scalar(1) < pc.scalar(2)], ids=str)
def test_an_expression_without_fields_holds_for_all_rows(plain, where):
    assert ids_of(tps.make_dataset(plain, fields=["id"], where=where, batch_size=10)) == list(range(240))
    with pytest.raises(OptionError, match="leave none"):
        tps.make_dataset(plain, where=~where, batch_size=10)


def test_equal_decimals_of_different_files_fall_into_one_part(tmp_path):
    """The file with more digits writes 1.5 as 1.500."""
    for i, scale in enumerate((1, 3)):
        prices = pa.array([Decimal(n) / 2 for n in range(-20, 20)], pa.decimal128(20, scale))
        table = pa.table({"id": np.arange(40) + 40 * i, "price": prices})
        pq.write_table(table, tmp_path / f"{i}.parquet")
    split = tps.Split("train", {"train": 0.5}, by="price")
    found = ids_of(tps.make_dataset(tmp_path, fields=["id"], split=split, batch_size=9))
    assert found[len(found) // 2 :] == [i + 40 for i in found[: len(found) // 2]]


def test_parameters_with_defaults_are_the_functions_own(plain):
    def few(id, limit=30, *, step=2):  # noqa: A002
        return (id < limit) & (id % step == 0)

    assert ids_of(tps.make_dataset(plain, fields=["id"], where=few, batch_size=9)) == list(range(0, 30, 2))
    with pytest.raises(OptionError, match=r"\['speed'\] are not \(none may follow 'limit'\)"):
        tps.make_dataset(plain, where=lambda id, limit=30, speed=3: id < limit, batch_size=9)  # noqa: A006
    with pytest.raises(OptionError, match=r"\['limit'\] are not"):
        tps.make_dataset(plain, where=lambda limit, id: id < limit, batch_size=9)  # noqa: A006


@pytest.mark.parametrize("how", ["in", "not in", "=", "!="])
@pytest.mark.parametrize("zero", [0.0, -0.0])
def test_statistics_of_zeros_prune_no_zero(tmp_path, how, zero):
    """Writers give zeros the bounds -0.0 and 0.0."""
    table = pa.table({"id": np.arange(6), "x": [0.0, 0.0, 1.0, -0.0, -0.0, 0.0]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    where = [("x", how, [zero] if "in" in how else zero)]
    expected = pads.dataset(table).to_table(filter=to_expression(where, table.schema))["id"].to_pylist()
    assert ids_of(tps.make_dataset(tmp_path, where=where, batch_size=3)) == expected


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_of_every_unit_are_found_in_lists(tmp_path, unit):
    times = np.array([1, 2, 3, 10**9 + 1], f"M8[{unit}]")
    pq.write_table(pa.table({"id": np.arange(4), "at": times}), tmp_path / "a.parquet")
    for values in ([times[1], times[3]], np.array([times[1], times[3]]), [None, times[1], times[3]]):
        assert ids_of(tps.make_dataset(tmp_path, fields=["id"], where=[("at", "in", values)], batch_size=3)) == [1, 3]
    second = np.datetime64(1, "s").astype(dt.datetime)
    whole = [("at", "in", [second]), ("at", "<", np.datetime64(2, "s"))]
    if unit == "s":
        assert ids_of(tps.make_dataset(tmp_path, fields=["id"], where=whole, batch_size=3)) == [0]


def test_uint64_beyond_int64_in_filters(tmp_path):
    values = [0, 713, 2**64 - 1, 2**63 + 5]
    pq.write_table(pa.table({"u": pa.array(values, pa.uint64())}), tmp_path / "x.parquet", row_group_size=2)

    def passing(where):
        dataset = tps.make_dataset(tmp_path, where=where, nulls={"u": 0}, batch_size=9, pool="inline")
        return [int(value) for batch in dataset for value in batch["u"]]

    assert passing([("u", "!=", 0)]) == values[1:]
    assert passing([("u", ">", 2**63)]) == values[2:]
    assert passing([("u", "in", [2**64 - 1, 713])]) == values[1:3]
