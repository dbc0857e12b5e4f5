"""petastorm's caches of single values: none, and one on a local disk."""

from __future__ import annotations

import abc
import contextlib
import os
import shutil
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tfpetastorm.errors import DatasetWarning, OptionError, describe
from tfpetastorm.read.cache import DiskCache
from tfpetastorm.read.layout import Layout
from tfpetastorm.read.values import from_json, to_json

#: How often a folder that others still write to is removed before that is told of.
_ATTEMPTS = 20


class CacheBase(abc.ABC):
    """A cache of values by key."""

    @abc.abstractmethod
    def get(self, key: str, fill_cache_func: Callable[[], Any]) -> Any:
        """The value of a key; `fill_cache_func()` where there is none yet."""


class NullCache(CacheBase):
    """Keeps nothing: every `get` makes the value."""

    def get(self, key: str, fill_cache_func: Callable[[], Any]) -> Any:
        """The value that `fill_cache_func` makes."""
        return fill_cache_func()


class LocalDiskCache(CacheBase):
    """Values on a local disk, in the files of a `DiskCache`: shared by processes, checked, and without pickle.

    path: a folder, made if it is not there. size_limit_bytes: what everything in it may take. expected_row_size_bytes:
    about what a row takes; five rows have to fit into each of `shards` parts, which petastorm's cache had and this one
    has not. cleanup: whether `cleanup()` removes what is kept. settings: those of the diskcache library, of which
    `eviction_policy="none"` keeps what there is when there is no room (any other removes what was longest not read) and
    `size_limit` is the bound; others are ignored with a DeprecationWarning.

    Raises OptionError (a ValueError) where the bound is too small.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        size_limit_bytes: int,
        expected_row_size_bytes: int,
        shards: int = 6,
        cleanup: bool = True,
        **settings: Any,
    ) -> None:
        policy = settings.pop("eviction_policy", "least-recently-stored")
        limit = settings.pop("size_limit", size_limit_bytes)
        if settings:
            warnings.warn(
                f"Settings of the diskcache library are ignored: {', '.join(sorted(settings))}.",
                DeprecationWarning,
                stacklevel=2,
            )
        for name, value in [("path", path), ("size_limit_bytes", limit)]:
            if value is None:
                raise OptionError(describe("A local disk cache lacks an option", expected=name, found="None"))
        if policy != "none" and limit / shards < 5 * (expected_row_size_bytes or 0):
            raise OptionError(
                "Condition 'size_limit_bytes / shards < 5 * expected_row_size_bytes' needs to hold, the other way "
                f"round: {limit} bytes in {shards} shards hold no five rows of {expected_row_size_bytes} bytes."
            )
        self._path = Path(path)
        self._cleanup = cleanup
        self._cache = DiskCache(path, limit, "stop" if policy == "none" else "lru")
        # Made at once, as petastorm's is.
        _ = self._cache.store

    @property
    def disk(self) -> DiskCache:
        """The cache of read tasks in the same folder."""
        return self._cache

    def get(self, key: str, fill_cache_func: Callable[[], Any]) -> Any:
        """The value of a key; where there is none yet, that of `fill_cache_func()`, which is kept if there is room.

        Raises EncodeError for a value that is not plain (see `tfpetastorm/read/values.py`).
        """
        name = f"value {key!r}"
        store = self._cache.store
        found = store.read(name)
        if found is not None and "value" in found[0]:
            return from_json(found[0]["value"], found[1], found[2])
        value = fill_cache_func()
        if value is not None:
            layout = Layout()
            node = to_json(value, layout)
            try:
                store.write(name, {"value": node}, layout)
            except OSError as error:
                warnings.warn(f"The cache in {self._path} can't be written to: {error}.", DatasetWarning, stacklevel=2)
        return value

    def cleanup(self) -> None:
        """Removes what is kept, and the folder if nothing else is in it; from then on nothing is kept. Tells of errors,
        but does not raise them."""
        if not self._cleanup:
            return
        folder = self._cache.folder
        try:
            self._cache.close()
        except (OSError, AttributeError) as error:
            print(f"Error closing cache: {error}", flush=True)
        for left in reversed(range(_ATTEMPTS)):
            try:
                shutil.rmtree(folder, ignore_errors=False)
            except FileNotFoundError:
                pass
            except OSError as error:
                if left:
                    # Workers that are still under way may put one more entry where one was just removed.
                    time.sleep(0.05)
                    continue
                print(f"Error during rmtree: {error}", flush=True)
            break
        with contextlib.suppress(OSError):  # not there, or something else is in it
            self._path.rmdir()
