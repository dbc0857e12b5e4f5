"""`copy_dataset`: some fields and rows of a dataset as a new one. Cells travel as they are stored; none is encoded."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tfpetastorm.errors import DatasetError, DatasetExistsError, OptionError
from tfpetastorm.plan.tasks import ReadTask
from tfpetastorm.read.fetch import Fetcher, Source
from tfpetastorm.read.nulls import NullPolicy
from tfpetastorm.read.predicate import predicate_of
from tfpetastorm.read.spec import ReadSpec
from tfpetastorm.read.task import TaskReader
from tfpetastorm.schema.codecs import OpaqueCodec
from tfpetastorm.schema.codecs.base import Codec
from tfpetastorm.schema.codecs.opaque import raw_field
from tfpetastorm.schema.columns import Array
from tfpetastorm.schema.petastorm_emit import can_express
from tfpetastorm.schema.unischema import Unischema
from tfpetastorm.storage.dataset import StoredDataset
from tfpetastorm.storage.metadata import dataset_pairs
from tfpetastorm.storage.opening import open_dataset
from tfpetastorm.storage.statistics import prune
from tfpetastorm.stores.filesystem import Location, Url, is_local, resolve
from tfpetastorm.upkeep.columns import as_stored, stored_columns
from tfpetastorm.writing.chunks import split_by_folder, take_rows
from tfpetastorm.writing.commit import Commit
from tfpetastorm.writing.parts import PartWriter, Sizes
from tfpetastorm.writing.writer_checks import check_options, check_partitions

#: How many row groups are looked at to see what the source is compressed by.
_LOOKED_AT = 16
_COMPRESSIONS = {"SNAPPY": "snappy", "ZSTD": "zstd", "GZIP": "gzip", "BROTLI": "brotli", "LZ4": "lz4", "LZ4_RAW": "lz4"}


@dataclass(frozen=True)
class Copied:
    """What a copy holds. source_rows: rows of the source, of which `rows` were taken."""

    rows: int
    row_groups: int
    files: int
    source_rows: int


def copy_dataset(
    source: Url,
    target: Url,
    *,
    fields: Iterable[Any] | None = None,
    not_null_fields: Iterable[Any] = (),
    where: Any = None,
    overwrite: bool = False,
    row_group_rows: int | None = None,
    row_group_size_mb: float | None = None,
    compression: str | None = None,
    file_rows: int | None = None,
    partition_count: int | None = None,
    partition_by: Sequence[str] | None = None,
    petastorm_compatible: bool = True,
    unmapped: Literal["error", "omit"] = "error",
    codecs: Iterable[type[Codec]] = (),
    source_filesystem: Any = None,
    target_filesystem: Any = None,
    progress: Callable[[int, int], None] | None = None,
) -> Copied:
    """Copy a dataset, or the chosen fields and rows of it, in stored order. The source is only read.

    Cells are copied as they are stored: no image or array is decoded, but for fields that a function in `where` asks
    for. Readers see nothing of the copy, or of what `overwrite` replaces, until all of it is written. In memory are one
    row group of the source and, for each partition folder, one of the copy.

    source: as for `open_dataset`: ours, petastorm's or plain Parquet, whose inferred schema is then stored. target: a
    folder. fields: names, regular expressions that match whole names, or fields; all unless told. not_null_fields:
    the same; rows where one of these is null are left out. where: as for `make_dataset`. overwrite: whether a dataset
    at `target` is replaced. row_group_rows, row_group_size_mb: as for `DatasetWriter`; unless one is given, row groups
    have as many rows as the source's largest. compression: "snappy", "zstd", "lz4", "gzip", "brotli" or "none"; the
    source's unless told. file_rows: rows of a file at most. partition_count: how many files of about the same number
    of rows there should be at most; each partition folder has files of its own on top. partition_by: fields whose
    values become folders; unless told those of the source, as far as they are copied. petastorm_compatible: also
    write petastorm's metadata, where it can express every field. unmapped, codecs: as for `open_dataset`.
    source_filesystem, target_filesystem: pyarrow or fsspec filesystems. progress: called with the rows of the source
    that were looked at and of all.

    Raises `OptionError` for an argument that can't work, `DatasetExistsError` if there is a dataset at `target`,
    `DamagedDataError` or `DatasetChangedError` for a source that can't be read, `SchemaError` for unknown fields.
    """
    if not isinstance(target, str) and isinstance(target, Sequence):
        raise OptionError("target takes one folder, not a list.")
    if file_rows is not None and partition_count is not None:
        raise OptionError("file_rows and partition_count both say how large files are. Give one of them.")
    if partition_count is not None and partition_count < 1:
        raise OptionError(f"partition_count={partition_count!r} is no number of files; give an int of 1 or more.")
    if row_group_rows is not None and row_group_size_mb is not None:
        raise OptionError("row_group_rows and row_group_size_mb both say how large row groups are. Give one of them.")
    stored = open_dataset(source, filesystem=source_filesystem, codecs=codecs, unmapped=unmapped)
    names = tuple(stored.schema.fields) if fields is None else stored.schema.select(fields)
    required = tuple(not_null_fields)
    schema = stored.schema.create_schema_view(names)
    folders = [name for name in stored.partition_fields if name in names] if partition_by is None else partition_by
    # What is left would be files without columns.
    folders = [] if partition_by is None and len(folders) == len(names) else folders
    chosen = _Rows(stored, where, stored.schema.select(required) if required else ())
    compression = compression_of(stored) if compression is None else compression
    if row_group_rows is None and row_group_size_mb is None:
        row_group_rows = int(max(stored.inventory.row_group_rows, default=1)) or 1
    size_mb = 32 if row_group_size_mb is None else row_group_size_mb
    check_options("error", compression, row_group_rows, size_mb, file_rows, None, None)
    keys = check_partitions(schema, folders)
    location = resolve(target, target_filesystem, glob=False)
    _check_apart(resolve(source, source_filesystem), location)
    if partition_count is not None:
        # No more than a column or two have to be read to count, if any.
        file_rows = max(1, -(-chosen.count() // partition_count))
    sizes = Sizes(row_group_rows, max(1, int(size_mb * 2**20)), file_rows, None if file_rows else 1 << 30)
    try:
        commit = _begin(location, overwrite)
        parts = PartWriter(location.filesystem, commit, schema, sizes, compression)
        petastorm = petastorm_compatible and not can_express(schema)
        return _Copy(stored, schema, keys, commit, parts).run(chosen, petastorm, progress)
    finally:
        chosen.close()


class _Rows:
    """Which rows of the source are copied."""

    def __init__(self, stored: StoredDataset, where: Any, required: tuple[str, ...]) -> None:
        self._stored = stored
        self._required = required
        raw = [raw_field(field) if isinstance(field.codec, OpaqueCodec) else field for field in stored.schema]
        schema = Unischema.rebuilt("source", raw)
        self.fields = schema.fields
        source = Source(stored.filesystem, stored.inventory, stored.column_paths, stored.partition_fields)
        self.fetcher = Fetcher(source, stored.file_metadata)
        self._where = predicate_of(where, list(schema.fields), stored.filter_schema, stored)
        spec = ReadSpec(source, schema, (), NullPolicy("error", ()), (), stored.filter_schema, self._where)
        self._reader = TaskReader(spec, stored.file_metadata)

    @property
    def selects(self) -> bool:
        """Whether some rows may be left out."""
        return self._where is not None or bool(self._required)

    def row_groups(self) -> Array:
        """bool `[row groups]`: which may hold rows to copy, as far as their statistics tell."""
        keep = np.ones(len(self._stored.row_groups), bool)
        if self._where is not None and self._where.pruning is not None:
            keep &= prune(self._stored, self._where.pruning)
        for name in self._required:
            keep &= prune(self._stored, pc.field(name).is_valid())
        return keep

    def numbers(self, row_group: int, arrays: dict[str, pa.Array]) -> Array:
        """int64: the numbers of the rows to copy. arrays: columns of the row group as they are at hand."""
        rows = int(self._stored.inventory.row_group_rows[row_group])
        numbers = np.arange(rows)
        if self._where is not None and rows:
            numbers = self._reader.probe(ReadTask(row_group, 0, rows), ())[0]
        missing = [self.fields[name] for name in self._required if name not in arrays]
        if missing and len(numbers):
            arrays = {**arrays, **self.fetcher.fetch(row_group, missing, keep=False)[0]}
        for name in self._required if len(numbers) else ():
            numbers = numbers[arrays[name].is_valid().to_numpy(zero_copy_only=False)[numbers]]
        return numbers

    def count(self) -> int:
        """How many rows will be copied."""
        if not self.selects:
            return self._stored.num_rows
        return sum(len(self.numbers(int(group), {})) for group in np.flatnonzero(self.row_groups()))

    def close(self) -> None:
        """Lets go of open files."""
        self._reader.close()
        self.fetcher.close()


class _Copy:
    """The copy at work: row groups in, row groups out."""

    def __init__(
        self, stored: StoredDataset, schema: Unischema, keys: tuple[str, ...], commit: Commit, parts: PartWriter
    ) -> None:
        self._stored = stored
        self._schema = schema
        self._keys = keys
        self._commit = commit
        self._parts = parts
        self._columns = stored_columns(stored, [name for name in schema.fields if name not in keys])

    def run(self, chosen: _Rows, petastorm: bool, progress: Callable[[int, int], None] | None) -> Copied:
        """Copy all chosen rows and make them the dataset; on any exception nothing of them stays."""
        total, looked = self._stored.num_rows, 0
        try:
            self._commit.start(self._columns)
            keep = chosen.row_groups()
            for group, rows in enumerate(self._stored.inventory.row_group_rows.tolist()):
                if keep[group] and rows:
                    self._row_group(group, rows, chosen)
                looked += rows
                if progress is not None:
                    progress(looked, total)
            self._parts.close()
            files = self._parts.files
            pairs = dataset_pairs(self._schema, files, petastorm=petastorm)
            self._commit.finish(files, self._columns, pairs)
        except BaseException as error:
            self._parts.abandon()
            self._commit.abort()
            if isinstance(error, (OSError, pa.ArrowException)):
                raise DatasetError(f"the copy failed, and nothing of it was kept: {error}") from error
            raise
        rows = sum(file.rows or 0 for file in files.values())
        return Copied(rows, sum(file.row_groups or 0 for file in files.values()), len(files), total)

    def _row_group(self, group: int, rows: int, chosen: _Rows) -> None:
        if not chosen.selects:
            numbers = None
        elif len(found := chosen.numbers(group, {})) < rows:
            if not len(found):
                return
            numbers = pa.array(found)
        else:
            numbers = None
        fields = [chosen.fields[name] for name in self._schema.fields]
        arrays, _ = chosen.fetcher.fetch(group, fields, keep=False)
        for name, array in arrays.items():
            kind = self._columns.field(name).type if name in self._columns.names else None
            array = as_stored(array, kind)
            arrays[name] = array if numbers is None else take_rows(array, numbers)
        for part in split_by_folder(self._schema, self._keys, arrays, self._columns):
            self._parts.add(part)


def _begin(location: Location, overwrite: bool) -> Commit:
    try:
        return Commit(location.filesystem, location.paths[0], "overwrite" if overwrite else "error", location.url)
    except DatasetExistsError:
        raise DatasetExistsError(
            f"the dataset {location.url} already exists. Give overwrite=True (--overwrite-output) to replace it once "
            "the copy is complete, or another place."
        ) from None
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"can't look at {location.url}: {error}") from None


def _check_apart(source: Location, target: Location) -> None:
    """Raise `OptionError` if the copy would lie in the source or take its place."""
    if not source.filesystem.equals(target.filesystem):
        return
    local = is_local(target.filesystem)
    mine, *theirs = (f"{os.path.realpath(path) if local else path}/" for path in (*target.paths, *source.paths))
    if any(path.startswith(mine) or mine.startswith(path) for path in theirs):
        raise OptionError(
            f"the copy {target.url} and its source {source.url} lie one in the other. Give a place of its own; to "
            "replace the source, rename the copy afterwards."
        )


def compression_of(stored: StoredDataset) -> str:
    """What most of the source's bytes are compressed by; what is not compressed may be packed already."""
    sizes: Counter[str] = Counter()
    for index in range(min(_LOOKED_AT, len(stored.files))):
        metadata = stored.file_metadata(index)
        for column in range(metadata.num_columns if metadata.num_row_groups else 0):
            chunk = metadata.row_group(0).column(column)
            if chunk.compression in _COMPRESSIONS:
                sizes[_COMPRESSIONS[chunk.compression]] += chunk.total_uncompressed_size
    return sizes.most_common(1)[0][0] if sizes else "none"
