"""The page of documentation that needs what only some environments have installed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.test_snippets import ROOT, run_page


def test_snippets_do_what_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run_page(ROOT / "docs" / "tfxio.md", tmp_path)
