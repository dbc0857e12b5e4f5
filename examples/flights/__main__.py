"""A whole TFX pipeline on Parquet: writes the flights that left New York in 2013 as Unischema datasets, and has TFX
check them, transform them, train a model of the delay on arrival, judge it and push it; then all again, from cache.

    python -m examples.flights [--folder demo/tfx] [--epochs 4] [--every 1]

Training has January to November, judgement is on December. The exit status is 1 if the model that was pushed is not off
by a tenth less than "it will be as late as it left", which is hard to beat.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import logging
import os
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

import tfpetastorm as tps
from examples.flights.data import EVALUATION, SCHEMA, TRAINING, airlines, flights, write_flights

LABEL = "arr_delay"
AIRPORTS = {"EWR": "Newark", "JFK": "Kennedy", "LGA": "LaGuardia"}
GREEN, GREY = "#2f7d4f", "#b8b8b8"


@dataclass(frozen=True)
class Step:
    """What a run of the pipeline did with a component, as the metadata store has it."""

    component: str
    state: str
    seconds: float


@contextlib.contextmanager
def logged_to(path: Path):
    """All that is printed, by native code and child processes too, goes to a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = [os.dup(1), os.dup(2)]
    with path.open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, one in enumerate(kept, 1):
            os.dup2(one, number)
            os.close(one)


class Follow(logging.Handler):
    """Shows which component TFX says it is running."""

    def __init__(self, status) -> None:
        super().__init__()
        self._status = status

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg == "Component %s is running.":
            self._status.update(f"{record.args[0]} …")


def write_data(folder: Path, every: int) -> None:
    """Unless it is there, every n-th flight: TFX would take a dataset that is written again for another."""
    wanted = {"train": TRAINING, "eval": EVALUATION}
    told = folder / "every.txt"
    there = all((folder / name / "_common_metadata").exists() for name in wanted)
    if there and told.exists() and told.read_text() == str(every):
        return
    told.unlink(missing_ok=True)
    columns = flights()
    for name, months in wanted.items():
        write_flights(folder / name, columns, months, every)
    told.write_text(str(every))


def latest(paths: Iterable[Path]) -> Path:
    """The artifact, or version of a model, that TFX made last: of the greatest number."""
    return max(paths, key=lambda path: int(path.name))


def executions(root: Path) -> dict[int, Step]:
    """What the metadata store knows of, by number."""
    from ml_metadata.metadata_store import metadata_store
    from ml_metadata.proto import metadata_store_pb2

    path = root / "metadata.sqlite"
    if not path.exists():
        return {}
    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = str(path)
    store = metadata_store.MetadataStore(config)
    names = {one.id: one.name.rpartition(".")[2] for one in store.get_execution_types()}
    return {
        one.id: Step(
            names[one.type_id],
            metadata_store_pb2.Execution.State.Name(one.last_known_state),
            (one.last_update_time_since_epoch - one.create_time_since_epoch) / 1000,
        )
        for one in store.get_executions()
    }


def run(pipeline, root: Path, options=None) -> list[Step]:
    """Runs a pipeline, or the part of it that TFX's `RunOptions` say; what became of each of its components."""
    from tfx import v1 as tfx

    before = executions(root)
    tfx.orchestration.LocalDagRunner().run(pipeline, run_options=options)
    return [step for number, step in sorted(executions(root).items()) if number not in before]


def blessed(root: Path) -> bool:
    """Whether the model that was last evaluated is good enough."""
    return (latest((root / "UnischemaEvaluator" / "blessing").iterdir()) / "BLESSED").exists()


