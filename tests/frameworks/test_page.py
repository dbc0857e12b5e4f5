"""The pages that need other frameworks do what they say."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.test_snippets import ELSEWHERE, pages, run_page


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("name", ELSEWHERE)
def test_snippets_do_what_they_say(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = [page for page in pages() if page.name == name]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTENSOR_FLAGS", f"compiledir={tmp_path / 'compiled'}")
    run_page(path, tmp_path)
