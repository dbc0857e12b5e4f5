"""Data files being written: encoded rows go in, row groups of the wanted size come out, files follow one another."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from tfpetastorm.errors import Place, StoreError, describe
from tfpetastorm.schema.codecs import CompressedImageCodec, CompressedNdarrayCodec
from tfpetastorm.schema.unischema import Unischema
from tfpetastorm.storage.metadata import ListedFile
from tfpetastorm.stores.atomic import open_new
from tfpetastorm.stores.filesystem import is_local
from tfpetastorm.stores.retrying import passes, reason_of
from tfpetastorm.writing.chunks import Part

#: pyarrow gives a dictionary up once its page is this large, having written it already.
_DICTIONARY_PAGE = 1 << 20
#: A dictionary must save at least this share: one that doesn't costs time in reading.
_DICTIONARY_GAIN = 0.3
#: Row groups not yet complete, of all partitions together, take at most this much before the largest is written.
_PENDING_BYTES = 512 << 20
#: Files open at once, one a partition.
_OPEN_FILES = 64


@dataclass(frozen=True)
class Sizes:
    """How data is cut. row_group_rows: exact, or None to cut by row_group_bytes (encoded, before compression).

    file_rows, file_bytes: a file is closed once it has so many; None for no limit.
    """

    row_group_rows: int | None
    row_group_bytes: int
    file_rows: int | None
    file_bytes: int | None


class Target(Protocol):
    """Where data files go."""

    def base_name(self, number: int) -> str:
        """The name, in its folder, of the writer's file of this number."""

    def path_for(self, name: str) -> str:
        """Where to write the file that will be `name`, relative to the dataset's root."""


@dataclass(eq=False)
class _Folder:
    """A partition folder: the rows waiting for their row group, and the open file."""

    pending: list[pa.RecordBatch] = field(default_factory=list)
    rows: int = 0
    bytes: int = 0
    writer: pq.ParquetWriter | None = None
    sink: Any = None
    name: str = ""
    file_rows: int = 0
    file_row_groups: int = 0


class PartWriter:
    """Writes the data files of one writer.

    files: what was written, by name, complete after `close`. file_bytes: their sizes.
    """

    def __init__(
        self,
        filesystem: pafs.FileSystem,
        target: Target,
        schema: Unischema,
        sizes: Sizes,
        compression: str,
    ) -> None:
        self._filesystem = filesystem
        self._target = target
        self._schema = schema
        self._sizes = sizes
        self._compression = compression
        self._number = 0
        self._folders: dict[str, _Folder] = {}
        self.files: dict[str, ListedFile] = {}
        self.file_bytes: dict[str, int] = {}

    def add(self, part: Part) -> None:
        """Take encoded rows, and write the row groups they complete."""
        if not part.batch.num_rows:
            return
        # Last in the order is the folder used last.
        folder = self._folders.pop(part.folder, None) or _Folder()
        self._folders[part.folder] = folder
        folder.pending.append(part.batch)
        folder.rows += part.batch.num_rows
        folder.bytes += part.batch.nbytes
        self._cut(part.folder, folder)
        if len(self._folders) > 1 and sum(one.bytes for one in self._folders.values()) > _PENDING_BYTES:
            name, largest = max(self._folders.items(), key=lambda item: item[1].bytes)
            self._write(name, largest, largest.rows)

    def close(self) -> None:
        """Write what is left and close all files."""
        for name, folder in self._folders.items():
            while folder.rows:
                self._write(name, folder, min(folder.rows, self._room(folder)))
            self._close_file(folder)

    def abandon(self) -> None:
        """Let go of all files, as they are."""
        for folder in self._folders.values():
            # The disk may be full or the store gone, which is why it is abandoned.
            with contextlib.suppress(OSError, pa.ArrowException, ValueError, StoreError):
                self._close_file(folder)
            folder.writer = folder.sink = None

    def _room(self, folder: _Folder) -> int:
        """How many rows the next row group may have."""
        limits = [self._sizes.row_group_rows or folder.rows]
        if self._sizes.file_rows is not None:
            limits.append(self._sizes.file_rows - folder.file_rows)
        return min(limits)

    def _cut(self, name: str, folder: _Folder) -> None:
        while folder.rows:
            room = self._room(folder)
            by_rows = self._sizes.row_group_rows is not None
            if folder.rows >= room and (by_rows or room < folder.rows):
                self._write(name, folder, room)
            elif not by_rows and folder.bytes >= self._sizes.row_group_bytes:
                self._write(name, folder, folder.rows)
            else:
                return

    def _write(self, name: str, folder: _Folder, rows: int) -> None:
        """Write the first `rows` pending rows as one row group."""
        table = pa.Table.from_batches(folder.pending)
        group = table.slice(0, rows)
        rest = table.slice(rows)
        folder.pending = rest.to_batches()
        folder.rows, folder.bytes = rest.num_rows, rest.nbytes
        if folder.writer is None:
            self._open_file(name, folder, group)
        assert folder.writer is not None
        with self._told(folder.name):
            folder.writer.write_table(group, row_group_size=rows)
        folder.file_rows += rows
        folder.file_row_groups += 1
        full = self._sizes.file_bytes is not None and folder.sink.tell() >= self._sizes.file_bytes
        if full or folder.file_rows == self._sizes.file_rows:
            self._close_file(folder)

    def _open_file(self, name: str, folder: _Folder, sample: pa.Table) -> None:
        opened = [one for one in self._folders.values() if one.writer is not None]
        if len(opened) >= _OPEN_FILES:
            self._close_file(opened[0])
        base = self._target.base_name(self._number)
        self._number += 1
        folder.name = f"{name}/{base}" if name else base
        path = self._target.path_for(folder.name)
        encodings = _encodings(self._schema, sample, self._compression)
        with self._told(folder.name):
            folder.sink = open_new(self._filesystem, path)
            folder.writer = pq.ParquetWriter(folder.sink, sample.schema, version="2.6", **encodings)

    def _close_file(self, folder: _Folder) -> None:
        if folder.writer is None:
            return
        with self._told(folder.name):
            folder.writer.close()
            self.file_bytes[folder.name] = folder.sink.tell()
            folder.sink.close()
        self.files[folder.name] = ListedFile(folder.file_row_groups, folder.file_rows)
        folder.file_rows = folder.file_row_groups = 0
        folder.writer = folder.sink = None

    @contextlib.contextmanager
    def _told(self, name: str) -> Iterator[None]:
        """Has a store's failure name the file. Its client has tried again already, and can't begin in the middle."""
        try:
            yield
        except Exception as error:
            if is_local(self._filesystem) or not (isinstance(error, OSError) or passes(error)):
                raise
            what = f"can't write a file to the store: {reason_of(error)}"
            remedy = "Nothing of it became part of a dataset. Check the permissions and the network, and write again."
            raise StoreError(describe(what, Place(file=name), remedy=remedy)) from None


