"""Where TFX is not installed there is nothing to collect: `make test-tfx` runs these."""

from __future__ import annotations

import importlib.util
import re
import warnings

import pytest

from tests.tfx_warnings import OF_TFX

collect_ignore_glob = [] if importlib.util.find_spec("tfx") else ["test_*.py"]

if not collect_ignore_glob:
    # TFX warns when it is imported, and TFDV of another release can be imported only after it.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _text in OF_TFX:
            warnings.filterwarnings("ignore", message=re.escape(_text.split(":")[1]))
        importlib.import_module("tfx.components")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/tfx/" in item.path.as_posix():
            for text in OF_TFX:
                item.add_marker(pytest.mark.filterwarnings(text))
