"""The main job: digits to Parquet to a trained model."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "digits.py"


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("digits_example", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_demo_reaches_95_percent_on_rows_it_never_trained_on(tmp_path: Path) -> None:
    started = time.monotonic()
    done = run(str(EXAMPLE), "--folder", str(tmp_path / "demo"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert time.monotonic() - started < 120  # the promise is 60 s on a machine that does nothing else

    said = re.search(r"accuracy\s+([\d.]+)% of (\d+) rows never trained on", done.stdout)
    assert said, done.stdout
    assert float(said.group(1)) >= 95
    assert 250 < int(said.group(2)) < 470  # a fifth of 1,797, in the mean
    assert "1,797 rows in 18 row groups" in done.stdout
    assert re.search(r"speed\s+[\d,]+ rows a second", done.stdout)
    assert re.search(r"waiting for data\s+[\d.]+% of step time", done.stdout)
    assert "Traceback" not in done.stderr
    picture = cv2.imread(str(tmp_path / "demo" / "predictions.png"))
    assert picture is not None
    assert picture.std() > 10


def test_a_goal_that_is_missed_shows_in_the_exit_status(tmp_path: Path) -> None:
    """Training for one epoch is not enough, and the demo says so."""
    code = f"""
import sys, runpy
sys.argv = ["digits.py", "--folder", {str(tmp_path)!r}, "--epochs", "1"]
import sklearn.datasets, numpy
digits = sklearn.datasets.load_digits()
digits.target = numpy.roll(digits.target, 1)  # labels that the images can't tell
sklearn.datasets.load_digits = lambda: digits
runpy.run_path({str(EXAMPLE)!r}, run_name="__main__")
"""
    done = run("-c", code)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "less than 95%" in done.stdout


def test_training_and_test_rows_make_up_the_whole_and_share_none(example: ModuleType, tmp_path: Path) -> None:
    example.write_digits(tmp_path / "digits")
    seen: list[set[tuple[bytes, int]]] = [set(), set()]
    for rows, data in zip(seen, (example.training_data, example.test_data), strict=True):
        for features, digits in data(tmp_path / "digits"):
            rows |= {(image.tobytes(), int(d)) for image, d in zip(features["image"].numpy(), digits, strict=True)}
    assert len(seen[0] | seen[1]) == len(seen[0]) + len(seen[1]) == 1797


@pytest.mark.filterwarnings("ignore:.*shuffle=True.*:UserWarning")
def test_a_slow_source_shows_as_a_larger_share_of_waiting(example: ModuleType, tmp_path: Path) -> None:
    example.write_digits(tmp_path / "digits")

    def slow(columns: dict[str, Any]) -> dict[str, Any]:
        time.sleep(0.25)
        return columns

    model = example.small_model()
    usual = example.train(model, example.training_data(tmp_path / "digits"), 3)
    slowed = example.train(model, example.training_data(tmp_path / "digits", transform=slow), 3)
    assert usual.steps == slowed.steps > 0
    assert usual.rows == slowed.rows > 0
    assert slowed.wait_share > usual.wait_share + 0.25
    assert slowed.rows_per_second < usual.rows_per_second
