"""A real Spark session in local mode, one for all tests, where there is a Java to run it."""

from __future__ import annotations

import importlib.util
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tfpetastorm.errors import MissingJavaError

# Python alone can't tell a CI that has forgotten pyspark: there the tests are collected, and fail.
_there = importlib.util.find_spec("pyspark") or os.environ.get("CI") == "true"
collect_ignore_glob = [] if _there else ["test_*.py"]


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A session of two cores."""
    from tfpetastorm.spark import local_session

    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    settings = {
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.warehouse.dir": str(tmp_path_factory.mktemp("warehouse")),
        # Spark's workers find these tests and us as this process does.
        "spark.executorEnv.PYTHONPATH": str(Path(__file__).parents[2]),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pyspark's own, of pandas' newest version and of unclosed sockets
        try:
            session = local_session(2, settings)
        except MissingJavaError as error:
            if os.environ.get("CI") == "true":
                pytest.fail(str(error))
            pytest.skip(str(error))
        yield session
        session.stop()
