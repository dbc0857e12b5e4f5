"""Row-group indexes built by Spark's workers, which read and index row groups, and merge what they found in a tree.

What comes out is the same to the byte as without Spark: parts are merged in stored order, whichever is ready first. The
Spark context is used by its methods alone; nothing here imports pyspark.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import Any, NoReturn

import cloudpickle
import numpy as np

from tfpetastorm import errors
from tfpetastorm.errors import OptionError, TfpetastormError, describe
from tfpetastorm.feed.index_work import IndexWork
from tfpetastorm.read.task import TaskReader
from tfpetastorm.schema.columns import Array
from tfpetastorm.storage.indexers import RowGroupIndexerBase

#: Tasks of Spark for each that can run at once, so that a slow one does not leave the others waiting.
_ROUNDS = 4
#: Parts that are merged at once, and the most that reach the driver.
_FAN_IN = 16
#: The last line of a traceback that ends in an error of ours.
_OUR_ERROR = re.compile(r"^(?:\w+Error: )?tfpetastorm\.errors\.(\w+): (.+)$", re.MULTILINE)


def build_on_spark(spark: Any, work: IndexWork, costs: Array) -> list[RowGroupIndexerBase]:
    """The indexers with what is in the dataset.

    spark: a SparkContext or SparkSession, whose workers see the files. costs: float64 `[row groups]`, bytes of a row.
    Raises OptionError for anything else and what reading raises, naming file and row group; whatever else fails on the
    workers is an error of Spark.
    """
    context = _context(spark)
    if not len(work.tasks):
        return work.empty()
    parts = _parts(work, costs, _ROUNDS * int(context.defaultParallelism))
    # Our own cloudpickle both ways, so that an indexer of a user's own class comes back as one of that very class.
    index = functools.partial(_index, cloudpickle.dumps(work))
    found = context.parallelize(list(enumerate(parts)), len(parts)).mapValues(index)
    count = len(parts)
    try:
        while count > _FAN_IN:
            count = -(-count // _FAN_IN)
            found = found.map(_under_next).groupByKey(count).mapValues(_merged)
        return _loaded(_merged(found.collect()))
    except TfpetastormError:
        raise
    except Exception as error:  # noqa: BLE001 - pyspark is not imported here, and its errors are no one class
        _raise_ours(error)


def _context(spark: Any) -> Any:
    try:
        context = getattr(spark, "sparkContext", spark)
    except Exception as error:
        if type(error).__module__.partition(".")[0] != "pyspark":
            raise
        context = None
    if not hasattr(context, "parallelize"):
        raise OptionError(
            describe(
                "Can't index on Spark",
                expected="a SparkContext, a SparkSession (not of Spark Connect, which has no RDDs) or None",
                found=repr(spark),
            )
        )
    return context


def _parts(work: IndexWork, costs: Array, most: int) -> list[tuple[int, int]]:
    """Intervals of read tasks, of about equally many bytes, none of which ends within a row group."""
    tasks = work.tasks
    ends = np.append(np.flatnonzero(np.diff(tasks.row_group)) + 1, len(tasks))
    # A row group costs something however small it is.
    weight = np.cumsum((tasks.stop - tasks.start) * costs[tasks.row_group] + 1)[ends - 1]
    count = min(most, len(ends))
    wanted = weight[-1] * np.arange(1, count + 1) / count
    borders = np.unique(np.append(ends[np.minimum(np.searchsorted(weight, wanted), len(ends) - 1)], len(tasks)))
    return [(int(start), int(stop)) for start, stop in zip([0, *borders[:-1]], borders, strict=True)]


def _index(work: bytes, part: tuple[int, int]) -> bytes:
    """On a worker: the indexers of an interval of tasks."""
    todo: IndexWork = cloudpickle.loads(work)
    built = todo.empty()
    reader = TaskReader(todo.spec)
    try:
        for number in range(*part):
            todo.add(built, todo.find(reader, todo.tasks.task(number)))
    finally:
        reader.close()
    return bytes(cloudpickle.dumps(built))


def _under_next(pair: tuple[int, bytes]) -> tuple[int, tuple[int, bytes]]:
    return pair[0] // _FAN_IN, pair


def _merged(parts: Iterable[tuple[int, bytes]]) -> bytes:
    """Neighbouring parts as one, in stored order."""
    ordered = sorted(parts, key=lambda pair: pair[0])
    built = _loaded(ordered[0][1])
    for _, part in ordered[1:]:
        built = [mine + other for mine, other in zip(built, _loaded(part), strict=True)]
    return bytes(cloudpickle.dumps(built))


def _loaded(part: bytes) -> list[RowGroupIndexerBase]:
    return list(cloudpickle.loads(part))


def _raise_ours(error: Exception) -> NoReturn:
    """Of an error that reached the driver through Spark, the one of ours that a worker raised; else what Spark says."""
    lines = _OUR_ERROR.findall(str(error))
    kind = getattr(errors, lines[-1][0], None) if lines else None
    if isinstance(kind, type) and issubclass(kind, TfpetastormError):
        raise kind(lines[-1][1]) from error
    raise error