def what_ran(runs: list[list[Step]], seconds: list[float]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    table.add_column("component")
    for heading in ("run", "again"):
        table.add_column(heading, justify="right")
    for steps in zip(*runs, strict=True):
        said = ["[dim]cached[/]" if one.state == "CACHED" else f"{one.seconds:.1f} s" for one in steps]
        table.add_row(steps[0].component, *said)
    table.add_row("[bold]all[/]", *(f"[bold]{one:.1f} s[/]" for one in seconds))
    return table


def forecasts(pushed: Path, data: Path, schema_path: Path) -> dict[str, np.ndarray]:
    """Of each flight of December, as the pushed model forecasts it from what is stored: `forecast`, `left` and
    `arrived`, minutes late; `origin`, `carrier` and `time`."""
    import tensorflow as tf
    from tfx.utils import io_utils
    from tfx_bsl.public import tfxio

    from tfpetastorm.tfxio import UnischemaTFXIO

    model = tf.saved_model.load(str(pushed))
    rows = UnischemaTFXIO([str(data / "eval")], schema=io_utils.SchemaReader().read(str(schema_path)))
    asked = model.serve.concrete_functions[0].structured_input_signature[0][0]
    parts = []
    for row in rows.TensorFlowDataset(tfxio.TensorFlowDatasetOptions(batch_size=4096, num_epochs=1, shuffle=False)):
        forecast = model.serve({name: row[name] for name in asked})[LABEL][:, 0]
        columns = forecast, row["dep_delay"], row[LABEL], row["origin"], row["carrier"], row["time"]
        parts.append([column.numpy() for column in columns])
    names = ("forecast", "left", "arrived", "origin", "carrier", "time")
    found = dict(zip(names, map(np.concatenate, zip(*parts, strict=True)), strict=True))
    return found | {name: found[name].astype(str) for name in ("origin", "carrier")}


def off_by(found: dict[str, np.ndarray], chosen=slice(None)) -> tuple[float, float]:
    """Minutes that each is off by in the mean: "as late as it left", and the forecast."""
    arrived = found["arrived"][chosen]
    return tuple(float(np.abs(found[name][chosen] - arrived).mean()) for name in ("left", "forecast"))


def judged(found: dict[str, np.ndarray]) -> Table:
    """The errors, airport by airport, and by what share the model's is less."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    for heading in ("December", "flights", "as late as it left", "forecast", "less"):
        table.add_column(heading, justify="left" if heading == "December" else "right")
    for code, name in [*AIRPORTS.items(), ("all", "all")]:
        chosen = (found["origin"] == code) | (code == "all")
        before, after = off_by(found, chosen)
        less = 1 - after / before
        style = "bold green" if code == "all" else ""
        table.add_row(name, f"{chosen.sum():,}", f"{before:.2f} min", f"{after:.2f} min", f"{less:.1%}", style=style)
    return table


def draw(found: dict[str, np.ndarray], path: Path) -> str:
    """How far off both are, by airline and by day. Returns what it drew, as text."""
    largest = sorted(set(found["carrier"]), key=lambda one: -(found["carrier"] == one).sum())[:12]
    by_airline = np.array([off_by(found, found["carrier"] == one) for one in largest])
    names = [airlines()[one] for one in largest]
    if importlib.util.find_spec("matplotlib") is None:
        return bars(names, by_airline)
    import matplotlib as mpl

    mpl.use("agg")
    import matplotlib.pyplot as plt

    # Days in New York.
    days = (found["time"] - 5 * 3600).astype("datetime64[s]").astype("datetime64[D]")
    each = np.unique(days)
    by_day = np.array([off_by(found, days == one) for one in each])
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 5), width_ratios=[2, 3], layout="constrained")
    places = np.arange(len(names))[::-1]
    left.hlines(places, by_airline[:, 1], by_airline[:, 0], color=GREY)
    left.plot(by_airline[:, 0], places, "o", color=GREY, label="as late as it left")
    left.plot(by_airline[:, 1], places, "o", color=GREEN, label="forecast")
    left.set(yticks=places, yticklabels=names, xlabel="off by, minutes in the mean", xlim=(0, None))
    left.set_title("by airline")
    left.legend(frameon=False, loc="lower left")
    right.fill_between(each, by_day[:, 1], by_day[:, 0], color=GREY, alpha=0.35, linewidth=0)
    right.plot(each, by_day[:, 0], color=GREY)
    right.plot(each, by_day[:, 1], color=GREEN)
    right.set(ylim=(0, None), title="by day of December 2013")
    right.xaxis.set_major_formatter(mpl.dates.DateFormatter("%d"))
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle("How far off the delay on arrival is foretold when an aircraft leaves New York")
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return str(path)


def bars(names: list[str], off: np.ndarray, width: int = 60) -> str:
    """The same for a terminal, by airline: how far off the forecast is, and in grey what it is better by."""
    lines = []
    for name, (before, after) in zip(names, off, strict=True):
        shares = (np.array([min(after, before), max(after, before)]) / off.max() * width).round().astype(int)
        colour = "green" if after < before else "red"
        rest = f"[{'bright_black' if after < before else 'red'}]{'░' * (shares[1] - shares[0])}[/]"
        lines.append(
            f"{name:{max(map(len, names))}}  [{colour}]{'█' * shares[0]}[/]{rest} {before:.1f} → {after:.1f} min"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--folder", type=Path, default=Path("demo/tfx"), help="where to write (./demo/tfx)")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--every", type=int, default=1, help="write every n-th flight alone")
    options = parser.parse_args()
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "pipeline.log"
    console = Console(file=os.fdopen(os.dup(1), "w"), highlight=False)

    data, root, pushed = folder / "data", folder / "pipeline", folder / "pushed"
    with console.status("writing flights …"):
        write_data(data, options.every)
    for name in ("train", "eval"):
        stored = tps.open_dataset(data / name)
        console.print(
            f"[bold]{data / name}[/]  {stored.num_rows:,} flights, {len(stored.files)} files, "
            f"{len(SCHEMA.fields)} fields",
            soft_wrap=True,
        )
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    runs, seconds = [], []
    try:
        with logged_to(log), console.status("loading TFX …") as status:
            from absl import logging as absl_logging

            from examples.flights.pipeline import GOAL, flights_pipeline

            absl_logging.set_verbosity(absl_logging.INFO)
            logging.getLogger("absl").addHandler(Follow(status))
            for _ in range(2):
                started = time.monotonic()
                runs.append(run(flights_pipeline(data, root, pushed, epochs=options.epochs), root))
                seconds.append(time.monotonic() - started)
            version = latest(pushed.iterdir()) if blessed(root) else None
            schema = latest((root / "UnischemaSchemaGen" / "schema").iterdir()) / "schema.pbtxt"
            found = forecasts(version, data, schema) if version is not None else None
    except Exception:
        console.print(f"[red]It failed; {log} says how.[/]", soft_wrap=True)
        raise
    console.print(what_ran(runs, seconds))
    if found is None:
        console.print(f"[red]No model was pushed: none was off by less than {GOAL} minutes.[/]")
        return 1
    table = judged(found)
    console.print(f"[bold]{version}[/]  pushed", soft_wrap=True)
    console.print(table)
    console.print(draw(found, folder / "flights.png"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
