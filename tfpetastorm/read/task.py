"""Runs one read task: predicate columns first, only surviving rows decoded, then nulls and the transform."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tfpetastorm.errors import DamagedDataError, TransformError, UnsafeDataError
from tfpetastorm.plan.hashing import key64
from tfpetastorm.plan.tasks import ReadTask
from tfpetastorm.read.cache import Kept
from tfpetastorm.read.face import to_face, without_invalid
from tfpetastorm.read.fetch import Fetcher
from tfpetastorm.read.hashes import value_hashes
from tfpetastorm.read.ops import concat, empty_column, take
from tfpetastorm.read.predicate import AllOf, ExpressionPredicate, Predicate, ValuePredicate
from tfpetastorm.read.result import Counts, Damage, TaskResult
from tfpetastorm.read.spec import ReadSpec
from tfpetastorm.read.task_cache import TaskCache
from tfpetastorm.schema.codecs import decode_column
from tfpetastorm.schema.codecs.base import bad_cell_error
from tfpetastorm.schema.columns import Array, Column
from tfpetastorm.schema.field import UnischemaField
from tfpetastorm.schema.memory import Recycler, lent

#: Spare memory kept for the next tasks: beyond the budget, so no more than a task or two of the largest size.
_KEEP_BYTES = 64 * 1024 * 1024


@dataclass(eq=False)
class _Progress:
    """What happens to one task: the damage met and the work done so far. known: columns of all its rows, from the
    cache."""

    bad: dict[int, Damage] = field(default_factory=dict)
    known: dict[str, Column] = field(default_factory=dict)
    hits: int = 0
    misses: int = 0
    cells: int = 0
    bytes_fetched: int = 0
    fetches: int = 0
    fetch_seconds: float = 0.0
    decode_seconds: float = 0.0
    transform_seconds: float = 0.0

    def add(self, other: _Progress) -> None:
        """Counts the work of an attempt, but not the damage it met."""
        self.cells += other.cells
        self.bytes_fetched += other.bytes_fetched
        self.fetches += other.fetches
        self.fetch_seconds += other.fetch_seconds
        self.decode_seconds += other.decode_seconds


class TaskReader:
    """Runs read tasks as `spec` says. Threads may share one.

    metadata: gives a file's footer by its index, where it is at hand.
    """

    def __init__(self, spec: ReadSpec, metadata: Callable[[int], pq.FileMetaData] | None = None) -> None:
        self.spec = spec
        self._metadata = metadata
        self._fetcher = Fetcher(spec.source, metadata)
        self._recycler = Recycler(_KEEP_BYTES)
        self._cache = None if spec.cache is None else TaskCache(spec, spec.cache)

    def unselective(self) -> TaskReader:
        """A reader of all rows, for who knows already which of them pass. This one is closed."""
        self.close()
        return TaskReader(replace(self.spec, where=None, split=None), self._metadata)

    def run(self, task: ReadTask) -> TaskResult:
        """The columns of a read task.

        Raises DamagedDataError, UnsafeDataError, DatasetChangedError, NullValueError or TransformError; where the
        spec says skip, damage is listed in the result instead.
        """
        with lent(self._recycler):
            return self._run(task)

    def _run(self, task: ReadTask) -> TaskResult:
        progress = _Progress()
        cache = self._cache
        if cache is not None and cache.keeps_output(task):
            found = cache.output(task)
            if found is not None:
                progress.hits = 1
                return TaskResult(found.rows, found.columns, (), self._counts(found.rows, progress))
            progress.misses = 1
        try:
            kept = self._kept(task, progress)
            if kept is not None:
                numbers, columns = self._out_of(kept, task, progress)
            else:
                numbers, given = self._taken(task, *self._select(task, progress))
                columns = self._decode(task, numbers, given, progress)
        except (DamagedDataError, UnsafeDataError) as error:
            if not self.spec.skip:
                raise
            return self._lost(task, error, progress)
        rows = None
        if progress.bad:
            good = ~np.isin(numbers, np.fromiter(progress.bad, np.int64))
            rows = np.flatnonzero(good)
            columns = {name: take(column, rows) for name, column in columns.items()}
            numbers = numbers[good]
        place = self.spec.source.place(task.row_group)
        columns = self.spec.nulls.apply(columns, numbers, str(place.file), int(place.row_group or 0))
        if self.spec.transform is not None:
            before = self.spec.nulls.fields_after(self.spec.read_fields)
            started = time.perf_counter()
            try:
                columns = self.spec.transform.apply(columns, before, self.spec.output, len(numbers))
            except TransformError as error:
                raise TransformError(f"{error} Seen in {place}, rows {task.start} to {task.stop - 1}.") from error
            progress.transform_seconds += time.perf_counter() - started
        if cache is not None and cache.keeps_output(task) and not progress.bad:
            cache.keep_output(task, Kept(len(numbers), columns, {}))
        damage = tuple(progress.bad[row] for row in sorted(progress.bad))
        return TaskResult(len(numbers), columns, damage, self._counts(len(numbers), progress), rows)

    def _kept(self, task: ReadTask, progress: _Progress) -> Kept | None:
        """All rows of a task from the cache, or decoded and put there. None where they are not to be cached, or are
        damaged: which rows matter is then decided by reading as without a cache."""
        cache = self._cache
        if cache is None or cache.keeps_output(task):
            return None
        found = cache.rows(task)
        if found is not None:
            progress.hits += 1
            return found
        progress.misses += 1
        whole = ReadTask(task.row_group, task.start, task.stop)
        numbers = np.arange(task.start, task.stop, dtype=np.int64)
        attempt = _Progress()
        try:
            stored = self._fetch(whole, cache.stored, attempt)
            fetched = {**stored}
            missing = [item for item, _ in cache.decoded if item.name not in stored]
            fetched.update(self._fetch(whole, missing, attempt))
            columns = {
                item.name: self._column(whole, item, fetched[item.name], numbers, attempt, shown)
                for item, shown in cache.decoded
            }
        except (DamagedDataError, UnsafeDataError):
            return None
        finally:
            progress.add(attempt)
        if attempt.bad:
            return None
        kept = Kept(len(numbers), columns, stored)
        cache.keep_rows(whole, kept)
        return kept

    def _out_of(self, kept: Kept, task: ReadTask, progress: _Progress) -> tuple[Array, dict[str, Column]]:
        """Of rows from the cache, the numbers and columns of those that come out and that the task takes."""
        progress.known = kept.columns
        numbers, _ = self._taken(task, self._select(task, progress, kept.stored)[0], {})
        columns = {name: kept.columns[name] for name in self.spec.fields}
        if len(numbers) == kept.rows:
            return numbers, columns
        return numbers, {name: take(column, numbers - task.start) for name, column in columns.items()}

    def count(self, task: ReadTask) -> TaskResult:
        """How many rows of a task come out, reading just what decides it; the result has no columns."""
        progress = _Progress()
        try:
            numbers, _ = self._select(task, progress)
        except (DamagedDataError, UnsafeDataError) as error:
            if not self.spec.skip:
                raise
            return self._lost(task, error, progress)
        damage = tuple(progress.bad[row] for row in sorted(progress.bad))
        return TaskResult(len(numbers), {}, damage, self._counts(len(numbers), progress))

    def join(self, results: Sequence[TaskResult]) -> dict[str, Column]:
        """The columns of several results, one after another."""
        if len(results) == 1:
            return results[0].columns
        with lent(self._recycler):
            names = results[0].columns
            return {name: concat([result.columns[name] for result in results]) for name in names}

    def probe(self, task: ReadTask, names: Iterable[str]) -> tuple[Array, dict[str, Column], tuple[Damage, ...]]:
        """Which rows of a task come out (int64 `[n]`, their numbers in the row group), the columns of some stored
        fields for just these rows, nulls as they are, and damage: rows of which any of this can't be read are left
        out where the spec says skip."""
        progress = _Progress()
        fields = [self.spec.schema.fields[name] for name in names]
        try:
            numbers, given = self._select(task, progress)
            columns = self._decode(task, numbers, given, progress, fields)
        except (DamagedDataError, UnsafeDataError) as error:
            if not self.spec.skip:
                raise
            empty = {item.name: empty_column(item) for item in fields}
            return np.zeros(0, np.int64), empty, self._lost(task, error, progress).damage
        if progress.bad:
            rows = np.flatnonzero(~np.isin(numbers, np.fromiter(progress.bad, np.int64)))
            numbers, columns = numbers[rows], {name: take(column, rows) for name, column in columns.items()}
        return numbers, columns, tuple(progress.bad[row] for row in sorted(progress.bad))

    def empty(self) -> TaskResult:
        """No rows, with every column."""
        return TaskResult(0, {item.name: empty_column(item) for item in self.spec.output})

    def close(self) -> None:
        """Lets go of open files and spare memory; a later run gets them again."""
        self._fetcher.close()
        self._recycler.clear()

    # ------------------------------------------------------------------ steps

    def _select(
        self, task: ReadTask, progress: _Progress, stored: dict[str, pa.Array] | None = None
    ) -> tuple[Array, dict[str, pa.Array]]:
        """The row numbers that come out (int64, in the row group) and the arrays read to decide it, cut to them.

        stored: the arrays, where they are at hand; then only those of fields that are not in `progress.known`."""
        spec = self.spec
        numbers = np.arange(task.start, task.stop, dtype=np.int64)
        if not spec.selects:
            return numbers, {}
        mask = np.ones(len(numbers), bool)
        if spec.split is not None and spec.split.by == "row":
            file = spec.source.inventory.files[int(spec.source.inventory.row_group_file[task.row_group])]
            ordinal = int(spec.source.inventory.row_group_ordinal[task.row_group])
            mask &= spec.split.rows_of(file.name, ordinal, task.start, task.stop)
        fields = spec.selecting_fields
        arrays = self._fetch(task, fields, progress) if stored is None else stored
        if spec.split is not None and spec.split.by not in ("row", "row_group"):
            column = self._seen(task, spec.split.by, arrays, numbers, progress, False)
            decimal = spec.schema.fields[spec.split.by].kind == "decimal"
            mask &= spec.split.contains(value_hashes(column, key64("split", spec.split.salt), decimal))
        if spec.where is not None:
            mask &= self._passes(task, spec.where, arrays, numbers, progress)
        if progress.bad:
            mask &= ~np.isin(numbers, np.fromiter(progress.bad, np.int64))
        if mask.all():
            return numbers, arrays
        kept = np.flatnonzero(mask)
        indices = pa.array(kept)
        return numbers[kept], {name: array.take(indices) for name, array in arrays.items()}

    def _taken(self, task: ReadTask, numbers: Array, arrays: dict[str, pa.Array]) -> tuple[Array, dict[str, pa.Array]]:
        """Of the rows that come out, those that the task takes."""
        if task.take is None:
            return numbers, arrays
        # Fewer than were counted: the caller, who knows how many there should be, tells that the dataset changed.
        take = task.take[task.take < len(numbers)]
        indices = pa.array(take)
        return numbers[take], {name: array.take(indices) for name, array in arrays.items()}

    def _passes(
        self, task: ReadTask, where: Predicate, arrays: dict[str, pa.Array], numbers: Array, progress: _Progress
    ) -> Array:
        if isinstance(where, AllOf):
            passed: Array = np.ones(len(numbers), bool)
            for part in where.parts:
                passed &= self._passes(task, part, arrays, numbers, progress)
            return passed
        if isinstance(where, ExpressionPredicate):
            try:
                table = {name: self._plain(self.spec.schema.fields[name], arrays[name]) for name in where.fields}
                return where.mask(pa.table(table), len(numbers))
            except pa.ArrowException as error:
                place = self.spec.source.place(task.row_group)
                raise TransformError(f"where= can't be evaluated ({place}): {error}") from error
        if isinstance(where, ValuePredicate):
            columns = {name: self._seen(task, name, arrays, numbers, progress, True) for name in where.fields}
            return where.mask_of_columns(columns, len(numbers))
        given = []
        for name in where.fields:
            stored = self.spec.schema.fields[name]
            given.append(to_face(self._seen(task, name, arrays, numbers, progress, True), stored))
        return where.mask_of(given, len(numbers))

    def _seen(
        self, task: ReadTask, name: str, arrays: dict[str, pa.Array], numbers: Array, progress: _Progress, shown: bool
    ) -> Column:
        """A column by which rows are selected, of all rows of a task."""
        known = progress.known.get(name)
        if known is not None:
            # What a function writes to must not come out.
            return take(known, np.arange(known.rows)) if name in self.spec.fields else known
        return self._column(task, self.spec.schema.fields[name], arrays[name], numbers, progress, shown)

    def _plain(self, item: UnischemaField, array: pa.Array) -> pa.Array:
        """An array as an expression expects it: a file may lack the column, or store a narrower type."""
        expected = self.spec.filter_schema.field(item.name).type
        return array if array.type == expected else array.cast(expected)

    def _decode(
        self,
        task: ReadTask,
        numbers: Array,
        given: dict[str, pa.Array],
        progress: _Progress,
        fields: list[UnischemaField] | None = None,
    ) -> dict[str, Column]:
        """The columns of `fields`, or of those that the spec says."""
        shown = fields is None and self.spec.shown
        fields = self.spec.read_fields if fields is None else fields
        missing = [item for item in fields if item.name not in given]
        arrays = dict(given)
        if missing and len(numbers):
            more = self._fetch(task, missing, progress)
            if len(numbers) < task.stop - task.start:
                indices = pa.array(numbers - task.start)
                more = {name: array.take(indices) for name, array in more.items()}
            arrays.update(more)
        if not len(numbers):
            return {item.name: empty_column(item) for item in fields}
        return {item.name: self._column(task, item, arrays[item.name], numbers, progress, shown) for item in fields}

    def _fetch(self, task: ReadTask, fields: list[UnischemaField], progress: _Progress) -> dict[str, pa.Array]:
        if not fields:
            return {}
        rows = int(self.spec.source.inventory.row_group_rows[task.row_group])
        whole = task.start == 0 and task.stop == rows
        started = time.perf_counter()
        arrays, spent = self._fetcher.fetch(task.row_group, fields, not whole, task.stop - task.start)
        progress.fetch_seconds += time.perf_counter() - started
        progress.bytes_fetched += spent
        progress.fetches += spent > 0
        if whole:
            return arrays
        return {name: array.slice(task.start, task.stop - task.start) for name, array in arrays.items()}

    def _column(
        self,
        task: ReadTask,
        item: UnischemaField,
        array: pa.Array,
        numbers: Array,
        progress: _Progress,
        shown: bool = False,
    ) -> Column:
        """Decodes a column whose rows have these numbers in the row group. shown: whether to a user's function."""

        def on_bad(row: int, reason: str) -> None:
            place = self.spec.source.place(task.row_group, int(numbers[row]), item.name)
            if not self.spec.skip:
                raise bad_cell_error(reason, place)
            progress.bad.setdefault(int(numbers[row]), Damage(place, reason, 1))

        if item.codec is not None:
            progress.cells += len(array)
        started = time.perf_counter()
        column = decode_column(item, array, on_bad, limits=self.spec.limits)
        progress.decode_seconds += time.perf_counter() - started
        return without_invalid(column, on_bad) if shown and item.kind == "text" else column

    def _lost(self, task: ReadTask, error: Exception, progress: _Progress) -> TaskResult:
        """The result of a task of which nothing can be read."""
        damage = Damage(self.spec.source.place(task.row_group), str(error), task.stop - task.start)
        return TaskResult(0, self.empty().columns, (damage,), self._counts(0, progress))

    def _counts(self, rows: int, progress: _Progress) -> Counts:
        return Counts(
            rows,
            progress.cells,
            progress.fetches,
            progress.bytes_fetched,
            progress.fetch_seconds,
            progress.decode_seconds,
            progress.transform_seconds,
            progress.hits,
            progress.misses,
        )
