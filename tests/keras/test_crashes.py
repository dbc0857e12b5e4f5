"""Training is killed again and again, and comes out as if it never was."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

PROGRAM = Path(__file__).parent / "crash_program.py"
ROWS, GROUP, EPOCHS, BATCH = 808, 20, 5, 8
STEPS = ROWS // BATCH * EPOCHS
MARK = "TFPETASTORM_CRASH_TEST"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def url(tmp_path_factory) -> Path:
    """808 rows in two files of row groups of 20."""
    folder = tmp_path_factory.mktemp("crashes")
    for part in range(2):
        ids = np.arange(part * ROWS // 2, (part + 1) * ROWS // 2)
        x = (ids / ROWS).astype(np.float32)
        pq.write_table(pa.table({"id": ids, "x": x, "y": 3 * x - 1}), folder / f"{part}.parquet", row_group_size=GROUP)
    return folder


@dataclass(frozen=True)
class Training:
    """A training run in `folder`, whatever processes it takes."""

    url: Path
    folder: Path

    @property
    def saves(self) -> Path:
        return self.folder / "saves"

    def start(self) -> subprocess.Popen[bytes]:
        self.folder.mkdir(exist_ok=True)
        files = [self.saves, self.folder / "notes", self.folder / "result"]
        environment = os.environ | {"PYTHONPATH": str(PROGRAM.parents[2]), MARK: str(self.folder)}
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-W", "error", str(PROGRAM), str(self.url), *map(str, files)],
                env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def told(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-5000:]

    def notes(self) -> list[tuple[int, list[int]]]:
        """All steps that were begun, by number, with their ids; steps of several processes in turn."""
        path = self.folder / "notes"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(step, ids) for step, ids in map(json.loads, lines)]

    def noted(self) -> int:
        """Bytes of notes so far."""
        path = self.folder / "notes"
        return path.stat().st_size if path.exists() else 0

    def unfinished(self) -> bool:
        return self.saves.is_dir() and any(path.name.endswith(".unfinished") for path in self.saves.iterdir())

    def processes(self) -> list[psutil.Process]:
        """What is running of it, worker processes too."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == str(self.folder) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def result(self) -> list[str]:
        return json.loads((self.folder / "result").read_text())


def wait_until(condition, process: subprocess.Popen[bytes], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, f"it ended with {process.poll()}"
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.0005)


def kill(training: Training, moment: str, seconds: float) -> bool:
    """Starts a process of the run and kills it; whether it was within a save."""
    before = training.noted()
    process = training.start()
    try:
        if moment == "training":
            wait_until(lambda: training.noted() > before, process)
        elif moment == "saving":
            # What the process before left behind is removed before training begins.
            wait_until(lambda: training.noted() > before and training.unfinished(), process)
        time.sleep(seconds)
        assert process.poll() is None, f"killed too late\n{training.told()}"
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    within = training.unfinished()
    deadline = time.monotonic() + 10
    while running := training.processes():
        assert time.monotonic() < deadline, f"left behind: {[process.cmdline() for process in running]}"
        time.sleep(0.02)
    return within


def test_ten_kills_change_nothing(url: Path, tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    print(f"moments of seed {seed}")
    moments = random.Random(seed)
    undisturbed, killed = Training(url, tmp_path / "undisturbed"), Training(url, tmp_path / "killed")
    reference = undisturbed.start()
    try:
        # Longest delays add up to less than the steps take: no process is done before it is killed.
        kinds = ["starting"] + ["training"] * 6 + ["saving"] * 3
        moments.shuffle(kinds)
        longest = {"starting": 3.0, "training": 0.5, "saving": 0.002}
        within = [kill(killed, kind, moments.uniform(0, longest[kind])) for kind in kinds]
        last = killed.start()
        assert last.wait(60) == 0, killed.told()
        assert reference.wait(60) == 0, undisturbed.told()
    finally:
        reference.kill()
        reference.wait()
    assert sum(within) >= 1, "no kill fell within a save"
    expected = undisturbed.notes()
    assert [step for step, _ in expected] == list(range(STEPS))
    for start in range(0, STEPS, STEPS // EPOCHS):
        assert sorted(i for _, ids in expected[start : start + STEPS // EPOCHS] for i in ids) == list(range(ROWS))
    # Whoever makes a step, and however often: it is the same step.
    whole = dict(expected)
    seen = killed.notes()
    assert all(ids == whole[step] for step, ids in seen)
    assert {step for step, _ in seen} == set(whole)
    assert len(seen) - STEPS < 10 * 2 * 7, "more steps were made again than lie between two saves"
    assert killed.result() == undisturbed.result()
    assert not killed.processes()
    assert not undisturbed.processes()
    assert len(list(killed.saves.iterdir())) == 2, "what was left unfinished is still there"
