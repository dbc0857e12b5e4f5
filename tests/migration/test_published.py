"""Petastorm's own published tests run against tfpetastorm, with only their imports changed.

They are taken from the environment of `make petastorm-env` and run in that of `make frameworks-env`, in one process.
Each that fails stands in `expected.py` with a reason; one that fails without, or passes in spite of it, fails here.
"""

from __future__ import annotations

import os
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from tests.migration import published
from tests.migration.expected import EXPECTED, NOT_RUN

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def source() -> Path:
    """The folder of petastorm's tests."""
    found = published.tests_of_petastorm()
    return found if found is not None else _missing("no petastorm with its tests; `make petastorm-env` installs it")


def _missing(told: str) -> Path:
    if os.environ.get("CI") == "true":
        pytest.fail(told)
    pytest.skip(told)


def _reason(name: str) -> str | None:
    plain = name.partition("[")[0]
    return EXPECTED.get(name) or EXPECTED.get(plain)


def test_every_file_is_run_or_says_why_not(source: Path) -> None:
    assert set(NOT_RUN) <= {path.name for path in source.glob("test_*.py")}


def test_only_what_is_expected_fails(source: Path, tmp_path: Path) -> None:
    """One test, as it runs hundreds for some minutes: pytest-xdist would run them once for each process it has."""
    python = published.python_of_frameworks()
    if python is None:
        _missing("`make frameworks-env` makes the environment these tests run in")
    assert python is not None
    problem = published.java_problem()
    if problem is not None:
        _missing(problem)
    files = [path.name for path in sorted(source.glob("test_*.py")) if path.name not in NOT_RUN]
    outcomes = published.run(source, python, tmp_path, files, 1440)

    failed = {name: outcome for name, outcome in outcomes.items() if outcome.outcome == "failed"}
    surprises = [f"{name}\n{outcome.told}" for name, outcome in failed.items() if _reason(name) is None]
    assert not surprises, "\n\n".join(surprises)
    passed = [name for name, outcome in outcomes.items() if outcome.outcome == "passed"]
    unexpected = [name for name in passed if _reason(name)]
    assert not unexpected, f"these pass by now, and are to be taken off the list: {unexpected}"
    unknown = [entry for entry in EXPECTED if not any(_covers(entry, name) for name in outcomes)]
    assert not unknown, f"no test has these names: {unknown}"
    assert len(passed) >= 300


def _covers(entry: str, name: str) -> bool:
    return name == entry or fnmatchcase(name.partition("[")[0], entry)


def test_imports_alone_are_rewritten() -> None:
    text = "from petastorm.codecs import x\nimport petastorm\npatch('petastorm.y')\nnp.string_(petastorm_url)\n"
    assert published.rewritten(text) == (
        "from tfpetastorm.codecs import x\nimport tfpetastorm\npatch('tfpetastorm.y')\nnp.bytes_(petastorm_url)\n"
    )
