"""The program in petastorm's own README, taken from an installed petastorm, runs with the import changed.

docs/migration.md has the `sed` that changes it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

import tfpetastorm as tps
from tests.migration import published
from tests.migration.test_programs import changed
from tfpetastorm.errors import MissingJavaError
from tfpetastorm.spark.java import use_java

pytestmark = [pytest.mark.slow, pytest.mark.timeout(280)]


def readme() -> str:
    tests = published.tests_of_petastorm()
    found = [] if tests is None else sorted(tests.parents[1].glob("petastorm-*.dist-info/METADATA"))
    if not found:
        told = "no petastorm; `make petastorm-env` installs it"
        if os.environ.get("CI") == "true":
            pytest.fail(told)
        pytest.skip(told)
    return found[0].read_text(encoding="utf-8")


def block_with(text: str, sign: str) -> str:
    """The block of Python of a page in reStructuredText that holds `sign`, without its indentation."""
    blocks = re.findall(r"^\.\. code-block:: python\n\n((?:   .*\n|\n)+)", text, re.MULTILINE)
    [found] = [block for block in blocks if sign in block]
    return textwrap.dedent(found)


def test_the_program_of_petastorms_readme(tmp_path: Path) -> None:
    page = readme()
    url = (tmp_path / "hello_world_dataset").as_uri()
    write = block_with(page, "HelloWorldSchema = Unischema(")
    # The page indents `with` by one blank.
    read = re.sub(r"^ with", "with", block_with(page, "hdfs://myhadoop/some_dataset"), flags=re.MULTILINE)
    read = read.replace("hdfs://myhadoop/some_dataset", url).replace("print(row)", "print(row.id, row.array_4d.shape)")
    program = changed(f"{write}\n\ngenerate_petastorm_dataset({url!r})\n\n{read}")
    assert "from tfpetastorm.etl.dataset_metadata import materialize_dataset" in program
    assert not re.search(r"\b(from|import) petastorm\b", program)
    (tmp_path / "program.py").write_text(program)
    try:
        use_java()
    except MissingJavaError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error))
        pytest.skip(str(error))
    environment = os.environ | {
        "PYTHONPATH": str(published.ROOT),
        "PYSPARK_PYTHON": sys.executable,
        "PYSPARK_DRIVER_PYTHON": sys.executable,
        "SPARK_LOCAL_IP": "127.0.0.1",
    }
    done = subprocess.run(
        [sys.executable, "-W", "ignore", tmp_path / "program.py"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=250, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    assert sorted(done.stdout.splitlines()) == [f"{i} (4, 128, 30, 3)" for i in range(10)]
    # What it has written is a dataset for us, in batches, as well.
    ids = []
    for batch in tps.make_dataset(tmp_path / "hello_world_dataset", batch_size=4):
        assert batch["image1"].shape[1:] == (128, 256, 3)
        ids += batch["id"].numpy().tolist()
    np.testing.assert_array_equal(sorted(ids), range(10))
