"""How much memory training takes above an idle TensorFlow process, and whether it stays flat.

Measured is PSS (each process's share of what it maps, shared memory included), summed over the process and all its
descendants, every 10 ms, from outside. An idle TensorFlow process runs beside it and is taken off sample by sample:
both share TensorFlow's code with whatever else runs on the machine, so that a figure taken once would go stale.
Linux only.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

INTERVAL = 0.01
EPOCHS = 20
#: How far the peak may lie above the budget for decoded data, and late epochs above early ones, in MB.
ALLOWANCE_MB = 300.0
DRIFT_MB = 50.0


@dataclass(frozen=True)
class Usage:
    """What one run took, in MB (10**6 bytes) above the idle process.

    samples: (seconds since the first epoch began, MB). epochs: the peak of each. extra_shared: the most
    shared memory on the machine beyond what there was before, whether or not a process mapped it.
    """

    title: str
    budget: float
    idle: float
    samples: list[tuple[float, float]]
    epochs: list[float]
    extra_shared: float

    @property
    def interval(self) -> float:
        """The seconds that lay between samples, as a median: more than `INTERVAL` if the machine is busy."""
        return median(late[0] - early[0] for early, late in pairwise(self.samples))

    @property
    def peak(self) -> float:
        """The most at any time."""
        return max(mb for _, mb in self.samples)

    @property
    def drift(self) -> float:
        """How far the last five epochs' median peak lies above that of the second to sixth."""
        return median(self.epochs[-5:]) - median(self.epochs[1:6])

    @property
    def reached(self) -> bool:
        """Whether the peak and the drift are within their bounds."""
        return self.peak <= self.budget + ALLOWANCE_MB and self.drift <= DRIFT_MB

    def to_json(self) -> dict[str, Any]:
        """All of it as JSON values."""
        return asdict(self) | {
            "interval": self.interval,
            "peak": self.peak,
            "drift": self.drift,
            "reached": self.reached,
        }


def _descendants(pid: int) -> list[int]:
    found = [pid]
    for one in found:
        try:
            for children in Path(f"/proc/{one}/task").glob("*/children"):
                found += [int(child) for child in children.read_text().split()]
        except OSError:  # it ended meanwhile
            continue
    return found


def tree_pss(pid: int, processes: list[int] | None = None) -> float:
    """PSS of a process and all its descendants (or of those given), in MB."""
    kilobytes = 0
    for one in processes or _descendants(pid):
        try:
            rollup = Path(f"/proc/{one}/smaps_rollup").read_text()
        except OSError:
            continue
        kilobytes += next((int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")), 0)
    return kilobytes * 1024 / 1e6


def _shared_bytes() -> int:
    """All shared memory on the machine: files in /dev/shm and anonymous ones, also those that nobody maps just now."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("Shmem:"):
            return int(line.split()[1]) * 1024
    return 0


class _Child:
    """A process that prints "idle" and waits for a line before it goes on."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.pid = self.process.pid

    def lines(self) -> Iterator[str]:
        """What it prints, until it ends."""
        if self.process.stdout is not None:
            yield from (line.strip() for line in self.process.stdout)

    def go(self) -> None:
        """Lets it go on."""
        if self.process.stdin is not None:
            self.process.stdin.write("go\n")
            self.process.stdin.flush()

    def __enter__(self) -> _Child:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.process.kill()
        self.process.communicate()
        if kind is None and self.process.returncode:
            raise RuntimeError(f"{self.process.args!r} ended with status {self.process.returncode}")


def measure(title: str, budget_mb: float, command: list[str], on_epoch: Callable[[int], None]) -> Usage:
    """Runs `command`, which prints "idle", waits for a line, then prints "epoch" after each of its epochs.

    Beside it runs `python -m benchmarks.memory`, which stays idle.
    """
    with _Child(command) as child, _Child(["benchmarks.memory"]) as twin:
        return _weigh(title, budget_mb, child, twin, on_epoch)


def _weigh(title: str, budget_mb: float, child: _Child, twin: _Child, on_epoch: Callable[[int], None]) -> Usage:
    for one in (child, twin):
        if "idle" not in one.lines():
            raise RuntimeError(f"{one.process.args!r} never became idle")
    time.sleep(1)
    # The two do the same until now; what still differs is noise of the allocator.
    offset = median(tree_pss(child.pid) - tree_pss(twin.pid) for _ in range(20))
    idle = median(tree_pss(twin.pid) for _ in range(5)) + offset
    shared_before = _shared_bytes()
    samples: list[tuple[float, float]] = []
    shared = [0]
    ended = threading.Event()

    def sample() -> None:
        base, tree = idle, [child.pid]
        while not ended.is_set():
            at = time.perf_counter()
            if len(samples) % 10 == 0:
                base = tree_pss(twin.pid) + offset
                shared.append(_shared_bytes() - shared_before)
            if len(samples) % 5 == 0:  # looking for children takes longer than weighing them
                tree = _descendants(child.pid)
            samples.append((at, tree_pss(child.pid, tree) - base))
            ended.wait(max(0.0, INTERVAL - (time.perf_counter() - at)))

    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    borders = [time.perf_counter()]
    child.go()
    for line in child.lines():
        if line == "epoch":
            borders.append(time.perf_counter())
            on_epoch(len(borders) - 1)
    ended.set()
    sampler.join()
    twin.go()
    epochs = [max((mb for at, mb in samples if low <= at < high), default=0.0) for low, high in pairwise(borders)]
    relative = [(at - borders[0], mb) for at, mb in samples if at <= borders[-1]]
    return Usage(title, budget_mb, idle, relative, epochs, max(shared) / 1e6)


def _idle() -> None:
    """An idle TensorFlow that has run something, until a line comes."""
    import tensorflow as tf

    from benchmarks.measure import time_dataset

    time_dataset(tf.data.Dataset.range(100).batch(10))
    print("idle", flush=True)
    sys.stdin.readline()


def _train(name: str, pool: str, budget_mb: float, scale: float) -> None:
    """What is measured: `EPOCHS` passes over a dataset of ours."""
    import tfpetastorm as tps
    from benchmarks.datasets import NUMERIC, dataset
    from benchmarks.measure import time_dataset

    name, _, shuffled = name.partition("-")
    fields, batch_size = (["image", "label"], 64) if name == "images" else (NUMERIC, 1024)
    options = tps.PoolOptions(pool, budget_bytes=int(budget_mb * 1e6))
    folder = str(dataset(name, scale)[0])
    ours = tps.make_dataset(folder, fields=fields, batch_size=batch_size, pool=options, shuffle=bool(shuffled))
    for _ in range(EPOCHS):
        time_dataset(ours)
        print("epoch", flush=True)


if __name__ == "__main__":
    _idle()
    if len(sys.argv) > 1:
        _train(sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4]))
