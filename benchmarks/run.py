"""Runs the benchmarks, shows the ratios and writes them, with pictures, to benchmarks/results.

    python -m benchmarks.run                       everything, about twenty minutes on two cores
    python -m benchmarks.run --quick               smaller data and fewer rounds, for a look
    python -m benchmarks.run --only parquet jpeg   some of it (memory is "memory")

Exits with 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks import memory
from benchmarks.contests import CONTESTS
from benchmarks.datasets import dataset
from benchmarks.plots import draw

RESULTS = Path(__file__).parent / "results"
BUDGET_MB = 256.0
MEMORY = (
    ("tabular", "thread"),
    ("tabular-shuffled", "thread"),
    ("tabular", "process"),
    ("images", "thread"),
    ("images", "process"),
)


def _play(name: str, scale: float, rounds: int, progress: Progress) -> dict[str, Any]:
    """One contest in a process of its own."""
    bar = progress.add_task(CONTESTS[name].title, total=rounds)
    command = [sys.executable, "-m", "benchmarks.contests", name, f"--scale={scale}", f"--rounds={rounds}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        outcome: dict[str, Any] | None = None
        for line in child.stdout or ():
            if not line.startswith("{"):
                continue
            said = json.loads(line)
            outcome = said.get("outcome", outcome)
            if "round" in said:
                progress.advance(bar)
    progress.remove_task(bar)
    if child.returncode or outcome is None:
        raise SystemExit(f"contest {name} failed with status {child.returncode}: {' '.join(command[1:])}")
    return outcome


def _weigh(name: str, pool: str, scale: float, progress: Progress) -> dict[str, Any]:
    """One run of the memory measurement."""
    title = f"{name}, {pool} pool, budget {BUDGET_MB:.0f} MB"
    bar = progress.add_task(f"memory: {title}", total=memory.EPOCHS)
    command = ["benchmarks.memory", name, pool, str(BUDGET_MB), str(scale)]
    usage = memory.measure(title, BUDGET_MB, command, lambda epoch: progress.update(bar, completed=epoch))
    progress.remove_task(bar)
    return usage.to_json()


def _rate(rate: float) -> str:
    """A rate as text: some are starts a second, others millions of rows."""
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.3g}"


def _mark(reached: bool, has_target: bool = True) -> str:
    if not has_target:
        return "[dim]–[/]"
    return "[green]reached[/]" if reached else "[red]missed[/]"


def _show(results: dict[str, Any], console: Console) -> None:
    if results["contests"]:
        table = Table(title="Rates, as ratios (median of rounds)", title_justify="left")
        table.add_column("contest", min_width=24)
        for heading in ("ours /s", "reference /s", "ratio", "rounds", "target"):
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("")
        for outcome in results["contests"].values():
            target = outcome["target"]
            table.add_row(
                outcome["name"],
                _rate(outcome["ours_rate"]),
                _rate(outcome["reference_rate"]),
                f"[bold]{outcome['ratio']:.2f}[/]",
                f"{outcome['ratio_low']:.2f}–{outcome['ratio_high']:.2f}",
                "" if target is None else f"≥ {target:.3g}",
                _mark(outcome["reached"], target is not None),
            )
        console.print(table)
    if results["memory"]:
        table = Table("memory above an idle TensorFlow", title=f"{memory.EPOCHS} epochs, MB", title_justify="left")
        for heading in ("peak", "bound", "drift", "all shared memory"):
            table.add_column(heading, justify="right", no_wrap=True)
        table.add_column("")
        for usage in results["memory"]:
            table.add_row(
                usage["title"],
                f"[bold]{usage['peak']:,.0f}[/]",
                f"{usage['budget'] + memory.ALLOWANCE_MB:,.0f}",
                f"{usage['drift']:+,.0f}",
                f"{usage['extra_shared']:,.0f}",
                _mark(usage["reached"]),
            )
        console.print(table)


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "cores": str(os.cpu_count())}
    for package in ("tfpetastorm", "tensorflow", "pyarrow", "numpy", "opencv-python-headless"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def main() -> int:
    """Runs what was asked for; 0 if all targets are reached."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[*CONTESTS, "memory"], default=[*CONTESTS, "memory"])
    parser.add_argument("--quick", action="store_true", help="half of the data and 3 rounds")
    parser.add_argument("--scale", type=float, help="share of the data's rows")
    parser.add_argument("--rounds", type=int, help="rounds of each contest, 5 by default")
    arguments = parser.parse_args()
    scale = arguments.scale or (0.5 if arguments.quick else 1.0)
    rounds = arguments.rounds or (3 if arguments.quick else 5)

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
    asked = [name for name in CONTESTS if name in arguments.only]
    contests = [name for name in asked if CONTESTS[name].possible]
    weighings = MEMORY if "memory" in arguments.only else ()
    for name in dict.fromkeys(
        [need for one in contests for need in CONTESTS[one].needs] + [w[0].partition("-")[0] for w in weighings]
    ):
        dataset(name, scale)

    # A pipe has no width; 80 columns would break every line.
    console = Console() if sys.stdout.isatty() else Console(width=130)
    for name in asked:
        if name not in contests:
            console.print(f"[dim]left out: {name}, which needs {CONTESTS[name].package}[/]")
    results: dict[str, Any] = {"versions": _versions(), "scale": scale, "rounds": rounds, "contests": {}, "memory": []}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        for name in contests:
            results["contests"][name] = _play(name, scale, rounds, progress)
        for name, pool in weighings:
            results["memory"].append(_weigh(name, pool, scale, progress))
    _show(results, console)

    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "latest.json").write_text(json.dumps(results, indent=1))
    written = [RESULTS / "latest.json", *draw(results, RESULTS)]
    console.print("Written:", ", ".join(str(path.relative_to(Path.cwd())) for path in written))
    outcomes = [*results["contests"].values(), *results["memory"]]
    return 0 if all(outcome["reached"] for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
