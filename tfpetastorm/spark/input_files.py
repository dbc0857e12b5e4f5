"""The files that a DataFrame reads: which of them hold data, and whether they are still what they were."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote

import pyarrow as pa
import pyarrow.fs as pafs

from tfpetastorm.errors import DatasetError
from tfpetastorm.spark.stored_frame import unglobbed
from tfpetastorm.storage.listing import is_data_name
from tfpetastorm.storage.metadata import COMMON_METADATA, read_common_metadata
from tfpetastorm.storage.opening import open_dataset
from tfpetastorm.stores.filesystem import Location, resolve


def chosen_files(frame: Any) -> tuple[list[str], int]:
    """The URLs of the Parquet files that a DataFrame reads, and how many rows they have.

    frame: as `spark.read.parquet` made it. Of a dataset with a committed list only what that names is taken, and
    `open_dataset` raises and warns of what is not as it says.
    """
    found = [str(url) for url in frame.inputFiles()]
    files = [url for url in found if is_data_name(posixpath.basename(url))]
    roots = [posixpath.dirname(url) for url in found if posixpath.basename(url) == COMMON_METADATA and _rules(url)]
    if not roots:
        return files, int(frame.count())
    rest = [url for url in files if not any(url.startswith(f"{root}/") for root in roots)]
    opened = [(root, open_dataset(root, sidecar="never")) for root in roots]
    listed = [f"{root}/{quote(file.name, safe='/=')}" for root, stored in opened for file in stored.files]
    rows = sum(stored.num_rows for _, stored in opened)
    if rest:
        # Spark takes no URL but a name, which nothing is quoted in.
        rows += int(frame.sparkSession.read.parquet(*(unglobbed(unquote(url)) for url in rest)).count())
    return [*listed, *rest], rows


def _rules(url: str) -> bool:
    """Whether metadata says which files there are, or that they are not finished."""
    place = resolve(url, glob=False)
    metadata = read_common_metadata(place.filesystem, place.paths[0])
    return metadata.files is not None or not metadata.finished


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
