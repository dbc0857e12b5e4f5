"""Which files a dataset has: listed once, held against the committed list, sorted by name."""

from __future__ import annotations

import hashlib
import os
import posixpath
import warnings
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.fs as pafs

from tfpetastorm.errors import (
    DamagedDataError,
    DatasetError,
    DatasetNotFoundError,
    DatasetWarning,
    Place,
    StoreError,
    describe,
)
from tfpetastorm.storage.footers import OnBadFile
from tfpetastorm.storage.inventory import DataFile
from tfpetastorm.storage.metadata import COMMON_METADATA, CommonMetadata, ListedFile, read_common_metadata
from tfpetastorm.storage.sidecar import SIDECAR_NAME
from tfpetastorm.stores.filesystem import Location, is_local, join
from tfpetastorm.stores.retrying import refused

_SUFFIXES = (".parquet", ".parq", ".pq")
#: What hive names the folder of a null.
HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"
#: How often a folder is looked at whose committed list changes meanwhile.
_LOOKS = 10


@dataclass(frozen=True)
class Listing:
    """The files of a dataset and what was found beside them.

    root: the folder that names are relative to. files: sorted by name. listed: what a committed list says of them, by
    name. metadata: of each `_common_metadata` that rules some of the files. has_sidecar: whether the root has one.
    problems: what a user should know of, in words.
    """

    root: str = field(repr=False)
    files: tuple[DataFile, ...]
    listed: Mapping[str, ListedFile] = field(default_factory=dict)
    metadata: tuple[CommonMetadata, ...] = ()
    has_sidecar: bool = False
    problems: tuple[str, ...] = ()


def list_dataset(location: Location, on_bad_file: OnBadFile | None = None) -> Listing:
    """The data files at `location`, each folder listed once.

    Names with a part that starts with "_" or "." are not data, nor is what a committed list leaves out: that is warned
    about. A file that is listed but missing is `DamagedDataError`, or left to `on_bad_file`.
    Raises `DatasetError` if nothing is there.
    """
    infos = _infos(location.filesystem, location.paths, location.url)
    folders = [info.path for info in infos if info.type == pafs.FileType.Directory]
    if len(infos) == 1 and folders:
        return _one_folder(location, folders[0].rstrip("/"), on_bad_file)
    return _many(location, infos, on_bad_file)


def _infos(filesystem: pafs.FileSystem, paths: Sequence[str], url: str) -> list[pafs.FileInfo]:
    try:
        infos: list[pafs.FileInfo] = filesystem.get_file_info(list(paths))
    except (OSError, pa.ArrowException, ValueError) as error:
        # The store's own words may hold the address it was asked for, but never its credentials.
        raise DatasetError(f"can't look at {url}: {error}") from None
    for info in infos:
        if info.type == pafs.FileType.NotFound:
            raise DatasetNotFoundError(
                f"there is no {info.path} ({url}). Check the path, and that this machine can reach it."
            )
    return infos


def _one_folder(location: Location, root: str, on_bad_file: OnBadFile | None) -> Listing:
    metadata, by_name = _look(location, root)
    if metadata is None:
        _refuse_nested(by_name, location.url)
    candidates = [name for name in by_name if is_data_name(name)]
    problems: list[str] = []
    if metadata is not None:
        refuse_unfinished(metadata)
    if metadata is not None and metadata.files is not None:
        names = hold_against(metadata.files, by_name, root, on_bad_file)
        extra = sorted(name for name in candidates if name not in metadata.files and parquet_like(name))
        problems += warn_of_unlisted(extra, metadata.path)
        listed: Mapping[str, ListedFile] = metadata.files
    else:
        names = parquet_names(candidates)
        refuse_loops(location.filesystem, [by_name[name].path for name in names])
        listed = {}
        if not names:
            raise DatasetError(f"{location.url} holds no Parquet files. Check the path.")
    files = tuple(data_file(by_name[name], name) for name in sorted(names))
    kept = (metadata,) if metadata is not None else ()
    return Listing(root, files, listed, kept, SIDECAR_NAME in by_name, tuple(problems))


