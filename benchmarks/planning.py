"""Plan and shard arithmetic of a huge dataset: 1,000,000 row groups, 1,024 shards.

    python -m benchmarks.planning        does it once, and prints seconds and the process's peak memory

Pure NumPy, nothing is read; Linux only. Timed is what stands between the counts of rows in the footers and knowing,
for every shard of one epoch, its steps and its elements; what one of them reads first; and how one more shard than
before would go on from the middle.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.measure import Round

ROW_GROUPS = 1_000_000
SHARDS = 1_024
SECONDS = 1.0
MEGABYTES = 500.0


@dataclass(frozen=True)
class Planning:
    """What it took: seconds, and the peak memory of the whole process in MB (10**6 bytes)."""

    seconds: float
    megabytes: float
    steps: int


def plan(row_groups: int, shards: int) -> Planning:
    """Plans an epoch for all shards, in this process."""
    from tfpetastorm.plan.epochs import EpochPlan
    from tfpetastorm.plan.layout import Samples
    from tfpetastorm.plan.order import Shuffle
    from tfpetastorm.plan.position import Segment
    from tfpetastorm.plan.shards import Division
    from tfpetastorm.plan.tasks import slice_row_groups

    rows = np.random.default_rng(1).integers(500, 1_500, row_groups)
    began = time.perf_counter()
    tasks = slice_row_groups(rows, np.ones(row_groups, bool), np.full(row_groups, 1_000.0))
    division = Division(shards, 32 * shards, "drop")
    shuffle = Shuffle(block_rows=400_000)
    whole = EpochPlan(
        Samples(tasks, tasks.stop - tasks.start), shuffle, 7, block=shuffle.block(1_000), division=division
    )
    steps = whole.steps(0)
    half = (Segment(division, steps // 2),)
    seen = 0
    for shard in range(shards):
        layout = whole.for_shard(shard).layout(0)
        seen += layout.samples
        if not shard:
            assert layout.element(0).pieces
    if not 0 <= rows.sum() - seen < shards:
        raise AssertionError(f"{rows.sum()} rows, but {seen} planned")
    # Under one shard more, the rest of the epoch is divided anew.
    other = Division(shards + 1, 32 * (shards + 1), "drop")
    rest = EpochPlan(whole.samples, shuffle, 7, block=whole.block, division=other, consumed=half)
    assert len(rest.for_shard(shards).layout(0))
    return Planning(time.perf_counter() - began, _peak(), steps)


def _peak() -> float:
    """The most memory that this process ever held, in MB."""
    # Not getrusage, which on Linux starts from the size of the process that started this one.
    status = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024 / 1e6


def _in_its_own_process(scale: float) -> Planning:
    groups, shards = max(100, round(ROW_GROUPS * scale)), max(2, round(SHARDS * scale))
    command = [sys.executable, "-m", "benchmarks.planning", f"--row-groups={groups}", f"--shards={shards}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return Planning(**json.loads(done.stdout))


def _against(bound: float, took: Callable[[Planning], float]) -> Callable[[float, int], Iterator[Round]]:
    def play(scale: float, rounds: int) -> Iterator[Round]:
        for _ in range(rounds):
            yield Round(bound / took(_in_its_own_process(scale)), 1.0)

    return play


against_a_second = _against(SECONDS, lambda planning: planning.seconds)
against_500_mb = _against(MEGABYTES, lambda planning: planning.megabytes)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--row-groups", type=int, default=ROW_GROUPS)
    parser.add_argument("--shards", type=int, default=SHARDS)
    arguments = parser.parse_args()
    print(json.dumps(asdict(plan(arguments.row_groups, arguments.shards))))
