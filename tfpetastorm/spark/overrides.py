"""Spark's configuration, and Hadoop's in it, changed for a while and put back whatever happens.

Several blocks may be open at once, in one thread or many, and need not end in the order in which they began: all share
one configuration. So what is open, and what was there before the first, is noted in the configuration itself, which
alone knows of everybody; the block that was entered last decides, and the last to end puts back what was.
"""

from __future__ import annotations

import json
import threading
import uuid
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from tfpetastorm.errors import DatasetWarning, OptionError

#: Where a configuration notes which blocks are open.
_NOTE = "tfpetastorm.overrides"
#: Of which blocks that are open at once can't each have their own.
_SIZES = ("parquet.block.size", "parquet.block.row.count.limit")
_LOCK = threading.Lock()


class _Configuration(Protocol):
    def get(self, name: str) -> str | None: ...

    def put(self, name: str, value: str | None) -> None: ...


class _OfSession:
    def __init__(self, spark: Any) -> None:
        self._conf = spark.conf

    def get(self, name: str) -> str | None:
        found: str | None = self._conf.get(name, None)
        return found

    def put(self, name: str, value: str | None) -> None:
        if value is None:
            self._conf.unset(name)
        else:
            self._conf.set(name, value)


class _OfHadoop:
    def __init__(self, configuration: Any) -> None:
        self._configuration = configuration

    def get(self, name: str) -> str | None:
        # As it was set: `get` puts in what a ${variable} stands for.
        found: str | None = self._configuration.getRaw(name)
        return found

    def put(self, name: str, value: str | None) -> None:
        if value is None:
            self._configuration.unset(name)
        else:
            self._configuration.set(name, value)


@contextmanager
def session_settings(spark: Any, settings: Mapping[str, str]) -> Iterator[None]:
    """These settings of the session within a `with` block, but for those that its user has set."""
    with _overridden(_OfSession(spark), settings, users_first=True):
        yield


@contextmanager
def hadoop_settings(spark: Any, settings: Mapping[str, str]) -> Iterator[None]:
    """These settings of the session's Hadoop configuration, within a `with` block.

    Warns if another block is open that has row groups of another size. Raises OptionError for a session that was
    stopped, and for one of Spark Connect, which has no such configuration.
    """
    if is_connect(spark):
        raise OptionError(
            "Spark Connect has no Hadoop configuration, by which row groups get their size. Give the writer "
            '.option("parquet.block.size", bytes), and none of the sizes and summaries here.'
        )
    java = getattr(spark.sparkContext, "_jsc", None)
    if java is None:
        raise OptionError("The Spark session was stopped. Make another, and give that.")
    with _overridden(_OfHadoop(java.hadoopConfiguration()), settings, users_first=False) as others:
        differing = [
            name for name in _SIZES if any(other.get(name) not in (None, settings.get(name)) for other in others)
        ]
        if differing and any(name in settings for name in differing):
            warnings.warn(
                f"Another block of materialize_dataset is open, with another {' and '.join(differing)}. Spark has one "
                "for all: this block's holds for both until it ends.",
                DatasetWarning,
                stacklevel=5,
            )
        yield


def is_connect(spark: Any) -> bool:
    """Whether a session is one of Spark Connect: a client of a Spark elsewhere."""
    return type(spark).__module__.startswith("pyspark.sql.connect")


@contextmanager
def _overridden(
    configuration: _Configuration, settings: Mapping[str, str], *, users_first: bool
) -> Iterator[list[dict[str, str]]]:
    """Settings within a `with` block. Gives those of the blocks that are open already.

    users_first: leave alone what is set, unless a block of ours set it.
    """
    token = uuid.uuid4().hex
    others: list[dict[str, str]] = []
    try:
        with _LOCK:
            before, blocks = _noted(configuration)
            others = list(blocks.values())
            mine = {}
            for name, value in settings.items():
                if name not in before:
                    found = configuration.get(name)
                    if users_first and found is not None:
                        continue
                    before[name] = found
                mine[name] = value
            _apply(configuration, before, {**blocks, token: mine})
        yield others
    finally:
        with _LOCK:
            before, blocks = _noted(configuration)
            blocks.pop(token, None)
            _apply(configuration, before, blocks)


def _noted(configuration: _Configuration) -> tuple[dict[str, str | None], dict[str, dict[str, str]]]:
    """What was set before the first open block, and what each of them sets, in the order in which they were entered."""
    text = configuration.get(_NOTE)
    if text is None:
        return {}, {}
    note = json.loads(text)
    return note["before"], note["blocks"]


def _apply(
    configuration: _Configuration, before: dict[str, str | None], blocks: Mapping[str, Mapping[str, str]]
) -> None:
    # Noted first: whatever fails from here on can be put back.
    noted = json.dumps({"before": before, "blocks": blocks}) if blocks else None
    if noted is not None:
        configuration.put(_NOTE, noted)
    for name, old in before.items():
        wanted = [block[name] for block in blocks.values() if name in block]
        configuration.put(name, wanted[-1] if wanted else old)
    if noted is None:
        configuration.put(_NOTE, None)