def _look(location: Location, root: str) -> tuple[CommonMetadata | None, dict[str, pafs.FileInfo]]:
    """The metadata in a folder, if it has any, and the files in it by name, as they were at one moment.

    The metadata is read first: by then all that its list names was whole, also where files are seen while they are
    written. Where the listing differs from it afterwards, a commit may have come in between: then it is read again.
    """
    metadata, problem = _metadata_in(location, root)
    for _ in range(_LOOKS):
        try:
            found = location.filesystem.get_file_info(pafs.FileSelector(root, recursive=True))
        except (OSError, pa.ArrowException, ValueError) as error:
            raise DatasetError(f"can't list {location.url}: {error}") from None
        by_name = {_relative(info.path, root): info for info in found if info.type != pafs.FileType.Directory}
        if metadata is None and COMMON_METADATA not in by_name:
            break
        if metadata is not None and (metadata.files is None or not _differs(metadata.files, by_name)):
            break
        before, (metadata, problem) = metadata, _metadata_in(location, root)
        if problem is not None:
            raise problem
        if metadata == before:
            break
    return metadata, by_name


def _differs(listed: Mapping[str, ListedFile], by_name: Mapping[str, pafs.FileInfo]) -> bool:
    """Whether files of a committed list are missing, or others are there that look like data."""
    data = {name for name in by_name if is_data_name(name) and parquet_like(name)}
    return not data.issubset(listed) or any(name not in by_name for name in listed)


def _metadata_in(location: Location, root: str) -> tuple[CommonMetadata | None, DatasetError | None]:
    """The metadata in a folder, or why it can't be read: because it is not there, for one."""
    try:
        return read_common_metadata(location.filesystem, join(root, COMMON_METADATA)), None
    except DatasetError as error:
        return None, error


def refuse_unfinished(metadata: CommonMetadata) -> None:
    """Raise `DatasetError` for a dataset that nobody ever committed."""
    if not metadata.finished:
        raise DatasetError(
            describe(
                "the dataset was never finished: its writer was interrupted, or is still at work",
                Place(file=metadata.path),
                remedy="Write it again; a DatasetWriter may take the folder as it is.",
            )
        )


def refuse_loops(filesystem: pafs.FileSystem, paths: Iterable[str]) -> None:
    """Raise `DatasetError` for files found again and again below a link to a folder above them. paths: of all files."""
    if not is_local(filesystem):
        return
    seen: dict[str, str] = {}
    for folder in sorted({posixpath.dirname(path) for path in paths}):
        above = seen.setdefault(os.path.realpath(folder), folder)
        if folder.startswith(f"{above}/"):
            raise DatasetError(
                describe("a link leads back to a folder above it", Place(file=folder), expected="no loop")
            )


def _refuse_nested(by_name: Mapping[str, pafs.FileInfo], url: str) -> None:
    inner = sorted(
        name
        for name in by_name
        if name.endswith("/" + COMMON_METADATA) and is_data_name(posixpath.dirname(name) + "/x")
    )
    if inner:
        raise DatasetError(
            f"{url} is a folder of datasets, such as {inner[0]}. Open one of them, or give several as a list."
        )


def hold_against(
    listed: Iterable[str], by_name: Container[str], root: str, on_bad_file: OnBadFile | None = None
) -> list[str]:
    """The files of a committed list, sorted. by_name: what is there; for the others `DamagedDataError` is raised, or
    left to `on_bad_file`."""
    names = []
    for name in sorted(listed):
        if name in by_name:
            names.append(name)
            continue
        error = DamagedDataError(
            describe(
                "a file of the dataset is missing",
                Place(file=join(root, name)),
                remedy="Restore it; make_dataset and ParquetDataset can leave it out: on_error=Skip(...).",
            )
        )
        if on_bad_file is None:
            raise error
        on_bad_file(DataFile(join(root, name), name, 0, -1, partition_of(name)), error)
    return names


def warn_of_unlisted(extra: list[str], path: str) -> list[str]:
    """Warn of Parquet files that the committed list at `path` leaves out, if there are any. What was said."""
    if not extra:
        return []
    shown = ", ".join(extra[:3]) + (f" and {len(extra) - 3} more" if len(extra) > 3 else "")
    problem = describe(
        f"{len(extra)} Parquet files are not in the dataset's committed list and are left out: {shown}",
        Place(file=path),
        remedy="If they belong to it, write them with DatasetWriter(mode='append'); if an interrupted "
        "writer left them, delete them.",
    )
    warnings.warn(problem, DatasetWarning, stacklevel=2)
    return [problem]


