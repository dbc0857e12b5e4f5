"""Petastorm's own published tests, made to speak of tfpetastorm: only imports and NumPy's renamed types are changed.

They are taken from an installed petastorm (`make petastorm-env`), written to a folder of their own and run by one
pytest in the environment that has PyTorch, pandas and Spark (`make frameworks-env`). The folder becomes
`tfpetastorm.tests` there, as they import each other.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tfpetastorm.errors import MissingJavaError
from tfpetastorm.spark.java import java_environment

ROOT = Path(__file__).parents[2]
#: Names of NumPy 1 that NumPy 2 spells otherwise.
_NUMPY = {"unicode_": "str_", "string_": "bytes_", "float": "float64", "bool": "bool_"}

#: What pyarrow had until version 15, of which tests still import or use a name.
_STAND_INS = """
import inspect, sys, types
import pyarrow, pyarrow.fs
if not hasattr(inspect, "getargspec"):  # Python 3.11 has only the full form
    inspect.getargspec = inspect.getfullargspec
for name in ("hdfs", "filesystem"):
    if not hasattr(pyarrow, name):
        module = types.ModuleType("pyarrow." + name)
        module.LocalFileSystem, module.HadoopFileSystem = pyarrow.fs.LocalFileSystem, pyarrow.fs.HadoopFileSystem
        sys.modules["pyarrow." + name] = module
        setattr(pyarrow, name, module)
if not hasattr(pyarrow, "LocalFileSystem"):
    pyarrow.LocalFileSystem = pyarrow.fs.LocalFileSystem
"""

_CONFTEST = """
import json
import os
from collections import namedtuple

import pytest

SyntheticDataset = namedtuple("SyntheticDataset", ["url", "data", "path"])
outcomes = {}


def maybe_cached_dataset(config, name, generating_func):
    return generating_func()


def _made(factory, make, *arguments):
    path = str(factory.mktemp("data"))
    return SyntheticDataset("file://" + path, make("file://" + path, *arguments), path)


@pytest.fixture(scope="session")
def synthetic_dataset(tmp_path_factory):
    from tfpetastorm.tests.test_common import create_test_dataset

    return _made(tmp_path_factory, create_test_dataset, range(100))


@pytest.fixture(scope="session")
def scalar_dataset(tmp_path_factory):
    from tfpetastorm.tests.test_common import create_test_scalar_dataset

    return _made(tmp_path_factory, create_test_scalar_dataset, 100)


@pytest.fixture(scope="session")
def many_columns_non_petastorm_dataset(tmp_path_factory):
    from tfpetastorm.tests.test_common import create_many_columns_non_petastorm_dataset

    return _made(tmp_path_factory, create_many_columns_non_petastorm_dataset, 10)


@pytest.fixture(scope="module")
def spark_test_ctx(tmp_path_factory):
    from pyspark.sql import SparkSession
    from tfpetastorm.spark import spark_dataset_converter

    Context = namedtuple("Context", ["spark", "tempdir", "temp_url"])
    session = SparkSession.builder.master("local[2]").getOrCreate()
    folder = str(tmp_path_factory.mktemp("converted"))
    session.conf.set(spark_dataset_converter.SparkDatasetConverter.PARENT_CACHE_DIR_URL_CONF, "file://" + folder)
    spark_dataset_converter._FILE_AVAILABILITY_WAIT_TIMEOUT_SECS = 2
    yield Context(session, folder, "file://" + folder)
    spark_dataset_converter._FILE_AVAILABILITY_WAIT_TIMEOUT_SECS = 30
    session.stop()


def _record(name, outcome, report):
    # One failure, in whichever phase, outweighs the rest.
    if outcomes.get(name, ("", ""))[0] != "failed":
        told = str(report.longrepr) if report.outcome == "failed" else ""
        outcomes[name] = (outcome, told[-1500:])


def pytest_runtest_logreport(report):
    if report.when == "call" or report.outcome != "passed":
        _record(report.nodeid.rpartition("/")[2], report.outcome, report)


def pytest_collectreport(report):
    if report.failed:
        _record(report.nodeid.rpartition("/")[2], "failed", report)


