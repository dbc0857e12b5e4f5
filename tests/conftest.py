"""What all tests share: a quiet TensorFlow on the CPU, and how hard Hypothesis tries."""

from __future__ import annotations

import os

# Before anything imports TensorFlow; worker processes inherit it.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# A deadline would measure the machine. In CI a run must not depend on chance: a failure there can be repeated here.
_SLOW_DATA = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile("local", deadline=None, suppress_health_check=_SLOW_DATA)
settings.register_profile("ci", deadline=None, suppress_health_check=_SLOW_DATA, derandomize=True)
# For environments in which tests run once more.
settings.register_profile("brief", deadline=None, suppress_health_check=_SLOW_DATA, derandomize=True, max_examples=25)
settings.register_profile("thorough", deadline=None, suppress_health_check=_SLOW_DATA, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") == "true" else "local"))

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def golden() -> Path:
    """The folder of datasets that petastorm itself wrote, with the values that it read back."""
    return GOLDEN


@pytest.fixture
def dataset_path(tmp_path: Path) -> Path:
    """Where a test may write a dataset of its own; does not exist yet."""
    return tmp_path / "dataset"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest test begins first: at the end, all other processes would wait for it."""
    items.sort(key=lambda item: "test_published.py" not in item.nodeid)
