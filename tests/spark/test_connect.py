"""Spark Connect: a session that is a client of a Spark elsewhere."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pyspark
import pytest

pytestmark = pytest.mark.slow


@pytest.mark.skipif(pyspark.__version__.startswith("3."), reason="Spark 3's package holds no server of Spark Connect")
def test_datasets_are_written_and_read_by_a_client(dataset_path: Path) -> None:
    if importlib.util.find_spec("grpc_status") is None and os.environ.get("CI") != "true":
        pytest.skip("pip install 'pyspark[connect]'")
    program = Path(__file__).with_name("connect_program.py")
    root = str(Path(__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", program, dataset_path],
        capture_output=True, text=True, timeout=240, env=os.environ | {"PYTHONPATH": root}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.endswith("done\n")
