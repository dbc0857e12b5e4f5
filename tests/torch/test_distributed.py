"""Two real processes that train together."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tfpetastorm as tps

pytestmark = pytest.mark.slow

ROWS = 500
WORLD = 2
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("workers", [0, 2])
def test_two_processes_train_on_all_rows_in_equal_steps(dataset_path: Path, tmp_path: Path, workers: int) -> None:
    schema = tps.Unischema("S", [tps.UnischemaField("id", np.int64, ()), tps.UnischemaField("label", np.int32, ())])
    with tps.DatasetWriter(dataset_path, schema, row_group_rows=37) as writer:
        writer.write_batch({"id": np.arange(ROWS), "label": np.arange(ROWS, dtype=np.int32) % 7})
    program = str(Path(__file__).with_name("rank_program.py"))
    environment = os.environ | {"PYTHONPATH": str(ROOT), "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    ranks = [
        subprocess.Popen(
            [sys.executable, program, dataset_path, str(rank), str(WORLD), tmp_path, str(workers)],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank in range(WORLD)
    ]  # fmt: skip
    try:
        for process in ranks:
            printed, _ = process.communicate(timeout=150)
            assert process.returncode == 0, printed
    finally:
        for process in ranks:
            process.kill()
    told = [json.loads((tmp_path / f"rank-{rank}.json").read_text()) for rank in range(WORLD)]
    for epoch in range(2):
        rows = [one["epochs"][epoch]["rows"] for one in told]
        assert sorted(rows[0] + rows[1]) == list(range(ROWS))
        assert len(rows[0]) == len(rows[1])
        assert {one["epochs"][epoch]["total"] for one in told} == {ROWS}
        assert {one["epochs"][epoch]["steps"] for one in told} == {-(-ROWS // (16 * WORLD))}
    # Each epoch is shared out anew, and the ranks' weights are one.
    assert set(told[0]["epochs"][0]["rows"]) != set(told[0]["epochs"][1]["rows"])
    assert told[0]["weights"] == told[1]["weights"]
    assert "before torch.distributed.init_process_group" in told[0]["refused"]
