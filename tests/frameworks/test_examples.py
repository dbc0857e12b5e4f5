"""The examples of other frameworks run, each in a process of its own, and learn."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "frameworks"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("frameworks")


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("numpy_centroids", 86),
        ("sklearn_partial_fit", 90),
        ("pytensor_softmax", 90),
        ("jax_keras", 90),
        ("torch_train", 90),
    ],
)
def test_an_example_learns_the_digits(name: str, least: float, folder: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTENSOR_FLAGS": f"compiledir={folder / 'compiled'}"}
    done = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py", "--folder", folder],
        capture_output=True, text=True, check=False, timeout=200, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    told = re.search(r"^([\d.]+)% of the digits never trained on are recognised$", done.stdout, re.MULTILINE)
    assert told, done.stdout
    assert least <= float(told.group(1)) <= 100


def test_every_example_is_run_here() -> None:
    run = {mark.args[1][place][0] for mark in test_an_example_learns_the_digits.pytestmark for place in range(5)}
    assert {path.stem for path in EXAMPLES.glob("*.py")} - {"digits_data"} == run
