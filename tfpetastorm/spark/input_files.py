"""The files that a DataFrame reads: whether they are still what they were."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs

from tfpetastorm.errors import DatasetError
from tfpetastorm.stores.filesystem import Location, resolve

#: What is known of a file: its size in bytes, and when it was written.
State = tuple[int | None, int | None]


def source_states(frame: Any) -> dict[str, State | None]:
    """The URL of each file that a DataFrame reads, if it reads files, with its state; None where that can't be told."""
    states: dict[str, State | None] = {str(url): None for url in frame.inputFiles()}
    for filesystem, places in _by_filesystem(sorted(states)):
        try:
            infos = filesystem.get_file_info([place.paths[0] for _, place in places])
        except (OSError, ValueError, pa.ArrowException):
            # Only Spark can look.
            continue
        for (url, _), info in zip(places, infos, strict=True):
            if info.type == pafs.FileType.File:
                states[url] = info.size, info.mtime_ns
    return states


def same_sources(one: Mapping[str, State | None], other: Mapping[str, State | None]) -> bool:
    """Whether these are the same files, none of which is known to have changed."""
    return one.keys() == other.keys() and not any(
        state is not None and other[url] is not None and state != other[url] for url, state in one.items()
    )


def _by_filesystem(urls: list[str]) -> list[tuple[pafs.FileSystem, list[tuple[str, Location]]]]:
    found: list[tuple[pafs.FileSystem, list[tuple[str, Location]]]] = []
    unknown: set[str] = set()
    for url in urls:
        store = "/".join(url.split("/")[:3])
        if store in unknown:
            continue
        try:
            place = resolve(url, glob=False)
        except (DatasetError, OSError):
            unknown.add(store)
            continue
        for filesystem, places in found:
            if filesystem == place.filesystem:
                places.append((url, place))
                break
        else:
            found.append((place.filesystem, [(url, place)]))
    return found