def _many(location: Location, infos: list[pafs.FileInfo], on_bad_file: OnBadFile | None) -> Listing:
    """Files and folders given one by one. Each folder's own committed list rules what is in it."""
    filesystem = location.filesystem
    parts: list[tuple[str, Listing]] = []
    single: list[pafs.FileInfo] = []
    for info in infos:
        if info.type == pafs.FileType.Directory:
            folder = info.path.rstrip("/")
            parts.append((folder, _one_folder(Location(filesystem, (folder,), folder), folder, on_bad_file)))
        else:
            single.append(info)
    paths = [info.path for info in single] + [join(folder, file.name) for folder, part in parts for file in part.files]
    root = _common_root([posixpath.dirname(_bare(path)) for path in paths] or [folder for folder, _ in parts])
    files = [
        data_file(info, name) for info, name in zip(single, _names([info.path for info in single], root), strict=True)
    ]
    metadata = [found for _, part in parts for found in part.metadata]
    listed: dict[str, ListedFile] = {}
    for _, part in parts:
        for file in part.files:
            name = _relative(file.path, root)
            files.append(DataFile(file.path, name, file.size, file.mtime_ns, partition_of(name)))
            if file.name in part.listed:
                listed[name] = part.listed[file.name]
    if single:
        # Files picked out of a dataset keep its schema.
        beside = _beside(filesystem, join(root, COMMON_METADATA))
        if beside:
            found = read_common_metadata(filesystem, beside)
            metadata.append(found)
            names = {file.name for file in files}
            listed |= {name: counts for name, counts in (found.files or {}).items() if name in names}
    problems = tuple(problem for _, part in parts for problem in part.problems)
    return Listing(root, tuple(sorted(files, key=lambda file: file.name)), listed, tuple(metadata), False, problems)


def _beside(filesystem: pafs.FileSystem, path: str) -> str | None:
    """The path of a file that may lie beside others, if it is there."""
    try:
        info = filesystem.get_file_info([path])[0]
    except StoreError as error:
        # Who has a signed URL of a file is let at nothing else.
        if refused(error):
            return None
        raise
    return str(info.path) if info.type == pafs.FileType.File else None


def _bare(path: str) -> str:
    """A path; if it is a URL, without its query: that may hold slashes, and a signature that nobody should see."""
    return path.partition("?")[0] if "://" in path else path


def _names(paths: list[str], root: str) -> list[str]:
    """The names of files. Those of URLs that differ in their queries alone end in what can't be undone."""
    names = [_relative(_bare(path), root) for path in paths]
    if len(set(names)) == len(names):
        return names
    return [
        name if path == _bare(path) else f"{name}?{hashlib.sha256(path.partition('?')[2].encode()).hexdigest()[:16]}"
        for name, path in zip(names, paths, strict=True)
    ]


def _common_root(folders: list[str]) -> str:
    root = posixpath.commonpath(folders) if len(set(folders)) > 1 else folders[0]
    # Partition folders belong to the names of files, whichever part of a dataset was picked.
    while "=" in posixpath.basename(root):
        root = posixpath.dirname(root)
    return root


def partition_of(name: str) -> dict[str, str | None]:
    """The partition values that the folders in a file's name tell, in hive's way."""
    values: dict[str, str | None] = {}
    for part in name.split("/")[:-1]:
        key, equals, value = part.partition("=")
        if equals and key:
            values[unquote(key)] = None if value == HIVE_NULL else unquote(value)
    return values


def data_file(info: pafs.FileInfo, name: str) -> DataFile:
    """The data file that a listing found, by its name relative to the root."""
    size = info.size if info.size is not None else -1
    mtime = info.mtime_ns if info.mtime_ns is not None else -1
    return DataFile(info.path, name, size, mtime, partition_of(name))


def parquet_names(candidates: list[str]) -> list[str]:
    """Files that are named like Parquet; if none is, all of them: some writers give no suffix."""
    return [name for name in candidates if parquet_like(name)] or candidates


def parquet_like(name: str) -> bool:
    """Whether a file is named like Parquet."""
    return name.lower().endswith(_SUFFIXES)


def is_data_name(name: str) -> bool:
    """Whether a file's name, relative to the root, has no part that hides it from readers: "_" or "." in front."""
    # "_year=2020" is the folder of a partition, as Spark has it too.
    *folders, base = name.split("/")
    return not base.startswith(("_", ".")) and not any(
        part.startswith(".") or (part.startswith("_") and "=" not in part) for part in folders
    )


def _relative(path: str, root: str) -> str:
    return path[len(root) :].lstrip("/") if path.startswith(root) else path
