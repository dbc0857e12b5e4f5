"""How much memory training takes above an idle TensorFlow process, and whether it stays flat.

Measured is PSS (each process's share of what it maps, shared memory included), summed over the process and all its
descendants, every 10 ms, from outside. Linux only.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
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

    samples: (seconds since the first epoch began, MB). epochs: the peak of each. extra_shared: the most that lay in
    /dev/shm beyond what lay there before, whether or not a process mapped it.
    """

    title: str
    budget: float
    idle: float
    samples: list[tuple[float, float]]
    epochs: list[float]
    extra_shared: float

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
        return asdict(self) | {"peak": self.peak, "drift": self.drift, "reached": self.reached}


def _descendants(pid: int) -> list[int]:
    found = [pid]
    for one in found:
        try:
            for children in Path(f"/proc/{one}/task").glob("*/children"):
                found += [int(child) for child in children.read_text().split()]
        except OSError:  # it ended meanwhile
            continue
    return found


def tree_pss(pid: int) -> float:
    """PSS of a process and all its descendants, in MB."""
    kilobytes = 0
    for one in _descendants(pid):
        try:
            rollup = Path(f"/proc/{one}/smaps_rollup").read_text()
        except OSError:
            continue
        kilobytes += next((int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")), 0)
    return kilobytes * 1024 / 1e6


def _shared_bytes() -> int:
    total = 0
    for path in Path("/dev/shm").glob("*"):
        try:
            total += path.stat().st_blocks * 512
        except OSError:
            continue
    return total


def measure(title: str, budget_mb: float, command: list[str], on_epoch: Callable[[int], None]) -> Usage:
    """Runs `command`, which prints "idle", waits for a line, then prints "epoch" after each of its epochs."""
    child = subprocess.Popen([sys.executable, "-m", *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    if child.stdin is None or child.stdout is None:
        raise RuntimeError("the child has no pipes")
    for line in child.stdout:
        if line.strip() == "idle":
            break
    time.sleep(1)
    idle = median(tree_pss(child.pid) for _ in range(20))
    shared_before = _shared_bytes()

    samples: list[tuple[float, float]] = []
    shared: list[int] = [0]
    ended = threading.Event()

    def sample() -> None:
        while not ended.is_set():
            at = time.perf_counter()
            samples.append((at, tree_pss(child.pid) - idle))
            shared.append(_shared_bytes() - shared_before)
            ended.wait(max(0.0, INTERVAL - (time.perf_counter() - at)))

    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    began = time.perf_counter()
    child.stdin.write("go\n")
    child.stdin.flush()
    borders = [began]
    for line in child.stdout:
        if line.strip() == "epoch":
            borders.append(time.perf_counter())
            on_epoch(len(borders) - 1)
    ended.set()
    sampler.join()
    if child.wait():
        raise RuntimeError(f"{' '.join(command)} ended with status {child.returncode}")
    epochs = [max((mb for at, mb in samples if low <= at < high), default=0.0) for low, high in pairwise(borders)]
    relative = [(at - began, mb) for at, mb in samples if at >= began]
    return Usage(title, budget_mb, idle, relative, epochs, max(shared) / 1e6)


def _child(name: str, pool: str, budget_mb: float, scale: float) -> None:
    """What is measured: an idle TensorFlow, then `EPOCHS` passes over a dataset of ours."""
    import tensorflow as tf

    from benchmarks.measure import time_dataset

    time_dataset(tf.data.Dataset.range(100).batch(10))
    print("idle", flush=True)
    sys.stdin.readline()

    from benchmarks.datasets import NUMERIC, dataset

    fields, batch_size = (["image", "label"], 64) if name == "images" else (NUMERIC, 1024)
    import tfpetastorm as tps

    options = tps.PoolOptions(pool, budget_bytes=int(budget_mb * 1e6))
    ours = tps.make_dataset(str(dataset(name, scale)[0]), fields=fields, batch_size=batch_size, pool=options)
    for _ in range(EPOCHS):
        time_dataset(ours)
        print("epoch", flush=True)


if __name__ == "__main__":
    _child(sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4]))
