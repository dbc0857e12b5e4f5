"""The Parquet files that Spark wrote and their URLs: waiting until all are seen, advice on sizes, deleting them."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote, urlparse

import pyarrow.fs as pafs

from tfpetastorm.errors import DatasetError, FilesNotSeenError, OptionError, describe
from tfpetastorm.redaction import redact
from tfpetastorm.spark.stored_frame import unglobbed
from tfpetastorm.stores.filesystem import Location, is_local, resolve

#: Smaller files cost more to open than they hold.
RECOMMENDED_BYTES = 50 * 2**20
#: What to do about files that are too small, if a DataFrame is to be stored.
COALESCE = "df.coalesce({0}) or df.repartition({0}) before the conversion would do."


def wait_until_seen(urls: Sequence[str], seconds: float, filesystem: Any = None) -> None:
    """Returns once every file can be seen, which on some object stores takes a while after it was written.

    Raises FilesNotSeenError, naming the first few, if some are still not there after so many seconds.
    """
    end = time.monotonic() + seconds
    missing = [(url, resolve(url, filesystem, glob=False)) for url in urls]
    while True:
        missing = _unseen(missing)
        if not missing:
            return
        if time.monotonic() >= end:
            break
        time.sleep(0.1)
    shown = ", ".join(redact(url) for url, _ in missing[:3]) + (f", and {len(missing) - 3} more" if missing[3:] else "")
    raise FilesNotSeenError(
        f"Timeout while waiting for all parquet-store files to appear at urls {shown}: not there after {seconds:g} s. "
        "They may have been deleted (by delete(), or when the program that wrote them ended), or lie on a disk that "
        "this machine does not see."
    )


def _unseen(places: list[tuple[str, Location]]) -> list[tuple[str, Location]]:
    """Those that are not there; on each filesystem all are asked for at once."""
    left: list[tuple[str, Location]] = []
    while places:
        filesystem = places[0][1].filesystem
        mine = [item for item in places if item[1].filesystem == filesystem]
        places = [item for item in places if item[1].filesystem != filesystem]
        told = filesystem.get_file_info([place.paths[0] for _, place in mine])
        left += [item for item, info in zip(mine, told, strict=True) if info.type == pafs.FileType.NotFound]
    return left


def size_advice(urls: Sequence[str], filesystem: Any = None, remedy: str = COALESCE) -> str | None:
    """What to do about files that are too small; None if there is one only, or half of them are of a fair size.

    remedy: what to do, with `{0}` for how many files would be right.
    """
    if len(urls) < 2:
        return None
    sizes = sorted(_sizes([resolve(url, filesystem, glob=False) for url in urls]))
    median = sizes[len(sizes) // 2]
    if median >= RECOMMENDED_BYTES:
        return None
    fitting = max(1, sum(sizes) // (2 * RECOMMENDED_BYTES))
    return (
        f"The median size of the {len(sizes)} Parquet files is {median} bytes, and reading is faster from "
        f"{RECOMMENDED_BYTES // 2**20} MiB on; all have {sum(sizes)} bytes. {remedy.format(fitting)} The first is "
        f"{redact(urls[0])}."
    )


def _sizes(places: list[Location]) -> list[int]:
    filesystem = places[0].filesystem
    if is_local(filesystem):
        return [os.path.getsize(place.paths[0]) for place in places]  # noqa: PTH202 - petastorm's tests stand in for it
    return [int(info.size or 0) for info in filesystem.get_file_info([place.paths[0] for place in places])]


def check_unquoted(url: str, *, query: bool = False) -> None:
    """Raises OptionError for a URL by which Spark means another folder than everybody else: it takes "%20" as it is
    written; and a "?" with what follows as well, which query= looks for too."""
    scheme, colon, rest = url.partition(":")
    if not colon or "/" in scheme:
        # A plain path, which all take as it is written.
        return
    # Whatever is before the path may be a credential.
    host, slash, path = ("", "", rest) if not rest.startswith("//") else rest[2:].partition("/")
    before = scheme + colon + (f"//{host}{slash}" if rest.startswith("//") else "")
    asked = query and scheme.lower() != "file" and "?" in path
    plain = before + unquote(path.partition("?")[0] if asked else path)
    if plain == url:
        return
    sign = "?" if asked else "%"
    raise OptionError(
        describe(
            "Spark would take this URL for another folder's",
            expected=f'{redact(plain)}, as to Spark "{sign}" is a part of the name',
            found=redact(url),
            remedy="Give that" + (", and the settings to Spark and in the environment." if asked else "."),
        )
    )


def for_spark(url: str) -> str:
    """A user's path or URL as Spark shall read it: a glob, unless there is something of just this name."""
    if unglobbed(url) == url:
        return url
    try:
        found = exists(url)
    except (DatasetError, OSError):
        # Only Spark knows the store.
        return url
    return unglobbed(url) if found else url


def delete_folder(url: str) -> None:
    """Deletes a folder with all it holds, if it is there."""
    place = resolve(url, glob=False)
    if place.filesystem.get_file_info([place.paths[0]])[0].type != pafs.FileType.NotFound:
        place.filesystem.delete_dir(place.paths[0])


def exists(url: str) -> bool:
    """Whether there is anything at a URL."""
    place = resolve(url, glob=False)
    return bool(place.filesystem.get_file_info([place.paths[0]])[0].type != pafs.FileType.NotFound)


def check_has_scheme(dir_url: str) -> None:
    """Raises OptionError for a URL without a scheme."""
    if not urlparse(dir_url).scheme:
        raise OptionError(f"A scheme-less URL of a folder, {dir_url}: Spark may take it for another filesystem's. For "
                          f"this machine's write file://{dir_url}")  # fmt: skip


def normalize_dbfs_url(url: str, err_msg: str) -> str:
    """A URL on Databricks' own filesystem as one of the folder it is mounted at. Raises OptionError(err_msg)."""
    scheme, _, path = url.partition(":")
    if scheme == "file" and path.startswith(("/dbfs/", "///dbfs/")):
        return url
    if scheme == "dbfs" and path.startswith("/") and (not path.startswith("//") or path.startswith("///")):
        return "file:/dbfs/" + path.lstrip("/")
    raise OptionError(err_msg)