def pytest_sessionfinish(session):
    with open(os.environ["TFPETASTORM_OUTCOMES"], "w") as file:
        json.dump(outcomes, file)
"""

_PYTEST_INI = """
[pytest]
markers =
    forked: each of these ran in a process of its own
"""


@dataclass(frozen=True)
class Outcome:
    """How one test, or the collection of one file, ended: "passed", "failed" or "skipped", and what was told."""

    outcome: str
    told: str = ""


def tests_of_petastorm() -> Path | None:
    """Where an installed petastorm has its tests; None if there is none."""
    python = os.environ.get("TFPETASTORM_PETASTORM_PYTHON", str(ROOT / ".envs" / "petastorm" / "bin" / "python"))
    found = sorted(Path(python).parents[1].glob("lib/python*/site-packages/petastorm/tests"))
    return found[0] if found else None


def python_of_frameworks() -> Path | None:
    """The interpreter of the environment they run in; None if it is not there."""
    python = Path(os.environ.get("TFPETASTORM_FRAMEWORKS_PYTHON", ROOT / ".envs" / "frameworks" / "bin" / "python"))
    return python if python.exists() else None


def rewritten(text: str) -> str:
    """A test file that imports tfpetastorm in petastorm's place."""
    text = re.sub(r"\bpetastorm(?=\.|\s+import\b)", "tfpetastorm", text)
    text = re.sub(r"^import petastorm$", "import tfpetastorm", text, flags=re.MULTILINE)
    for old, new in _NUMPY.items():
        text = re.sub(rf"\b(np|numpy)\.{old}\b", rf"\1.{new}", text)
    return text


def run(source: Path, python: Path, folder: Path, files: list[str], seconds: int) -> dict[str, Outcome]:
    """The outcomes by "file::test[parameters]", or by "file" where it could not even be collected.

    folder: to work in, empty. files: names of test files. seconds: after which pytest is stopped.
    """
    tests = folder / "pkg" / "tests"
    shutil.copytree(source, tests, ignore=shutil.ignore_patterns("__pycache__"))
    for path in tests.rglob("*.py"):
        path.write_text(rewritten(path.read_text()))
    (tests / "conftest.py").write_text(_CONFTEST)
    (folder / "pytest.ini").write_text(_PYTEST_INI)
    site = folder / "site"
    site.mkdir()
    # In each process, Spark's workers too, before anything unpickles a function of the tests.
    (site / "sitecustomize.py").write_text(
        f"{_STAND_INS}\nimport tfpetastorm\ntfpetastorm.__path__.append({str(folder / 'pkg')!r})\n"
    )
    answer = folder / "outcomes.json"
    settings = {
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": "2",
        "spark.driver.host": "127.0.0.1",
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
    }
    environment = {
        **os.environ,
        "PYTHONPATH": f"{site}{os.pathsep}{ROOT}",
        "TFPETASTORM_OUTCOMES": str(answer),
        "PYSPARK_PYTHON": str(python),
        "PYSPARK_DRIVER_PYTHON": str(python),
        "PYSPARK_SUBMIT_ARGS": " ".join(f"--conf {key}={value}" for key, value in settings.items()) + " pyspark-shell",
        "SPARK_LOCAL_IP": "127.0.0.1",
        **java_of(),
    }
    command = [
        python, "-m", "pytest", "-c", folder / "pytest.ini", "--rootdir", folder, "-q", "-p", "no:cacheprovider",
        "-W", "ignore", "--timeout", "200", "--continue-on-collection-errors", "--durations", "40",
        "--basetemp", folder / "data", *(tests / name for name in files),
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=seconds, check=False
    )
    (folder / "log").write_text(done.stdout)
    assert answer.exists(), done.stdout[-3000:] + done.stderr[-3000:]
    return {name: Outcome(*told) for name, told in json.loads(answer.read_text()).items()}


def java_of() -> dict[str, str]:
    """The variables that lead Spark 3.5 to a Java. Raises MissingJavaError where there is none."""
    return java_environment("3.5")


def java_problem() -> str | None:
    """Why Spark 3.5 can't start, or None."""
    try:
        java_of()
    except MissingJavaError as error:
        return str(error)
    return None
