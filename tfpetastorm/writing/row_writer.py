"""Rows or columns in, data files out: what every writer does, whatever its files become part of."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from tfpetastorm.errors import DatasetError, EncodeError, Place, describe
from tfpetastorm.schema.unischema import Unischema
from tfpetastorm.writing.chunks import Cells, Chunk, Part, cell_size, check_keys, encode_chunk, own, size_of
from tfpetastorm.writing.parts import PartWriter
from tfpetastorm.writing.progress import ProgressBar
from tfpetastorm.writing.write_options import WriteOptions

#: What is encoded at once, in one thread: large enough to be worth a task, small enough to cut row groups by bytes.
_CHUNK_BYTES = 4 << 20
_CHUNK_ROWS = 65_536

_Self = TypeVar("_Self", bound="RowWriter")


class RowWriter(ABC):
    """Checks and encodes rows in threads and writes them to files, in order. To be used in a `with` statement.

    where: for messages. parts: writes the files. workers: threads that encode; None for one a core, 0 for none.
    progress: show a bar.
    """

    def __init__(
        self,
        where: str,
        schema: Unischema,
        options: WriteOptions,
        parts: PartWriter,
        workers: int | None,
        progress: bool,
    ) -> None:
        self._where = where
        self._schema = schema
        self._options = options
        self._parts = parts
        self._chunk_bytes = max(1, min(_CHUNK_BYTES, options.sizes.row_group_bytes // 4))
        self._workers = min(8, os.cpu_count() or 1) if workers is None else workers
        self._threads: ThreadPoolExecutor | None = None
        self._encoding: deque[tuple[Future[list[Part]], int]] = deque()
        self._rows: dict[str, list[Any]] = {name: [] for name in schema.fields}
        self._buffered = self._buffered_bytes = 0
        self._written = self._batches = 0
        self._state = "open"
        self._bar = ProgressBar(progress)

    @abstractmethod
    def _finish(self) -> None:
        """Make the files count, all of them closed. Raises what keeps them from it."""

    @abstractmethod
    def _drop(self) -> None:
        """Remove the files."""

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
        """Finish writing. Without effect if that was done."""
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
        """Drop everything written."""
        if self._state != "open":
            return
        self._state = "aborted"
        self._release()
        self._parts.abandon()
        self._drop()

    def __enter__(self: _Self) -> _Self:
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
            raise DatasetError(f"the writer of {self._where} is {self._state}.")

    def _flush_rows(self) -> None:
        if not self._buffered:
            return
        chunk = Chunk(self._rows, self._buffered, self._written - self._buffered)
        self._rows = {name: [] for name in self._schema.fields}
        self._buffered = self._buffered_bytes = 0
        self._submit(chunk)

    def _submit(self, chunk: Chunk) -> None:
        if not self._workers:
            self._take(encode_chunk(self._schema, self._options.partition_by, chunk), chunk.rows)
            return
        if self._threads is None:
            self._threads = ThreadPoolExecutor(self._workers, "tfpetastorm-encode")
        task = self._threads.submit(encode_chunk, self._schema, self._options.partition_by, chunk)
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

    def _release(self) -> None:
        self._bar.close()
        self._encoding.clear()
        if self._threads is not None:
            self._threads.shutdown(wait=True, cancel_futures=True)
            self._threads = None


def _sliceable(name: str, values: Any) -> Any:
    if isinstance(values, (np.ndarray, pa.Array, pa.ChunkedArray, list, tuple)):
        return values
    try:
        return list(values)
    except TypeError:
        what = "a column of a batch is no sequence"
        raise EncodeError(describe(what, Place(field=name), expected="an array or list", found=repr(values))) from None
