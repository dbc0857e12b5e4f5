"""Each contest runs from end to end on little data; its figures mean nothing then."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import memory
from benchmarks.contests import CONTESTS

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module", autouse=True)
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TFPETASTORM_BENCHMARK_DATA", str(folder))
        patch.setenv("PYTHONPATH", str(REPOSITORY))
        yield folder


NAMES = [name for name in CONTESTS if CONTESTS[name].possible]
#: Several are played by one process: to start TensorFlow takes longer than a contest on little data.
GROUPS = [NAMES[i :: len(NAMES) // 5] for i in range(len(NAMES) // 5)]


@pytest.mark.parametrize("names", GROUPS, ids="+".join)
def test_contests_end_with_their_outcomes(names: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.contests", *names, "--scale=0.02", "--rounds=1"],
        capture_output=True, text=True, env=os.environ, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    outcomes = [json.loads(line)["outcome"] for line in done.stdout.splitlines() if '"outcome"' in line]
    assert [outcome["name"] for outcome in outcomes] == [CONTESTS[name].title for name in names]
    assert all(outcome["ratio"] > 0 and len(outcome["rounds"]) == 1 for outcome in outcomes)


@pytest.mark.parametrize("pool", ["thread", "process"])
def test_memory_is_weighed_over_all_epochs(pool: str) -> None:
    seen: list[int] = []
    command = ["benchmarks.memory", "tabular", pool, "256", "0.02"]
    usage = memory.measure("x", 256, command, seen.append)
    assert seen == list(range(1, memory.EPOCHS + 1))
    assert len(usage.epochs) == memory.EPOCHS
    assert usage.idle > 50
    assert usage.reached
