"""`tps.keras.fit` under real strategies goes on from a crash as on one machine."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.distribute.cluster import run

PROGRAM = str(Path(__file__).parent / "strategy_program.py")
ROWS = 123

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def url(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("strategies")
    ids = np.arange(ROWS)
    x = (ids / ROWS).astype(np.float32)
    pq.write_table(pa.table({"id": ids, "x": x, "y": 3 * x - 1}), folder / "x.parquet", row_group_size=10)
    return str(folder)


def rows(results: list[Any]) -> list[list[int]]:
    """By step, the rows that all replicas saw. Two of one process note them in turn."""
    if len(results) == 1:
        notes = results[0]["trained"]
        return [sorted(notes[i] + notes[i + 1]) for i in range(0, len(notes), 2)]
    return [sorted(a + b) for a, b in zip(*(result["trained"] for result in results), strict=True)]


@pytest.mark.parametrize(("library", "workers"), [("tf_keras", 2), ("keras", 1)])
def test_a_crash_changes_nothing(url: str, tmp_path: Path, library: str, workers: int) -> None:
    def train(name: str, stop_after: int = 0, workers: int = workers) -> list[Any]:
        options = {
            "url": url, "library": library, "directory": str(tmp_path / name), "own": False, "epochs": 2,
            "stop_after": stop_after, "save_every": 3, "block": 40,
        }  # fmt: skip
        return run(PROGRAM, tmp_path / f"{name}-{stop_after}-{workers}", options, workers)

    whole = train("whole")
    steps = whole[0]["steps"]
    seen = rows(whole)
    assert len(seen) == 2 * steps
    for epoch in (seen[:steps], seen[steps:]):
        ids = [i for step in epoch for i in step]
        assert len(ids) == len(set(ids)) >= ROWS - 8
    first = train("crashed", steps + 6)
    assert all(result["error"] == "CrashError: " for result in first)
    # Two workers' steps share what each reads at once, so saves are at even steps.
    done = steps + (4 if workers == 2 else 3)
    assert first[0]["saves"][-1] == f"save-000001-{(done - steps) // workers:09}.zip"
    shutil.copytree(tmp_path / "crashed", tmp_path / "alone")
    rest = train("crashed")
    assert [result["epochs"] for result in rest] == [[1]] * workers
    assert rows(rest) == seen[done:]
    assert rows(first) == seen[: steps + 6]
    for result in rest:
        assert result["values"] == whole[0]["values"]
    if workers > 1:
        # One worker makes the rest of the epoch alone: no row comes twice.
        [alone] = train("alone", workers=1)
        ids = [i for step in (*seen[steps:done], *alone["trained"]) for i in step]
        assert alone["epochs"] == [1]
        assert sorted(ids) == list(range(ROWS))


def test_workers_that_find_different_saves_say_so(url: str, tmp_path: Path) -> None:
    options = {
        "url": url, "library": "tf_keras", "directory": str(tmp_path / "saves"), "own": True, "epochs": 1,
        "stop_after": 0, "save_every": 3, "block": 40,
    }  # fmt: skip
    done = run(PROGRAM, tmp_path / "first", options, 2)
    # One worker alone writes.
    assert [bool(result["saves"]) for result in done] == [True, False]
    again = run(PROGRAM, tmp_path / "again", options, 2)
    assert all("OptionError: The workers found different saves" in result["error"] for result in again)
    shutil.copytree(tmp_path / "saves-0", tmp_path / "saves-1")
    again = run(PROGRAM, tmp_path / "copied", options, 2)
    assert [(result["error"], result["epochs"]) for result in again] == [("", [])] * 2
