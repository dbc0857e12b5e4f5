"""Which files the pattern of an input split means. Only listed and held against committed lists; no data is opened."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import pyarrow.fs as pafs

from tfpetastorm.errors import (
    DamagedDataError,
    DatasetError,
    DatasetNotFoundError,
    Place,
    TfpetastormError,
    describe,
)
from tfpetastorm.redaction import redact
from tfpetastorm.storage.listing import data_file, is_data_name, parquet_names, refuse_loops
from tfpetastorm.storage.metadata import COMMON_METADATA, FILES_KEY, CommonMetadata, read_common_metadata
from tfpetastorm.stores.filesystem import covers, expand_below, join, resolve


@dataclass(frozen=True, eq=False)
class Matched:
    """The data files of one input split, sorted by path.

    split: its name. url: its pattern below the input's base, without credentials. infos: of the files. roots: of each
    file, the folder of the dataset that it belongs to, or None for plain Parquet. metadata: of those datasets, by root.
    """

    split: str
    url: str
    filesystem: pafs.FileSystem
    infos: tuple[pafs.FileInfo, ...]
    roots: tuple[str | None, ...]
    metadata: dict[str, CommonMetadata]

    @cached_property
    def fingerprint(self) -> str:
        """TFX's own form, of the files that are taken; behind it a hash of what TFX does not look at.

        That is their paths, sizes and times in nanoseconds (TFX: seconds), and the stored schemas.
        """
        digest = hashlib.sha256()
        total = xor = added = 0
        for info, root in zip(self.infos, self.roots, strict=True):
            file = data_file(info, info.path)
            digest.update(f"{file.path}\0{file.size}\0{file.mtime_ns}\0{root}\n".encode())
            seconds = max(file.mtime_ns, 0) // 10**9
            total, xor, added = total + file.size, xor ^ seconds, added + seconds
        for root, metadata in sorted(self.metadata.items()):
            # The list of files is what was matched; ARROW:schema and the like differ by the library that wrote it.
            pairs = sorted((key, value) for key, value in metadata.pairs.items() if key != FILES_KEY)
            digest.update(repr((root, pairs)).encode())
        return (
            f"split:{self.split},num_files:{len(self.infos)},total_bytes:{total},"
            f"xor_checksum:{xor},sum_checksum:{added},files:{digest.hexdigest()[:32]}"
        )


def match(base: str, split: str, pattern: str) -> Matched:
    """The files that `pattern` means below `base`: files, or folders with all data in them; globs with `**` too.

    The base is a folder as it is called, whatever characters are in it. Of a dataset that was committed without files
    there are none. Left out are what a committed list does not name, and names with "_" or "." in front. Raises
    `DatasetError` naming the split where there are no files otherwise, and what `read_common_metadata` raises.
    """
    try:
        asked = resolve(_below(base, pattern), glob=False)
        folder = resolve(base, glob=False).paths[0]
        finder = _Finder(asked.filesystem, folder, asked.paths[0])
        empty = finder.empty()
        if empty:
            return Matched(split, asked.url, asked.filesystem, (), (), empty)
        location = expand_below(asked, folder if asked.paths[0].startswith(f"{folder}/") else "")
        infos, roots, metadata = finder.files(location.paths)
    except DatasetNotFoundError as error:
        raise DatasetNotFoundError(_told(split, base, pattern, str(error))) from None
    except TfpetastormError as error:
        raise type(error)(_told(split, base, pattern, str(error))) from None
    if not infos:
        raise DatasetError(_told(split, base, pattern, "what it matches is no Parquet data"))
    return Matched(split, location.url, location.filesystem, infos, roots, metadata)


def _below(base: str, pattern: str) -> str:
    """The URL of a pattern below a folder, whose URL may have a query."""
    is_url = "://" in base and not base.lower().startswith("file:")
    path, mark, query = base.partition("?") if is_url else (base, "", "")
    return posixpath.join(path, pattern) + mark + query


def _told(split: str, base: str, pattern: str, reason: str) -> str:
    return describe(
        f"the input split {split!r} can't be read: {reason.rstrip('.')}",
        found=f"the pattern {pattern!r} in {redact(base)}",
        expected="Parquet files, or folders of them",
        remedy="Patterns are relative to input_base.",
    )


class _Finder:
    """Finds files and the datasets that they belong to. base: a folder; asked: the pattern as a path."""

    def __init__(self, filesystem: pafs.FileSystem, base: str, asked: str) -> None:
        self._filesystem = filesystem
        self._asked = asked
        self._base = base
        #: The topmost folder whose metadata may rule the files: the base may be a part of a dataset.
        top = self._base
        while "=" in posixpath.basename(top):
            top = posixpath.dirname(top)
        self._top = posixpath.dirname(top)
        self._metadata: dict[str, CommonMetadata | None] = {}

    def files(
        self, paths: Sequence[str]
    ) -> tuple[tuple[pafs.FileInfo, ...], tuple[str | None, ...], dict[str, CommonMetadata]]:
        """The files at and below `paths`, the root of each, and the metadata of the roots."""
        found: dict[str, pafs.FileInfo] = {}
        folders = []
        for info in self._infos(paths):
            if info.type == pafs.FileType.File:
                found[info.path] = info
                continue
            folders.append(info.path)
            for below in self._filesystem.get_file_info(pafs.FileSelector(info.path, recursive=True)):
                name = below.path[len(info.path) :].lstrip("/")
                if below.type == pafs.FileType.File and is_data_name(name):
                    found[below.path] = below
        refuse_loops(self._filesystem, found)
        for folder in folders:
            # Of a dataset whose files are all missing, too.
            self._metadata_of(folder)
        roots = {path: self._root_of(path) for path in found}
        self._check_whole(folders, found)
        kept = [path for path, root in roots.items() if root is None or self._is_listed(path, root)]
        # As readers do: names end as Parquet's do, unless none does.
        kept = sorted(parquet_names([path for path in kept if is_data_name(posixpath.basename(path))]))
        ruling = {root: metadata for path in kept if (root := roots[path]) and (metadata := self._metadata[root])}
        return tuple(found[path] for path in kept), tuple(roots[path] for path in kept), ruling

    def empty(self) -> dict[str, CommonMetadata]:
        """The metadata of the dataset that the pattern means, by its root, if it was committed without any file."""
        folder = self._asked
        if any(char in posixpath.basename(folder) for char in "*?[") and self._metadata_of(folder) is None:
            folder = posixpath.dirname(folder)
        if folder != self._base and not folder.startswith(f"{self._base}/"):
            return {}
        metadata = self._metadata_of(folder)
        return {folder: metadata} if metadata is not None and metadata.files == {} else {}

    def _infos(self, paths: Sequence[str]) -> list[pafs.FileInfo]:
        infos: list[pafs.FileInfo] = self._filesystem.get_file_info(list(paths))
        for info in infos:
            if info.type == pafs.FileType.NotFound:
                raise DatasetNotFoundError(f"there is no {info.path}")
        return infos

    def _root_of(self, path: str) -> str | None:
        """The nearest folder above a file whose metadata rules it; None for plain Parquet."""
        folder = posixpath.dirname(path)
        while True:
            metadata = self._metadata_of(folder)
            above = folder != self._base and self._base.startswith(folder + "/")
            # What is above the base was not asked for: it has to name the file.
            if metadata is not None and (not above or _name(path, folder) in (metadata.files or {})):
                return folder
            if folder == self._top or posixpath.dirname(folder) in ("", folder):
                return None
            folder = posixpath.dirname(folder)

    def _metadata_of(self, folder: str) -> CommonMetadata | None:
        if folder not in self._metadata:
            path = join(folder, COMMON_METADATA)
            there = self._filesystem.get_file_info([path])[0].type == pafs.FileType.File
            metadata = read_common_metadata(self._filesystem, path) if there else None
            if metadata is not None and not metadata.finished:
                raise DatasetError(
                    describe(
                        "the dataset was never finished: its writer was interrupted, or is still at work",
                        Place(file=path),
                    )
                )
            if metadata is not None and metadata.kind == "parquet" and metadata.files is None:
                metadata = None  # as Spark leaves it: it tells nothing of files, nor of a Unischema
            self._metadata[folder] = metadata
        return self._metadata[folder]

    def _is_listed(self, path: str, root: str) -> bool:
        metadata = self._metadata[root]
        name = _name(path, root)
        return is_data_name(name) and (metadata is None or metadata.files is None or name in metadata.files)

    def _check_whole(self, folders: Sequence[str], found: Mapping[str, pafs.FileInfo]) -> None:
        """Raise `DamagedDataError` for a file that was asked for, and is listed but missing."""
        for root, metadata in self._metadata.items():
            for name in metadata.files or () if metadata is not None else ():
                path = join(root, name)
                if path not in found and (self._asks(path) or any(path.startswith(f"{one}/") for one in folders)):
                    raise DamagedDataError(describe("a file of the dataset is missing", Place(file=path)))

    def _asks(self, path: str) -> bool:
        """Whether the pattern matches a path."""
        return covers(self._asked, self._base if self._asked.startswith(f"{self._base}/") else "", path)


def _name(path: str, root: str) -> str:
    """The path of a file relative to a folder above it."""
    return path[len(root) :].lstrip("/")
