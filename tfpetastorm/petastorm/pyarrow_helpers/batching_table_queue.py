"""`petastorm.pyarrow_helpers.batching_table_queue`: tables of any size in, tables of one size out."""

from __future__ import annotations

from collections import deque

import pyarrow as pa

from tfpetastorm.errors import OptionError

__all__ = ["BatchingTableQueue"]


class BatchingTableQueue:
    """A queue of rows, as Arrow tables of one schema. batch_size: rows of the tables that come out."""

    def __init__(self, batch_size: int) -> None:
        if batch_size < 1:
            raise OptionError(f"batch_size={batch_size!r} is no number of rows; give 1 or more.")
        self._batch_size = batch_size
        self._batches: deque[pa.RecordBatch] = deque()
        self._rows = 0

    def put(self, table: pa.Table) -> None:
        """Add the rows of a table."""
        self._batches.extend(batch for batch in table.to_batches() if batch.num_rows)
        self._rows += table.num_rows

    def empty(self) -> bool:
        """Whether there are too few rows for a table."""
        return self._rows < self._batch_size

    def get(self) -> pa.Table:
        """The next `batch_size` rows. Raises OptionError if there are fewer."""
        if self.empty():
            raise OptionError(f"the queue holds {self._rows} rows, fewer than the {self._batch_size} of a table.")
        taken, missing = [], self._batch_size
        while missing:
            batch = self._batches.popleft()
            if batch.num_rows > missing:
                self._batches.appendleft(batch.slice(missing))
                batch = batch.slice(0, missing)
            taken.append(batch)
            missing -= batch.num_rows
        self._rows -= self._batch_size
        return pa.Table.from_batches(taken)
