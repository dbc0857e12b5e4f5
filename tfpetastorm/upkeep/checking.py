"""`check_dataset`: is a dataset what its metadata says? And `repair_metadata`, which mends what needs no guess."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tfpetastorm.errors import DamagedDataError, DatasetError, TfpetastormError
from tfpetastorm.schema.arrow import check_stored
from tfpetastorm.schema.codecs.base import Codec
from tfpetastorm.schema.petastorm_emit import can_express, write_pickled_schema
from tfpetastorm.schema.petastorm_format import read_pickled_schema
from tfpetastorm.schema.unischema import Unischema
from tfpetastorm.storage.footers import Footer, Progress, read_footers
from tfpetastorm.storage.inventory import DataFile
from tfpetastorm.storage.listing import parquet_like
from tfpetastorm.storage.metadata import (
    COMMON_METADATA,
    FILES_KEY,
    PETASTORM_FILES_KEY,
    PETASTORM_UNISCHEMA_KEY,
    UNISCHEMA_KEY,
    ListedFile,
    parse_pairs,
)
from tfpetastorm.stores.filesystem import Url
from tfpetastorm.upkeep.cells import sample_cells
from tfpetastorm.upkeep.folder import CHECKSUM, SUMMARY, SUMMARY_CHECKSUM, Folder, look
from tfpetastorm.upkeep.metadata import drop_summary, summary_matches, write

#: Rows that are decoded unless told otherwise.
ROWS = 1000
#: Of the findings of one kind, this many are told one by one.
_TOLD = 20

#: What is looked at, in this order.
ASPECTS = {
    "metadata": "the metadata is there and can be read",
    "schemas": "the schema can be read, and petastorm's says the same",
    "files": "the listed files are those of the folder",
    "counts": "rows and row groups are as listed",
    "columns": "every file has the schema's columns",
    "checksums": "what others derived from the metadata is up to date",
    "cells": "sampled cells can be decoded",
}


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be. aspect: a key of `ASPECTS`. what: in words, with the place. mend: what
    `repair_metadata` does about it, None if it can do nothing; remedy: what the user can do then."""

    aspect: str
    what: str
    mend: str | None = None
    remedy: str | None = None


@dataclass(eq=False)
class Report:
    """What a check found. seen: for each aspect that was looked at, what was. skipped: why others were not."""

    url: str
    findings: list[Finding] = field(default_factory=list)
    seen: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "url": self.url,
            "sound": not self.findings,
            "findings": [vars(finding) for finding in self.findings],
            "seen": self.seen,
            "skipped": self.skipped,
        }


def check_dataset(
    url: Url,
    *,
    rows: int = ROWS,
    codecs: Sequence[type[Codec]] = (),
    filesystem: Any = None,
    progress: Progress | None = None,
) -> Report:
    """Hold a dataset against its metadata. Nothing is written.

    rows: how many rows to decode, from row groups all over the dataset; 0 for none. codecs: as for `open_dataset`.
    progress: called with the footers read, later the row groups decoded, and how many there are.
    Raises `DatasetError` only if there is no such folder.
    """
    folder = look(url, filesystem)
    found = _Check(folder, tuple(codecs))
    found.run(progress)
    if not rows:
        found.report.skipped["cells"] = "no rows were asked for"
        return found.report
    try:
        cells = sample_cells(url, rows, codecs=codecs, filesystem=filesystem, progress=progress)
    except TfpetastormError as error:
        found.report.skipped["cells"] = "the dataset can't be opened"
        if not found.report.findings:
            found.add("metadata", str(error))
        return found.report
    for problem in cells.problems:
        found.add("cells", problem)
    found.report.seen["cells"] = cells.seen
    return found.report


def repair_metadata(
    url: Url, *, adopt: bool = False, codecs: Sequence[type[Codec]] = (), filesystem: Any = None
) -> list[str]:
    """Mend what of the metadata can be mended without a guess; data files are not touched. What was done, in words.

    adopt: also list files that the committed list leaves out. What is left is for `check_dataset` to tell.
    Raises `DatasetError` if the metadata can't be written.
    """
    folder = look(url, filesystem)
    found = _Check(folder, tuple(codecs))
    found.run(None)
    mended = list(dict.fromkeys(finding.mend for finding in found.report.findings if finding.mend))
    adopted = [name for name in found.unlisted if adopt]
    if adopted:
        mended.append(f"added to the list: {', '.join(adopted)}")
    if found.schema is None or not (mended or adopted):
        return []
    files = dict(found.listed if found.listed is not None else dict.fromkeys(folder.data, ListedFile()))
    files |= dict.fromkeys(adopted, ListedFile())
    for name, footer in found.footers.items():
        if name in files:
            files[name] = ListedFile(footer.metadata.num_row_groups, footer.metadata.num_rows)
    assert folder.columns is not None  # without it there is no schema either
    has_petastorm = bool(folder.pairs.keys() & {PETASTORM_UNISCHEMA_KEY, PETASTORM_FILES_KEY})
    write(folder, folder.columns, found.schema, files, verbatim=found.origin == "petastorm", petastorm=has_petastorm)
    if SUMMARY in folder.others and not summary_matches(folder, files):
        drop_summary(folder)
    return mended


