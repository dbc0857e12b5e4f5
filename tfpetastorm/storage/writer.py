"""`DatasetWriter`: rows or columns in, a Parquet dataset with a Unischema out."""

from __future__ import annotations

import os
import posixpath
import re
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa

from tfpetastorm.errors import DatasetError, EncodeError, OptionError, Place, SchemaMismatchError, describe
from tfpetastorm.schema.petastorm_emit import can_express, write_pickled_schema
from tfpetastorm.schema.petastorm_format import read_pickled_schema
from tfpetastorm.schema.unischema import Unischema
from tfpetastorm.storage.chunks import Cells, Chunk, Part, cell_size, check_keys, encode_chunk, own, size_of
from tfpetastorm.storage.commit import Commit, Mode
from tfpetastorm.storage.filesystem import Url, resolve
from tfpetastorm.storage.listing import partition_of
from tfpetastorm.storage.metadata import (
    FILES_KEY,
    PETASTORM_FILES_KEY,
    PETASTORM_UNISCHEMA_KEY,
    UNISCHEMA_KEY,
    ListedFile,
    files_json,
    petastorm_files_json,
)
from tfpetastorm.storage.parts import PartWriter, Sizes

#: What is encoded at once, in one thread: large enough to be worth a task, small enough to cut row groups by bytes.
_CHUNK_BYTES = 4 << 20
_CHUNK_ROWS = 65_536
#: Keys that petastorm's or Spark's tools derived from the old row groups; wrong once there are others.
_INDEX_KEY = b"dataset-toolkit.rowgroups_index.v1"
_NUMBERED = re.compile(r"part-(\d+)")


