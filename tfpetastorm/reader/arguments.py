"""Petastorm's arguments in the engine's terms."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfpetastorm.errors import OptionError, describe
from tfpetastorm.plan.numbers import whole_number
from tfpetastorm.plan.order import Shuffle
from tfpetastorm.pool.options import PoolOptions, available_cores
from tfpetastorm.stores import options

#: Default of an argument that is accepted but without effect: tells whether somebody gave it.
UNSET: Any = object()

_POOLS = {"thread": "thread", "process": "process", "dummy": "inline"}

_DROPPED = {
    "hdfs_driver": "pyarrow has one HDFS driver, libhdfs, so there is nothing to choose; for a connection of your own "
    "give filesystem=pyarrow.fs.HadoopFileSystem(...)",
    "zmq_copy_buffers": "worker processes hand columns over in shared memory, without ZeroMQ",
    "pyarrow_serialize": "worker processes hand columns over in shared memory, and nothing is serialised",
    "convert_early_to_numpy": "workers make NumPy columns in any case",
}


def warn_of_dropped(given: dict[str, Any]) -> None:
    """DeprecationWarning for each argument that was given and has no effect any more, with the reason."""
    for name, value in given.items():
        if value is not UNSET:
            warnings.warn(f"{name} has no effect: {_DROPPED[name]}. Leave it out.", DeprecationWarning, stacklevel=3)


def checked_url(url: Any) -> Any:
    """A URL, a path, or a list of them. Raises OptionError (a ValueError) for anything else."""
    good = isinstance(url, (str, Path)) or (isinstance(url, (list, tuple)) and url)
    if not good or (isinstance(url, (list, tuple)) and not all(isinstance(part, (str, Path)) for part in url)):
        raise OptionError(
            describe(
                "Not a dataset's URL", expected="a str, a Path, or a list of them that is not empty", found=repr(url)
            )
        )
    return url


def filesystem_of(url: Any, filesystem: Any, storage_options: dict[str, Any] | None) -> tuple[Any, Any]:
    """The URL or path, and the filesystem it is on, None where the URL tells.

    storage_options are those of the URL's fsspec filesystem, as petastorm passes them on; a given filesystem wins.
    Raises OptionError where they can't be used, and never repeats their values.
    """
    return url, filesystem if filesystem is not None else options.filesystem_of(url, storage_options)


def pool_of(kind: Any, workers: Any, local: bool) -> PoolOptions:
    """How read tasks are run: threads beyond the cores help only where reading waits for a network.

    Raises OptionError for an unknown kind.
    """
    if kind not in _POOLS:
        raise OptionError(f"Unknown reader_pool_type {kind!r}: there are {', '.join(map(repr, _POOLS))}.")
    count = whole_number("workers_count", workers, 1)
    return PoolOptions(_POOLS[kind], min(count, available_cores()) if local and kind == "thread" else count)


@dataclass(frozen=True)
class Shard:
    """Part `index` of `count`, of row groups in stored order, or in an order that `seed` decides."""

    index: int = 0
    count: int = 1
    seed: int | None = None

    @classmethod
    def of(cls, index: Any, count: Any, seed: int | None) -> Shard:
        """Raises OptionError where one is missing, no whole number, or out of range."""
        if index is None and count is None:
            return cls()
        if index is None or count is None:
            raise OptionError(f"cur_shard and shard_count go together; found {index!r} and {count!r}.")
        count = whole_number("shard_count", count, 1)
        index = whole_number("cur_shard", index, 0)
        if index >= count:
            raise OptionError(f"cur_shard={index} of shard_count={count}: shards count from 0.")
        return cls(index, count, seed)


def shuffle_of(rows: Any, row_groups: Any) -> Shuffle:
    """The engine's shuffle; `shuffle_rows` mixes rows of several row groups, better than within one."""
    return Shuffle(row_groups=bool(row_groups), rows=bool(rows))


def seed_of(seed: Any, shard_seed: Any) -> tuple[int | None, int | None]:
    """The seeds of the order and of which rows a shard has; None for none."""
    order = None if seed is None else whole_number("seed", seed)
    if shard_seed is None:
        return order, order
    warnings.warn(
        "shard_seed was deprecated and will be removed in future versions. Use seed, which decides both.", stacklevel=4
    )
    return order, whole_number("shard_seed", shard_seed)


def is_choice(fields: Any) -> bool:
    """Whether this is a choice of fields: something to iterate, but no single name."""
    return isinstance(fields, Iterable) and not isinstance(fields, (str, bytes))
