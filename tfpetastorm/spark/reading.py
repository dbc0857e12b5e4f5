"""A dataset's row groups read on Spark's workers: in which tasks, and how many rows are decoded at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from tfpetastorm.errors import Place
from tfpetastorm.feed.options import specify
from tfpetastorm.plan.numbers import whole_number
from tfpetastorm.plan.tasks import ReadTask, TaskTable, slice_row_groups
from tfpetastorm.read.cost import row_bytes
from tfpetastorm.read.nulls import Nulls
from tfpetastorm.read.spec import ReadSpec
from tfpetastorm.read.task import TaskReader
from tfpetastorm.schema.columns import Array, Columns
from tfpetastorm.spark.overrides import is_connect
from tfpetastorm.storage.dataset import StoredDataset
from tfpetastorm.storage.statistics import prune

#: What workers decode at once has about this many bytes at most, whatever the rows are.
BATCH_BYTES = 32 * 2**20
#: Decoded bytes that one task of Spark reads where there are enough of them; as many as Spark makes of files.
_PARTITION_BYTES = 128 * 2**20
#: Rows of open shapes may be of any size once they are decoded: so many are tried first, and then at most so many times
#: more from one try to the next.
_FIRST_ROWS = 4
_GROWTH = 8

_Made = TypeVar("_Made")


@dataclass(frozen=True, eq=False)
class Reading:
    """What workers read of a dataset, by the numbers of read tasks. Sent to them as it is.

    tasks: in stored order, none much larger than `batch_bytes`. costs: float64 `[row groups]`, what a row of each is
    expected to cost.
    """

    spec: ReadSpec
    tasks: TaskTable
    costs: Array
    batch_bytes: int

    @classmethod
    def of(
        cls, stored: StoredDataset, fields: Iterable[Any] | None, where: Any = None, batch_bytes: int = BATCH_BYTES
    ) -> Reading:
        """Of some fields of a dataset, all unless told, without the row groups that `where` rules out."""
        spec, _ = specify(
            stored,
            fields,
            (),
            where=where,
            split=None,
            transform=None,
            nulls=Nulls.KEEP,
            skip=None,
            ngram=None,
        )
        keep = np.ones(len(stored.inventory.row_group_rows), bool)
        if spec.where is not None and spec.where.pruning is not None:
            keep &= prune(stored, spec.where.pruning)
        costs = row_bytes(spec.read_fields, stored.inventory, stored.column_paths, stored.file_metadata)
        tasks = slice_row_groups(stored.inventory.row_group_rows, keep, costs, batch_bytes)
        return cls(spec, tasks, costs, batch_bytes)

    def partitions(self, spark: Any, wanted: int | None = None) -> int:
        """Among how many partitions the tasks go: contiguous ranges of them, so that rows keep their order."""
        if wanted is None:
            total = int(((self.tasks.stop - self.tasks.start) * self.costs[self.tasks.row_group]).sum())
            wanted = max(_parallelism(spark), -(-total // _PARTITION_BYTES))
        return max(1, min(whole_number("partitions", wanted, 1), len(self.tasks)))

    def parts(
        self, numbers: Iterable[int], make: Callable[[Columns, Place], tuple[_Made, int, int]]
    ) -> Iterator[_Made]:
        """What `make` makes of the rows of some tasks, few enough at once.

        make: is given columns and the place of their first row, and returns also how many rows it made and their bytes.
        """
        reader = TaskReader(self.spec)
        steps = Steps(self.batch_bytes)
        try:
            for number in numbers:
                task = self.tasks.task(number)
                start, cost = task.start, float(self.costs[task.row_group])
                while start < task.stop:
                    stop = min(task.stop, start + steps.rows(cost))
                    result = reader.run(ReadTask(task.row_group, start, stop))
                    made, rows, size = make(result.columns, self.spec.source.place(task.row_group, start))
                    steps.took(stop - start, rows, size)
                    start = stop
                    del result
                    yield made
        finally:
            reader.close()


class Steps:
    """How many rows to decode at once so that they take about `most` bytes, by what those before took."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._limit = _FIRST_ROWS
        self._row_bytes = 1.0

    def rows(self, least_bytes: float) -> int:
        """least_bytes: what one of the next rows takes at least, as far as is known."""
        return max(1, min(self._limit, int(self._most / max(self._row_bytes, least_bytes))))

    def took(self, rows: int, made: int, size: int) -> None:
        """So many rows were decoded, of which `made` came out, of so many bytes together."""
        self._row_bytes = max(self._row_bytes, size / max(1, made))
        self._limit = max(self._limit, _GROWTH * rows)


def _parallelism(spark: Any) -> int:
    """How many tasks Spark runs at once; Spark Connect does not tell."""
    if is_connect(spark):
        return int(spark.conf.get("spark.sql.shuffle.partitions"))
    return int(spark.sparkContext.defaultParallelism)