def _encodings(schema: Unischema, sample: pa.Table, compression: str) -> dict[str, Any]:
    """Per Parquet column: whether a dictionary pays, which compression, whether statistics can serve a filter."""
    leaves = _leaves(sample.schema)
    dictionaries, compressions, statistics = [], {}, []
    for name, paths in leaves.items():
        codec = schema.fields[name].codec
        packed = isinstance(codec, (CompressedImageCodec, CompressedNdarrayCodec))
        native = not (pa.types.is_binary(sample.schema.field(name).type) and schema.fields[name].kind != "bytes")
        for path in paths:
            compressions[path] = "none" if packed else compression
            if native:
                statistics.append(path)
                if _dictionary_pays(sample.column(name)):
                    dictionaries.append(path)
    return {"use_dictionary": dictionaries, "compression": compressions, "write_statistics": statistics}


def _leaves(columns: pa.Schema) -> Mapping[str, list[str]]:
    """The paths of the Parquet columns that each Arrow column becomes."""
    sink = pa.BufferOutputStream()
    pq.ParquetWriter(sink, columns, version="2.6").close()
    stored = pq.read_metadata(pa.BufferReader(sink.getvalue())).schema
    leaves: dict[str, list[str]] = {name: [] for name in columns.names}
    paths = [stored.column(i).path for i in range(len(stored))]
    for path in paths:
        owner = max((name for name in columns.names if path == name or path.startswith(name + ".")), key=len)
        leaves[owner].append(path)
    return leaves


def _dictionary_pays(column: pa.ChunkedArray) -> bool:
    """Whether a dictionary makes the column's values noticeably smaller.

    pyarrow by itself encodes any column with one whose dictionary stays under 1 MB: even unique floats, which then
    take more space and longer to read.
    """
    values = column
    if isinstance(values.type, pa.BaseExtensionType):
        return False
    while pa.types.is_list(values.type) or pa.types.is_fixed_size_list(values.type):
        values = pc.list_flatten(values)
    kind = values.type
    rows = len(values)
    if not rows or pa.types.is_boolean(kind) or pa.types.is_float16(kind) or pa.types.is_nested(kind):
        return False
    distinct = max(1, pc.count_distinct(values).as_py())
    plain = values.nbytes
    entries = plain * distinct / rows
    coded = entries + rows * np.ceil(np.log2(distinct + 1)) / 8
    return bool(entries < _DICTIONARY_PAGE and coded < plain * (1 - _DICTIONARY_GAIN))
