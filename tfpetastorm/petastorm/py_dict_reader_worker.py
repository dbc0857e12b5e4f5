"""`petastorm.py_dict_reader_worker`: replaced. Each name says by an error what to call."""

from __future__ import annotations

from typing import Any

from tfpetastorm.errors import ReplacedError

__all__ = ["PyDictReaderWorker", "PyDictReaderWorkerResultsQueueReader"]

_NOW = (
    "Petastorm's workers are gone. Use make_reader(url), whose rows are made from whole columns, or "
    "tfpetastorm.make_dataset(url)."
)


class PyDictReaderWorker:
    """Replaced: raises ReplacedError, which shows the new call."""

    def __init__(self, *_: Any, **__: Any) -> None:
        raise ReplacedError(_NOW)


class PyDictReaderWorkerResultsQueueReader:
    """Replaced: raises ReplacedError, which shows the new call."""

    def __init__(self, *_: Any, **__: Any) -> None:
        raise ReplacedError(_NOW)
