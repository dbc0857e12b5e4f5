"""Whose files these are: the metadata in the folders above them, which an artifact's splits share."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import replace

import pyarrow.fs as pafs

from tfpetastorm.errors import DatasetError, Place, SchemaMismatchError, describe
from tfpetastorm.storage.footers import Footer
from tfpetastorm.storage.inventory import DataFile
from tfpetastorm.storage.listing import (
    Listing,
    hold_against,
    parquet_like,
    refuse_unfinished,
    warn_of_unlisted,
)
from tfpetastorm.storage.metadata import (
    COMMON_METADATA,
    UNISCHEMA_KEY,
    CommonMetadata,
    ListedFile,
    read_common_metadata,
)
from tfpetastorm.stores.filesystem import join
from tfpetastorm.tfxio.asked import Asked


class Ruling:
    """Of each listed file the metadata that rules it: that in the nearest folder above it which has any."""

    def __init__(self, listing: Listing, asked: Asked) -> None:
        self._listing = listing
        self._asked = asked
        #: What `list_dataset` found with one folder is held against its list already.
        self._whole = bool(listing.metadata) and not asked.location.many
        self._there = set() if self._whole else self._folders()
        self._read: dict[str, CommonMetadata | None] = {}

    def held(self) -> Listing:
        """The listing, held against the committed lists of what rules its files.

        A file that is listed, asked for and missing is `DamagedDataError`. Files that are not listed are left out with
        a warning, but for those that were asked for by their own names. Raises `DatasetError` where none is left.
        """
        if self._whole:
            return self._listing
        listed: dict[str, ListedFile] = {}
        unlisted: dict[str, list[str]] = {}
        kept = []
        for file in self._listing.files:
            metadata = self._of(file)
            if metadata is not None and metadata.files is not None:
                name = _below(file.path, _folder(metadata))
                if "/" in name and not any("/" in one for one in metadata.files):
                    pass  # a list of what is in the folder itself, which was copied for its schema
                elif name in metadata.files:
                    listed[file.name] = metadata.files[name]
                elif not self._asked.by_name(file.path):
                    unlisted.setdefault(metadata.path, []).append(name)
                    continue
            kept.append(file)
        problems = list(self._listing.problems)
        there = {file.path for file in self._listing.files}
        for metadata in [one for one in self._read.values() if one is not None]:
            root, names = _folder(metadata), metadata.files or {}
            wanted = [name for name in names if self._asked.covers(join(root, name))]
            hold_against(wanted, {name for name in wanted if join(root, name) in there}, root)
            extra = sorted(unlisted.get(metadata.path, []))
            if extra and not wanted:
                raise DatasetError(
                    describe(
                        "none of the files is in the dataset's committed list",
                        Place(file=metadata.path),
                        expected=sorted(names)[:3],
                        found=extra[:3],
                        remedy="If they belong to it, write them with DatasetWriter(mode='append'); if not, keep them "
                        "in another folder.",
                    )
                )
            problems += warn_of_unlisted([name for name in extra if parquet_like(name)], metadata.path)
        return replace(self._listing, files=tuple(kept), listed=listed, problems=tuple(problems))

    def with_schemas(self, listing: Listing, footers: Sequence[Footer]) -> Listing:
        """The listing, with the metadata that holds the schemas of its files, if they have any.

        Raises `SchemaMismatchError` where some have and others have not.
        """
        if self._whole and any(one.kind != "parquet" for one in listing.metadata):
            return listing
        sources = [self._source(file, footer) for file, footer in zip(listing.files, footers, strict=True)]
        found = {source.path: source for source in sources if source is not None}
        if found and None in sources:
            raise SchemaMismatchError(
                describe(
                    "files are read together of which some have a Unischema and others have none",
                    Place(file=listing.files[sources.index(None)].path),
                    expected=f"a Unischema, as {next(iter(found))} has one",
                    found=f"none in its footer, nor in a {COMMON_METADATA} above it",
                    remedy="Read them apart, or give the others a schema: tfpetastorm adopt, or UnischemaExampleGen.",
                )
            )
        # Of one schema once: files may hold one each.
        distinct = {(one.pairs.get(UNISCHEMA_KEY) or one.path): one for one in found.values()}
        return replace(listing, metadata=tuple(distinct.values()) or listing.metadata)

    def _source(self, file: DataFile, footer: Footer) -> CommonMetadata | None:
        """What holds the schema of a file: metadata beside it, its own footer, or metadata further above."""
        above = self._of(file)
        if above is not None and above.kind == "parquet":
            above = None
        given = {one.path for one in self._listing.metadata}
        if above is not None and (above.path in given or _folder(above) == posixpath.dirname(file.path)):
            return above
        own = (footer.metadata.metadata or {}).get(UNISCHEMA_KEY)
        return above if own is None else CommonMetadata(file.path, {UNISCHEMA_KEY: own})

    def _of(self, file: DataFile) -> CommonMetadata | None:
        folder = posixpath.dirname(file.path)
        top = posixpath.dirname(self._listing.root)
        while True:
            found = self._metadata(folder) if folder in self._there else None
            if found is not None or folder == top or posixpath.dirname(folder) in ("", folder):
                return found
            folder = posixpath.dirname(folder)

    def _metadata(self, folder: str) -> CommonMetadata | None:
        """The metadata in a folder; None if it tells neither of files nor of a schema, as Spark's does."""
        if folder not in self._read:
            metadata = read_common_metadata(self._asked.location.filesystem, join(folder, COMMON_METADATA))
            refuse_unfinished(metadata)
            self._read[folder] = None if metadata.kind == "parquet" and metadata.files is None else metadata
        return self._read[folder]

    def _folders(self) -> set[str]:
        """The folders with metadata: those of files and above, up to that above the root; of a split, its artifact."""
        folders = {self._listing.root, posixpath.dirname(self._listing.root)}
        for start in {posixpath.dirname(file.path) for file in self._listing.files}:
            folder = start
            while folder and folder not in folders:
                folders.add(folder)
                folder = posixpath.dirname(folder)
        # Not in those of partitions, of which there may be thousands.
        paths = sorted(join(folder, COMMON_METADATA) for folder in folders if "=" not in posixpath.basename(folder))
        infos = self._asked.location.filesystem.get_file_info(paths)
        return {posixpath.dirname(info.path) for info in infos if info.type == pafs.FileType.File}


def _folder(metadata: CommonMetadata) -> str:
    return posixpath.dirname(metadata.path)


def _below(path: str, folder: str) -> str:
    return path[len(folder) :].lstrip("/")