class DatasetWriter:
    """Writes a dataset, or adds to one. Use it in a `with` statement.

    Nothing of it can be seen by readers until the statement ends; if that is by an exception, or the process dies,
    the earlier dataset is as it was.

    url: a folder: a path, a `Path` or any URL of `pyarrow.fs` or fsspec. schema: of the rows; for mode="append" None
    stands for the dataset's own. row_group_rows: rows of each row group. row_group_size_mb: used if that is None;
    size of a row group as encoded, before compression, in MiB. file_rows, file_size_mb: when a file is full.
    partition_by: scalar fields whose values become folders, `key=value/`, rather than columns. mode: "error" if there
    is a dataset already, "append" or "overwrite". compression: "snappy", "zstd", "lz4", "gzip", "brotli" or "none";
    columns of compressed images and arrays are not compressed again. filesystem: a pyarrow or fsspec filesystem.
    workers: threads that encode; None for one a core, 0 for none. petastorm_compatible: also write the metadata that
    petastorm reads, where it can express every field. progress: show a bar.

    Raises `OptionError` for a bad argument, `DatasetError` if the place can't be written or holds a dataset,
    `SchemaMismatchError` if what is appended has another schema.
    """

    def __init__(
        self,
        url: Url,
        schema: Unischema | None,
        *,
        row_group_rows: int | None = None,
        row_group_size_mb: float = 32,
        file_rows: int | None = None,
        file_size_mb: float | None = 1024,
        partition_by: Sequence[str] = (),
        mode: Mode = "error",
        compression: str = "snappy",
        filesystem: Any = None,
        workers: int | None = None,
        petastorm_compatible: bool = True,
        progress: bool = False,
    ) -> None:
        _check_options(mode, compression, row_group_rows, row_group_size_mb, file_rows, file_size_mb, workers)
        location = resolve(url, filesystem, glob=False)
        if location.many:
            raise OptionError("a writer takes one folder, not a list.")
        self._filesystem, self._root = location.filesystem, location.paths[0]
        self._commit = _begin(location, mode)
        self._schema = _schema_for(self._commit, schema)
        self._partition_by = _check_partitions(self._schema, partition_by)
        _check_layout(self._commit, self._partition_by)
        self._petastorm = petastorm_compatible and not can_express(self._schema)
        self._columns = pa.schema([c for c in self._schema.as_arrow_schema() if c.name not in self._partition_by])
        row_group_bytes = max(1, int(row_group_size_mb * 2**20))
        file_bytes = None if file_size_mb is None else int(file_size_mb * 2**20)
        sizes = Sizes(row_group_rows, row_group_bytes, file_rows, file_bytes)
        first = _next_number(self._commit)
        self._parts = PartWriter(self._filesystem, self._commit, self._schema, sizes, compression, first)
        self._chunk_bytes = max(1, min(_CHUNK_BYTES, row_group_bytes // 4))
        self._workers = min(8, os.cpu_count() or 1) if workers is None else workers
        self._threads: ThreadPoolExecutor | None = None
        self._encoding: deque[tuple[Future[list[Part]], int]] = deque()
        self._rows: dict[str, list[Any]] = {name: [] for name in self._schema.fields}
        self._buffered = self._buffered_bytes = 0
        self._written = self._batches = 0
        self._state = "open"
        self._bar = _Bar(progress)
        try:
            self._commit.start(self._columns)
        except BaseException as error:
            self.abort()
            if isinstance(error, (OSError, pa.ArrowException)):
                raise DatasetError(f"can't write to {location.url}: {error}") from None
            raise

    @property
    def schema(self) -> Unischema:
        """The schema of what is written."""
        return self._schema

    @property
    def rows_written(self) -> int:
        """How many rows were handed over so far."""
        return self._written

    def write(self, row: Mapping[str, Any]) -> None:
        """Add one row: a value a field; nullable fields may be missing or None.

        Raises `EncodeError` naming the field and the row (the first is 0) of a value that does not match, here or, as
        rows are encoded in the background, in a later call or `close`.
        """
        self._check_open()
        check_keys(self._schema, row, self._written)
        for name, cells in self._rows.items():
            cell = row.get(name)
            self._buffered_bytes += cell_size(cell)
            cells.append(cell)
        # What is buffered must not change when the caller fills the same array again.
        if any(isinstance(cells[-1], (np.ndarray, list, bytearray)) for cells in self._rows.values()):
            for cells in self._rows.values():
                cells[-1:] = own(cells[-1:])
        self._buffered += 1
        self._written += 1
        if self._buffered_bytes >= self._chunk_bytes or self._buffered >= _CHUNK_ROWS:
            self._flush_rows()

    def write_batch(self, columns: Mapping[str, Cells] | pa.Table | pa.RecordBatch) -> None:
        """Add many rows at once: for each field an array `[rows, *shape]`, a list of cells or an Arrow array.

        Columns have the same length; those of nullable fields may be missing. Far faster than `write` for scalars.
        Raises `EncodeError` as `write` does; rows count from the start of this batch.
        """
        self._check_open()
        if isinstance(columns, (pa.Table, pa.RecordBatch)):
            columns = dict(zip(columns.schema.names, columns.columns, strict=True))
        check_keys(self._schema, columns, None)
        cells = {name: _sliceable(name, values) for name, values in columns.items()}
        lengths = {name: len(values) for name, values in cells.items()}
        if len(set(lengths.values())) > 1:
            raise EncodeError(f"the columns of a batch differ in length: {lengths}.")
        rows = next(iter(lengths.values()), 0)
        self._flush_rows()
        bytes_per_row = max(1, sum(size_of(values, rows) for values in cells.values()) // max(1, rows))
        step = max(1, min(_CHUNK_ROWS, self._chunk_bytes // bytes_per_row))
        origin = f" of batch {self._batches}" if self._batches else ""
        for start in range(0, rows, step):
            part = {name: own(values[start : start + step]) for name, values in cells.items()}
            self._submit(Chunk(part, min(step, rows - start), start, origin))
        self._batches += 1
        self._written += rows

    def close(self) -> None:
        """Finish writing and make the rows part of the dataset. Without effect if that was done."""
        if self._state == "closed":
            return
        self._check_open()
        try:
            self._flush_rows()
            while self._encoding:
                self._collect()
            self._parts.close()
            self._finish()
        except BaseException:
            self.abort()
            raise
        self._state = "closed"
        self._release()

    def abort(self) -> None:
        """Drop everything written; the earlier dataset stays as it was."""
        if self._state != "open":
            return
        self._state = "aborted"
        self._release()
        self._parts.abandon()
        self._commit.abort()

    def __enter__(self) -> DatasetWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._state == "open":
            self.close()
        else:
            self.abort()

    def _check_open(self) -> None:
        if self._state != "open":
            raise DatasetError(f"the writer of {self._root} is {self._state}.")

    def _flush_rows(self) -> None:
        if not self._buffered:
            return
        chunk = Chunk(self._rows, self._buffered, self._written - self._buffered)
        self._rows = {name: [] for name in self._schema.fields}
        self._buffered = self._buffered_bytes = 0
        self._submit(chunk)

    def _submit(self, chunk: Chunk) -> None:
        if not self._workers:
            self._take(encode_chunk(self._schema, self._partition_by, chunk), chunk.rows)
            return
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._workers, "tfpetastorm-encode")
        task = self._threads.submit(encode_chunk, self._schema, self._partition_by, chunk)
        self._encoding.append((task, chunk.rows))
        while len(self._encoding) > 2 * self._workers or (self._encoding and self._encoding[0][0].done()):
            self._collect()

    def _collect(self) -> None:
        # In the order of submission, so that rows keep theirs.
        task, rows = self._encoding.popleft()
        self._take(task.result(), rows)

    def _take(self, parts: list[Part], rows: int) -> None:
        for part in parts:
            self._parts.add(part)
        self._bar.advance(rows)

    def _finish(self) -> None:
        old = self._commit.existing
        keep = self._commit.mode == "append" and old is not None
        files: dict[str, ListedFile] = {**(self._commit.files if keep else {}), **self._parts.files}
        pairs = {k: v for k, v in old.pairs.items() if k != _INDEX_KEY} if keep and old is not None else {}
        pairs[UNISCHEMA_KEY] = self._schema.to_json().encode()
        pairs[FILES_KEY] = files_json(files)
        for key in (PETASTORM_UNISCHEMA_KEY, PETASTORM_FILES_KEY):
            if not self._petastorm:
                pairs.pop(key, None)
        if self._petastorm:
            pairs[PETASTORM_UNISCHEMA_KEY] = write_pickled_schema(self._schema)
            pairs[PETASTORM_FILES_KEY] = petastorm_files_json(files)
        self._commit.finish(files, self._columns, pairs)

    def _release(self) -> None:
        self._bar.close()
        self._encoding.clear()
        if self._threads is not None:
            self._threads.shutdown(wait=True, cancel_futures=True)
            self._threads = None


class _Bar:
    """A progress bar on the terminal, or nothing."""

    def __init__(self, show: bool) -> None:
        self._progress: Any = None
        if show:
            from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

            rate = TimeElapsedColumn()
            self._progress = Progress(SpinnerColumn(), TextColumn("writing rows"), MofNCompleteColumn(), rate)
            self._task = self._progress.add_task("write", total=None)
            self._progress.start()

    def advance(self, rows: int) -> None:
        if self._progress is not None:
            self._progress.advance(self._task, rows)

    def close(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None


def _begin(location: Any, mode: Mode) -> Commit:
    try:
        return Commit(location.filesystem, location.paths[0], mode, location.url)
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"can't look at {location.url}: {error}") from None


def _check_options(
    mode: str,
    compression: str,
    row_group_rows: int | None,
    row_group_size_mb: float,
    file_rows: int | None,
    file_size_mb: float | None,
    workers: int | None,
) -> None:
    if mode not in ("error", "append", "overwrite"):
        raise OptionError(f"mode={mode!r} is none of 'error', 'append', 'overwrite'.")
    if compression != "none" and not _has_codec(compression):
        raise OptionError(f"compression={compression!r} is none of 'snappy', 'zstd', 'lz4', 'gzip', 'brotli', 'none'.")
    counts: dict[str, Any] = {"row_group_rows": row_group_rows, "file_rows": file_rows}
    for name, count in counts.items():
        if count is not None and (not isinstance(count, (int, np.integer)) or count < 1):
            raise OptionError(f"{name}={count!r} is no number of rows; give an int of 1 or more.")
    for name, size in {"row_group_size_mb": row_group_size_mb, "file_size_mb": file_size_mb}.items():
        if size is not None and not size > 0:
            raise OptionError(f"{name}={size!r} is no size; give a number above 0.")
    if workers is not None and workers < 0:
        raise OptionError(f"workers={workers!r} is negative; 0 encodes in the calling thread.")


def _has_codec(compression: str) -> bool:
    return compression in ("snappy", "zstd", "lz4", "gzip", "brotli") and pa.Codec.is_available(compression)


def _schema_for(commit: Commit, schema: Unischema | None) -> Unischema:
    old = commit.existing
    if schema is not None and not isinstance(schema, Unischema):
        raise OptionError(f"schema= takes a Unischema, not {type(schema).__name__}.")
    if commit.mode != "append" or old is None:
        if schema is None:
            raise OptionError("schema=None needs mode='append' and a dataset to append to.")
        return schema
    codecs = {type(field.codec) for field in schema or () if field.codec is not None}
    if old.kind == "tfpetastorm":
        stored = Unischema.from_json(old.pairs[UNISCHEMA_KEY].decode(), codecs)
    else:
        stored = read_pickled_schema(old.pairs[PETASTORM_UNISCHEMA_KEY], codecs)
    if schema is None:
        return stored
    mine, theirs = dict(schema.fields), dict(stored.fields)
    for name in {**theirs, **mine}:
        if mine.get(name) != theirs.get(name):
            raise SchemaMismatchError(
                describe(
                    "what is appended has another schema than the dataset",
                    Place(field=name, file=old.path),
                    expected=theirs.get(name, "no such field"),
                    found=mine.get(name, "no such field"),
                    remedy="Give schema=None to use the dataset's own.",
                )
            )
    return stored


def _check_partitions(schema: Unischema, partition_by: Sequence[str]) -> tuple[str, ...]:
    names = (partition_by,) if isinstance(partition_by, str) else tuple(partition_by)
    for name in names:
        if name not in schema.fields:
            raise OptionError(f"partition_by names {name!r}, which is no field. Fields: {', '.join(schema.fields)}.")
        field = schema.fields[name]
        if field.shape or field.dtype.kind == "f" or field.kind == "datetime":
            raise OptionError(f"field {name!r} can't name folders: only text, integers, bools, dates, decimals.")
    if len(set(names)) < len(names) or len(names) == len(schema):
        raise OptionError(f"partition_by={list(names)} must name some of the fields, each once, and leave one.")
    return names


def _check_layout(commit: Commit, partition_by: tuple[str, ...]) -> None:
    if commit.mode != "append" or not commit.files:
        return
    found = tuple(partition_of(next(iter(commit.files))))
    if found != partition_by:
        raise SchemaMismatchError(
            describe("what is appended is partitioned otherwise", expected=list(found), found=list(partition_by))
        )


def _next_number(commit: Commit) -> int:
    if commit.mode != "append":
        return 0
    numbers = [_NUMBERED.match(posixpath.basename(name)) for name in commit.files]
    return max((int(found.group(1)) + 1 for found in numbers if found), default=0)


def _sliceable(name: str, values: Any) -> Any:
    if isinstance(values, (np.ndarray, pa.Array, pa.ChunkedArray, list, tuple)):
        return values
    try:
        return list(values)
    except TypeError:
        what = "a column of a batch is no sequence"
        raise EncodeError(describe(what, Place(field=name), expected="an array or list", found=repr(values))) from None
