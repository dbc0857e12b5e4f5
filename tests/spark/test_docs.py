"""The pages on Spark do what they say, with a real session. Their `file:///data` is a folder of the test's own."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from tests.docs.test_snippets import ON_SPARK, pages, run_page

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:pyspark"),
    pytest.mark.filterwarnings("ignore::FutureWarning:pyspark"),
    pytest.mark.filterwarnings("ignore:.*shuffle=True.*:UserWarning"),
    # Spark 3 does not bound row groups by rows, and examples have small files.
    pytest.mark.filterwarnings("ignore:This version of Spark:tfpetastorm.errors.DatasetWarning"),
    pytest.mark.filterwarnings("ignore:The median size:tfpetastorm.errors.DatasetWarning"),
]


@pytest.mark.parametrize("name", ON_SPARK)
def test_snippets_do_what_they_say(name: str, spark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (page,) = [page for page in pages() if page.name == name]
    monkeypatch.chdir(tmp_path)
    text = page.read_text(encoding="utf-8").replace("file:///data", (tmp_path / "data").as_uri())
    here = tmp_path / name
    # Its ```py blocks are run here too.
    text = text.replace("```py\n", "```python\n")
    if importlib.util.find_spec("torch") is None:
        text = text.replace("```python\nwith converter.make_torch_dataloader", "```py\nwith ")
    here.write_text(text, encoding="utf-8")
    run_page(here, tmp_path)
    spark.conf.unset("petastorm.spark.converter.parentCacheDirUrl")
