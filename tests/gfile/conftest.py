"""Which tests are for which TensorFlow: tensorflow-io loads under 2.16 alone, in an environment of its own."""

from __future__ import annotations

import importlib.util
import os
import sys

import pytest

_THERE = importlib.util.find_spec("tensorflow_io") is not None
collect_ignore = ["test_without_tensorflow_io.py" if _THERE else "test_tensorflow_io.py"]
_STATUS = pytest.StashKey[int]()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    session.config.stash[_STATUS] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    # A process that has used tensorflow-io's S3 aborts when it ends, whatever it did (tensorflow/io#2039).
    if "tensorflow_io" in sys.modules and _STATUS in config.stash:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(config.stash[_STATUS])
