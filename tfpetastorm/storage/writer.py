"""`DatasetWriter`: rows or columns in, a Parquet dataset with a Unischema out."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa

from tfpetastorm.errors import DatasetError, EncodeError, OptionError, Place, describe
from tfpetastorm.schema.petastorm_emit import can_express
from tfpetastorm.schema.unischema import Unischema
from tfpetastorm.storage.chunks import Cells, Chunk, Part, cell_size, check_keys, encode_chunk, own, size_of
from tfpetastorm.storage.commit import Commit, Mode
from tfpetastorm.storage.filesystem import Url, resolve
from tfpetastorm.storage.metadata import PETASTORM_FILES_KEY, PETASTORM_UNISCHEMA_KEY, ListedFile, dataset_pairs
from tfpetastorm.storage.parts import PartWriter, Sizes
from tfpetastorm.storage.progress import ProgressBar
from tfpetastorm.storage.writer_checks import check_layout, check_options, check_partitions, next_number, schema_for

#: What is encoded at once, in one thread: large enough to be worth a task, small enough to cut row groups by bytes.
_CHUNK_BYTES = 4 << 20
_CHUNK_ROWS = 65_536
#: Keys that petastorm's or Spark's tools derived from the old row groups; wrong once there are others.
_INDEX_KEY = b"dataset-toolkit.rowgroups_index.v1"


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
        check_options(mode, compression, row_group_rows, row_group_size_mb, file_rows, file_size_mb, workers)
        location = resolve(url, filesystem, glob=False)
        if location.many:
            raise OptionError("a writer takes one folder, not a list.")
        self._filesystem, self._root = location.filesystem, location.paths[0]
        self._commit = _begin(location, mode)
        self._schema = schema_for(self._commit, schema)
        self._partition_by = check_partitions(self._schema, partition_by)
        check_layout(self._commit, self._partition_by)
        self._petastorm = petastorm_compatible and not can_express(self._schema)
        self._columns = pa.schema([c for c in self._schema.as_arrow_schema() if c.name not in self._partition_by])
        row_group_bytes = max(1, int(row_group_size_mb * 2**20))
        file_bytes = None if file_size_mb is None else int(file_size_mb * 2**20)
        sizes = Sizes(row_group_rows, row_group_bytes, file_rows, file_bytes)
        first = next_number(self._commit)
        self._parts = PartWriter(self._filesystem, self._commit, self._schema, sizes, compression, first)
        self._chunk_bytes = max(1, min(_CHUNK_BYTES, row_group_bytes // 4))
        self._workers = min(8, os.cpu_count() or 1) if workers is None else workers
        self._threads: ThreadPoolExecutor | None = None
        self._encoding: deque[tuple[Future[list[Part]], int]] = deque()
        self._rows: dict[str, list[Any]] = {name: [] for name in self._schema.fields}
        self._buffered = self._buffered_bytes = 0
        self._written = self._batches = 0
        self._state = "open"
        self._bar = ProgressBar(progress)
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
        for key in (PETASTORM_UNISCHEMA_KEY, PETASTORM_FILES_KEY):
            pairs.pop(key, None)
        pairs |= dataset_pairs(self._schema, files, petastorm=self._petastorm)
        self._commit.finish(files, self._columns, pairs)

    def _release(self) -> None:
        self._bar.close()
        self._encoding.clear()
        if self._threads is not None:
            self._threads.shutdown(wait=True, cancel_futures=True)
            self._threads = None


def _begin(location: Any, mode: Mode) -> Commit:
    try:
        return Commit(location.filesystem, location.paths[0], mode, location.url)
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"can't look at {location.url}: {error}") from None


def _sliceable(name: str, values: Any) -> Any:
    if isinstance(values, (np.ndarray, pa.Array, pa.ChunkedArray, list, tuple)):
        return values
    try:
        return list(values)
    except TypeError:
        what = "a column of a batch is no sequence"
        raise EncodeError(describe(what, Place(field=name), expected="an array or list", found=repr(values))) from None