class _Check:
    """The check at work: each step adds to the report and leaves what later steps need."""

    def __init__(self, folder: Folder, codecs: tuple[type[Codec], ...]) -> None:
        self.folder = folder
        self.report = Report(folder.url)
        self.schema: Unischema | None = None
        self.origin = ""
        self.listed: Mapping[str, ListedFile] | None = None
        self.unlisted: list[str] = []
        self.footers: dict[str, Footer] = {}
        self._codecs = codecs

    def run(self, progress: Progress | None) -> None:
        """All but the decoding of cells."""
        if not self._metadata():
            for aspect in ("schemas", "counts", "columns"):
                self.report.skipped[aspect] = "there is no schema"
            self._footers(progress)
            return
        self._schemas()
        self._files()
        self._footers(progress)
        self._counts()
        self._columns()
        self._checksums()

    def add(self, aspect: str, what: str, mend: str | None = None, remedy: str | None = None) -> None:
        """Report a finding; more than some of one aspect are only counted."""
        before = sum(finding.aspect == aspect for finding in self.report.findings)
        if before < _TOLD:
            self.report.findings.append(Finding(aspect, what, mend, remedy))
        elif before == _TOLD:
            self.report.findings.append(Finding(aspect, "… and more of this kind", mend))

    def _metadata(self) -> bool:
        folder = self.folder
        if folder.content is not None:
            self.report.seen["metadata"] = COMMON_METADATA
        if folder.damage is not None:
            remedy = "Write it anew: tfpetastorm generate-metadata --unischema module.Name"
            self.add("metadata", f"{COMMON_METADATA} can't be read: {folder.damage}", remedy=remedy)
        elif not folder.pairs.keys() & {UNISCHEMA_KEY, PETASTORM_UNISCHEMA_KEY}:
            what = "holds no Unischema" if folder.content is not None else "is missing: this is plain Parquet"
            remedy = "Add one: tfpetastorm generate-metadata [--unischema module.Name]"
            self.add("metadata", f"{COMMON_METADATA} {what}", remedy=remedy)
        else:
            return True
        return False

    def _schemas(self) -> None:
        pairs = self.folder.pairs
        read: dict[bytes, Unischema] = {}
        damage: dict[bytes, str] = {}
        for key in (UNISCHEMA_KEY, PETASTORM_UNISCHEMA_KEY):
            if key in pairs:
                try:
                    if key == UNISCHEMA_KEY:
                        read[key] = Unischema.from_json(pairs[key].decode(), self._codecs)
                    else:
                        read[key] = read_pickled_schema(pairs[key], self._codecs)
                except (TfpetastormError, UnicodeDecodeError) as error:
                    damage[key] = str(error)
        self.report.seen["schemas"] = " and ".join(
            key.decode() for key in (UNISCHEMA_KEY, PETASTORM_UNISCHEMA_KEY) if key in pairs
        )
        if read:
            key, self.schema = next(iter(read.items()))
            self.origin = "stored" if key == UNISCHEMA_KEY else "petastorm"
        for key, reason in damage.items():
            mend = f"{key.decode()} was written anew, from the other schema" if self.schema is not None else None
            if key == PETASTORM_UNISCHEMA_KEY and self.schema is not None and can_express(self.schema):
                mend = f"{key.decode()} was removed: petastorm's form can't express the schema"
            self.add("schemas", f"{key.decode()} can't be read: {reason}", mend)
        if PETASTORM_FILES_KEY in pairs and PETASTORM_UNISCHEMA_KEY not in pairs:
            mend = f"petastorm's keys were {'removed' if self.schema and can_express(self.schema) else 'written'}"
            self.add(
                "schemas", f"{PETASTORM_UNISCHEMA_KEY.decode()} is missing, though its list of files is there", mend
            )
        if len(read) == 2 and not can_express(read[UNISCHEMA_KEY]):
            mine = read_pickled_schema(write_pickled_schema(read[UNISCHEMA_KEY]), self._codecs)
            differing = _differing(mine, read[PETASTORM_UNISCHEMA_KEY])
            if differing:
                mend = f"{PETASTORM_UNISCHEMA_KEY.decode()} was written anew"
                self.add("schemas", f"petastorm's schema differs from ours in {', '.join(differing)}", mend)

    def _files(self) -> None:
        pairs, lists = dict(self.folder.pairs), {}
        for key in (FILES_KEY, PETASTORM_FILES_KEY):
            other = PETASTORM_FILES_KEY if key == FILES_KEY else FILES_KEY
            schema = UNISCHEMA_KEY if key == FILES_KEY else PETASTORM_UNISCHEMA_KEY
            if key not in pairs:
                if schema in pairs:
                    self.add("files", f"the list {key.decode()} is missing", f"{key.decode()} was written")
                continue
            try:
                parsed = parse_pairs(self.folder.metadata_path, {k: v for k, v in pairs.items() if k != other})
                lists[key] = parsed.files or {}
            except DatasetError as error:
                self.add("files", str(error), f"{key.decode()} was written anew")
                continue
            if not parsed.finished:
                self.add("files", "the dataset was never finished: its writer was interrupted, or is still at work",
                         remedy="Write it again.")  # fmt: skip
        self.listed = next(iter(lists.values()), None)
        self.report.seen["files"] = f"{len(self.folder.data):,} in the folder"
        if len(lists) == 2:
            ours, theirs = lists[FILES_KEY], lists[PETASTORM_FILES_KEY]
            if {name: one.row_groups for name, one in ours.items()} != {
                name: one.row_groups for name, one in theirs.items()
            }:
                mend = f"{PETASTORM_FILES_KEY.decode()} was written anew, from ours"
                self.add("files", "petastorm's list of files differs from ours", mend)
        if self.listed is None:
            return
        for name in sorted(self.listed.keys() - self.folder.data.keys()):
            self.add("files", f"{name} is listed, but missing", remedy="Restore it, or write the dataset again.")
        self.unlisted = sorted(name for name in self.folder.data.keys() - self.listed.keys() if parquet_like(name))
        for name in self.unlisted:
            remedy = "If it belongs to the dataset: --repair --adopt-unlisted; if a dead writer left it, delete it."
            self.add("files", f"{name} is not listed, so readers leave it out", remedy=remedy)

    def _footers(self, progress: Progress | None) -> None:
        def bad(file: DataFile, error: DamagedDataError) -> None:
            self.add("counts", str(error), remedy="Restore the file.")

        files = list(self.folder.data.values())
        found = read_footers(self.folder.filesystem, files, on_bad_file=bad, progress=progress)
        self.footers = {file.name: one for file, one in zip(files, found, strict=True) if one is not None}

    def _counts(self) -> None:
        rows = 0
        for name, listed in (self.listed or {}).items():
            if name not in self.footers:
                continue
            metadata = self.footers[name].metadata
            rows += metadata.num_rows
            for what, expected, seen in (
                ("row groups", listed.row_groups, metadata.num_row_groups),
                ("rows", listed.rows, metadata.num_rows),
            ):
                if expected is not None and expected != seen:
                    mend = "the counts in the list were taken from the files"
                    self.add("counts", f"{name} is listed with {expected} {what}, and has {seen}", mend)
        self.report.seen["counts"] = f"{_many(rows, 'row')} in {_many(len(self.footers), 'file')}"

    def _columns(self) -> None:
        if self.schema is None:
            self.report.skipped["columns"] = "there is no schema"
            return
        self.report.seen["columns"] = f"{_many(len(self.schema), 'field')} in {_many(len(self.footers), 'file')}"
        for name, footer in self.footers.items():
            if self.listed is not None and name not in self.listed:
                continue
            arrow = footer.metadata.schema.to_arrow_schema()
            held = {*arrow.names, *self.folder.data[name].partition}
            for one in self.schema:
                if one.name not in held and not one.nullable:
                    self.add("columns", f"{name} lacks the field {one.name!r}, which is not nullable")
                try:
                    check_stored(Unischema("one", [one]), arrow, name)
                except TfpetastormError as error:
                    self.add("columns", str(error))

    def _checksums(self) -> None:
        others = self.folder.others
        derived = sorted({CHECKSUM, SUMMARY, SUMMARY_CHECKSUM} & others)
        self.report.seen["checksums"] = ", ".join(derived) or "none there"
        if CHECKSUM in others and not _checksum_matches(self.folder.read(CHECKSUM), self.folder.content or b""):
            what = f"{CHECKSUM} is not that of {COMMON_METADATA}: Hadoop would refuse to read it"
            self.add("checksums", what, f"{CHECKSUM} was removed")
        if SUMMARY not in others:
            return
        counts = {
            name: ListedFile(footer.metadata.num_row_groups)
            for name, footer in self.footers.items()
            if self.listed is None or name in self.listed
        }
        if not summary_matches(self.folder, counts):
            self.add("checksums", f"{SUMMARY} lists other row groups than the files have", f"{SUMMARY} was removed")


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _differing(one: Unischema, other: Unischema) -> list[str]:
    mine, theirs = dict(one.fields), dict(other.fields)
    return [name for name in {**mine, **theirs} if mine.get(name) != theirs.get(name)]


def _checksum_matches(stored: bytes, content: bytes) -> bool:
    """Whether `stored` is what Hadoop's ChecksumFileSystem keeps of `content`: "crc", 0, the bytes of a piece as int32,
    and the CRC-32 of each piece, all big-endian."""
    if len(stored) < 8 or stored[:4] != b"crc\0":
        return False
    size = struct.unpack(">i", stored[4:8])[0]
    if size <= 0:
        return False
    pieces = (content[start : start + size] for start in range(0, len(content), size))
    return stored[8:] == b"".join(struct.pack(">I", zlib.crc32(piece)) for piece in pieces)
