"""The contests against tfx-bsl run from end to end on little data; their figures mean nothing then."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.contests import CONTESTS

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, contest in CONTESTS.items() if contest.package == "tfx_bsl"])
def test_a_contest_ends_with_its_outcome(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    data = tmp_path_factory.getbasetemp() / "contests"
    environment = os.environ | {"TFPETASTORM_BENCHMARK_DATA": str(data), "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.contests", name, "--scale=0.02", "--rounds=1"],
        capture_output=True, text=True, env=environment, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    outcome = json.loads(next(line for line in done.stdout.splitlines() if '"outcome"' in line))["outcome"]
    assert outcome["name"] == CONTESTS[name].title
    assert outcome["ratio"] > 0
