"""Sessions of Spark: one on this machine, for small jobs, trials and tests, and that of the driver."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from typing import Any

from tfpetastorm.errors import MissingPackageError
from tfpetastorm.plan.numbers import whole_number
from tfpetastorm.spark.java import use_java


def local_session(cores: int | None = None, settings: Mapping[str, Any] | None = None) -> Any:
    """A SparkSession of this machine alone; the one that runs already, if one does.

    It listens on the loopback address only, has no web page, and its Python workers are this very Python. cores: how
    many tasks run at once; all cores unless told. settings: Spark's own, by name; they go before these.

    Raises MissingJavaError where there is no Java that this Spark runs on, saying what to install, MissingPackageError
    without pyspark.
    """
    master = "local[*]" if cores is None else f"local[{whole_number('cores', cores, 1)}]"
    use_java()
    from pyspark.sql import SparkSession

    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    os.environ.setdefault("PYSPARK_DRIVER_PYTHON", sys.executable)
    builder = SparkSession.builder.master(master).appName("tfpetastorm")
    chosen = {
        "spark.ui.enabled": "false",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        **(settings or {}),
    }
    for name, value in chosen.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def driver_session() -> Any:
    """The session of this process, or a new one; only where Spark's driver is.

    Raises RuntimeError in a task of Spark, MissingPackageError without pyspark, and MissingJavaError without a Java.
    """
    try:
        pyspark, sql = importlib.import_module("pyspark"), importlib.import_module("pyspark.sql")
    except ImportError as error:
        raise MissingPackageError(f"Needs pyspark ({error}): pip install 'tfpetastorm[spark]'.") from None
    if pyspark.TaskContext.get() is not None:
        raise RuntimeError(
            "A task of Spark has no session: make the converter in the driver, and send it to the tasks."
        )
    if sql.SparkSession.getActiveSession() is None and "SPARK_REMOTE" not in os.environ:
        use_java()
    return sql.SparkSession.builder.getOrCreate()
