"""Datasets that real petastorm wrote: every value equals what petastorm itself decoded."""

from __future__ import annotations

import json

import numpy as np
import pytest

import tfpetastorm as tps


def expected_values(golden, name):
    """(field, key) to the value petastorm gave: an array, a str, bytes, Decimal or None."""
    arrays = np.load(golden / f"petastorm-0.13.1/{name}.expected.npz")
    return {**arrays, **json.loads((golden / f"petastorm-0.13.1/{name}.expected.json").read_text())}


def assert_cell(field, found, expected, key):
    if isinstance(expected, dict):
        ((kind, text),) = expected.items()
        assert kind in ("str", "hex", "decimal"), key
        assert found == (bytes.fromhex(text) if kind == "hex" else text.encode()), key
        return
    if expected.dtype.kind in "US":
        wanted = [item if isinstance(item, bytes) else item.encode() for item in expected.reshape(-1).tolist()]
        assert np.asarray(found).reshape(-1).tolist() == wanted, key
        return
    assert found.dtype == expected.dtype, key
    assert found.shape == expected.shape, key
    if field == "jpeg":
        assert np.abs(found.astype(int) - expected.astype(int)).max() <= 2, key
    else:
        np.testing.assert_array_equal(found, expected, err_msg=key)


@pytest.mark.parametrize(("name", "index"), [("types", "id"), ("drive_small", "timestamp")])
def test_every_value_equals_petastorms(golden, name, index):
    expected = expected_values(golden, name)
    dataset = tps.make_dataset(golden / "petastorm-0.13.1" / name, nulls="mask")
    compared = 0
    for row in dataset.as_numpy_iterator():
        key = int(row[index])
        for field, value in row.items():
            if field.endswith("_valid"):
                continue
            wanted = expected.pop(f"{field}/{key}")
            if wanted is None:
                assert not row[f"{field}_valid"], (field, key)
                empty = np.asarray(value)
                assert value == b"" if empty.dtype.kind in "OS" else not empty.any(), (field, key)
            elif field == "opt_f32" and np.isnan(wanted):
                # petastorm turns a null float into NaN; the file has a null there and no NaN at all.
                assert not row["opt_f32_valid"], key
            else:
                assert row.get(f"{field}_valid", True), (field, key)
                assert_cell(field, value, wanted, f"{field}/{key}")
            compared += 1
    assert not expected
    assert compared == {"types": 60 * 24, "drive_small": 120 * 6}[name]


def test_plain_parquet_of_spark(golden):
    import pyarrow.parquet as pq

    folder = golden / "petastorm-0.13.1" / "plain"
    table = pq.read_table(folder, coerce_int96_timestamp_unit=None)
    rows = list(tps.make_dataset(folder, nulls="mask").as_numpy_iterator())
    assert len(rows) == table.num_rows == 40
    for row, wanted in zip(rows, table.to_pylist(), strict=True):
        flat = {**wanted, **{f"pair.{k}": v for k, v in (wanted["pair"] or {"a": None, "b": None}).items()}}
        del flat["pair"]
        for name, value in flat.items():
            assert bool(row[f"{name}_valid"]) == (value is not None), name
            if value is None:
                continue
            found = row[name]
            if name == "at":
                assert found == np.datetime64(value, "ns").astype(np.int64)
            elif name == "day":
                assert found == np.datetime64(value, "D").astype(np.int32)
            elif name == "price":
                assert found.decode() == str(value)
            elif name == "names":
                assert [item.decode() for item in found] == value
            elif isinstance(value, str):
                assert found.decode() == value
            else:
                np.testing.assert_array_equal(found, value)


@pytest.mark.parametrize("version", ["0.4.3", "0.7.0"])
def test_older_versions_read_too(golden, version):
    dataset = tps.make_dataset(golden / "petastorm-legacy" / version, nulls="mask", batch_size=7)
    ids = np.concatenate([batch["id"] for batch in dataset.as_numpy_iterator()])
    assert sorted(ids) == list(range(100))
    row = next(iter(tps.make_dataset(golden / "petastorm-legacy" / version, nulls="mask").as_numpy_iterator()))
    assert row["matrix"].shape == (32, 16, 3)
    assert row["image_png"].dtype == np.uint8
