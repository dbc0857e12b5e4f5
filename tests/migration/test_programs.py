"""The three programs of docs/migration.md: as they are shown by petastorm itself, and here with the import changed.

What the page shows as the new way is run with all pages, in tests/docs.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from tests.migration import published

pytestmark = [pytest.mark.slow, pytest.mark.timeout(280)]

PAGE = Path(__file__).parents[2] / "docs" / "migration.md"
NAMES = ["hello", "mnist", "ngram"]


def programs() -> dict[str, str]:
    blocks = re.findall(r"^```py\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return dict(zip(NAMES, blocks, strict=True))


def changed(program: str) -> str:
    """What the page's own `sed` makes of a program."""
    [(pattern, replacement)] = re.findall(r"sed -i -E 's/(.+?)/(.+?)/'", PAGE.read_text(encoding="utf-8"))
    return re.sub(pattern, replacement, program, flags=re.MULTILINE)


def missing(told: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(told)
    pytest.skip(told)


def run(program: str, python: Path, folder: Path, **environment: str) -> str:
    digits = load_digits()
    np.savez(folder / "digits.npz", images=digits.images.astype(np.uint8), labels=digits.target.astype(np.int32))
    (folder / "program.py").write_text(program)
    settings = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
        **published.java_of(),
        "PYSPARK_PYTHON": str(python),
        "SPARK_LOCAL_IP": "127.0.0.1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        **environment,
    }
    command = [python, "-W", "ignore", folder / "program.py"]
    done = subprocess.run(command, cwd=folder, env=settings, capture_output=True, text=True, check=False, timeout=250)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def check(name: str, printed: str) -> None:
    """What a program prints, whoever's rows it reads; petastorm's order of row groups is drawn."""
    lines = [line for line in printed.splitlines() if not line.startswith("Cache cleanup")]
    if name == "hello":
        assert sorted(lines, key=lambda line: int(line.split()[0])) == [f"{i} (32, 48, 3) ({i}, 3)" for i in range(10)]
    elif name == "mnist":
        [line] = lines
        assert float(line.removeprefix("accuracy ")) > 0.85
    else:
        assert lines == ["98 pairs"]


@pytest.fixture(scope="module")
def petastorm_python() -> Path:
    """The interpreter that has petastorm."""
    found = published.tests_of_petastorm()
    if found is None:
        missing("no petastorm; `make petastorm-env` installs it")
    assert found is not None
    python = Path(os.environ.get("TFPETASTORM_PETASTORM_PYTHON", found.parents[4] / "bin" / "python"))
    problem = published.java_problem()
    if problem is not None:
        missing(problem)
    return python


@pytest.fixture(scope="module")
def our_python() -> Path:
    """The interpreter that has pyspark beside tfpetastorm."""
    python = published.python_of_frameworks()
    if python is None:
        missing("`make frameworks-env` makes the environment that has Spark")
    assert python is not None
    problem = published.java_problem()
    if problem is not None:
        missing(problem)
    return python


@pytest.mark.parametrize("name", NAMES)
def test_with_petastorm_itself(name: str, petastorm_python: Path, tmp_path: Path) -> None:
    program = programs()[name]
    assert "tfpetastorm" not in program
    # On a busy machine its threads may end an epoch before the first row, without an error.
    program = program.replace("num_epochs=", 'reader_pool_type="dummy", num_epochs=')
    check(name, run(program, petastorm_python, tmp_path))


@pytest.mark.parametrize("name", NAMES)
def test_with_the_import_changed(name: str, our_python: Path, tmp_path: Path) -> None:
    program = changed(programs()[name])
    assert not re.search(r"\bpetastorm\b", program)
    check(name, run(program, our_python, tmp_path, PYTHONPATH=str(published.ROOT)))
