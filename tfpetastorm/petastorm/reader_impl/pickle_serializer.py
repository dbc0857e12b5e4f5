"""`petastorm.reader_impl.pickle_serializer`: replaced. Rows travel between processes as columns, without pickle."""

from __future__ import annotations

from typing import Any

from tfpetastorm.errors import ReplacedError

__all__ = ["PickleSerializer"]


class PickleSerializer:
    """Replaced: raises ReplacedError, which shows the new call."""

    def __init__(self, *_: Any, **__: Any) -> None:
        raise ReplacedError(
            "PickleSerializer is replaced: make_reader(url, reader_pool_type='process') sends columns through shared "
            "memory; ArrowTableSerializer().serialize(table) makes bytes of a table."
        )
