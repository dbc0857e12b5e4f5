"""`Reader`: an iterator over the rows or the row groups of a dataset, in plain Python."""

from __future__ import annotations

import threading
import warnings
import weakref
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from tfpetastorm.errors import DatasetWarning, OptionError, PoolError
from tfpetastorm.feed.elements import ElementRows
from tfpetastorm.plan.ngram import NGram
from tfpetastorm.pool.lookahead import LookAhead
from tfpetastorm.pool.options import PoolOptions
from tfpetastorm.read.ops import take
from tfpetastorm.reader.arguments import UNSET, Shard, checked_url, seed_of, warn_of_dropped
from tfpetastorm.reader.asked import Asked
from tfpetastorm.reader.batches import batch_array
from tfpetastorm.reader.caching import NoCache
from tfpetastorm.reader.rows import RowMaker, WindowMaker, WindowTypes
from tfpetastorm.reader.setup import prepare, rows_of
from tfpetastorm.schema.columns import Array, Column
from tfpetastorm.schema.unischema import Unischema

_END: Any = object()


class Reader:
    """Gives what `make_reader` or `make_batch_reader` was asked for, a pass of `num_epochs` epochs. An iterator and a
    context manager; threads may share one. After an error the same rows are tried again, so that none is lost.

    schema: the Unischema of what comes out. ngram: the NGram, or None. dataset: what `open_dataset` gives.
    batched_output: whether elements are batches. num_epochs: epochs of a pass, None for endless. stopped: whether
    `stop` was called. last_row_consumed: whether the pass has been read to its end. cache: the local disk cache.
    engine: what is read, for this library's own adapters.
    """

    def __init__(
        self,
        pyarrow_filesystem: Any,
        dataset_path: Any,
        schema_fields: NGram | Iterable[Any] | None = None,
        seed: int | None = None,
        shuffle_rows: bool = False,
        shuffle_row_groups: bool = True,
        shuffle_row_drop_partitions: int = 1,
        predicate: Any = None,
        rowgroup_selector: Any = None,
        reader_pool: Any = None,
        num_epochs: int | None = 1,
        cur_shard: int | None = None,
        shard_count: int | None = None,
        cache: Any = None,
        worker_class: Any = None,
        transform_spec: Any = None,
        is_batched_reader: bool = False,
        filters: Any = None,
        shard_seed: int | None = None,
        convert_early_to_numpy: bool = UNSET,
    ) -> None:
        """As petastorm's constructor; `make_reader` and `make_batch_reader` are the usual way, and explain the rest.

        pyarrow_filesystem: a pyarrow or fsspec filesystem, or None for this machine's. dataset_path: a path on it, or
        a list of them. cache: None, a `DiskCache` or a `LocalDiskCache`. reader_pool: a `PoolOptions` or None.
        Raises OptionError for one of petastorm's own pools or worker classes.
        """
        warn_of_dropped({"convert_early_to_numpy": convert_early_to_numpy})
        if worker_class is not None or not isinstance(reader_pool, PoolOptions | None):
            raise OptionError(
                "Petastorm's worker pools and worker classes are gone. Leave out worker_class= and give reader_pool= a "
                'PoolOptions, such as tfpetastorm.PoolOptions("thread", workers=4), or call make_reader('
                'url, reader_pool_type="thread", workers_count=4); is_batched_reader=True makes batches.'
            )
        order, membership = seed_of(seed, shard_seed)
        asked = Asked(
            checked_url(dataset_path),
            pyarrow_filesystem,
            schema_fields,
            predicate,
            filters,
            rowgroup_selector,
            transform_spec,
            (shuffle_rows, shuffle_row_groups, shuffle_row_drop_partitions),
            order,
            Shard.of(cur_shard, shard_count, membership),
            num_epochs,
            lambda local: (reader_pool or PoolOptions()).on(local),
            NoCache() if cache is None else cache,
            is_batched_reader,
        )
        self._set_up(asked)

    @classmethod
    def of(cls, asked: Asked) -> Reader:
        """The reader of what was asked for, in the engine's terms."""
        reader = cls.__new__(cls)
        reader._set_up(asked)  # noqa: SLF001
        return reader

    def _set_up(self, asked: Asked) -> None:
        stored, self._pool = asked.opened()
        prepared = prepare(stored, asked.wanted(stored, self._pool))
        self.schema: Unischema = prepared.schema
        self.ngram = asked.ngram
        self.dataset = stored
        self.cache = asked.cache
        self.last_row_consumed = False
        self.stopped = False
        self.engine = prepared
        self._elements = prepared.elements
        self._batched = asked.batched
        self._lock = threading.RLock()
        self._rows: list[Any] = []
        self._made: Iterator[Any] = iter(self._rows)
        self._maker: RowMaker | WindowMaker | _BatchMaker | None = None
        self._pass = 0
        self._length: int | None = None
        windows = prepared.windows
        self._types = None if windows is None else WindowTypes.of(self.schema, windows)
        self._begin()
        self.num_epochs: int | None = 0
        self._pools: list[LookAhead] = []
        if self._elements is not None:
            self.num_epochs = self._elements.plan.epochs
            self._pools.append(self._elements.pool)
            weakref.finalize(self, self._elements.pool.release).atexit = False

    # ------------------------------------------------------------------ reading

    @property
    def batched_output(self) -> bool:
        """Whether elements are batches of arrays rather than rows."""
        return self._batched

    @property
    def is_batched_reader(self) -> bool:
        """The same as `batched_output`."""
        return self._batched

    def __iter__(self) -> Iterator[Any]:
        """The rest of the pass, shared with `next`: what one gives, the other does not."""
        # A loop takes rows out of lists, in C, rather than calling __next__ for each.
        return chain.from_iterable(self._parts())

    def __next__(self) -> Any:
        with self._lock:
            self._refuse_stopped()
            row = next(self._made, _END)
            while row is _END:
                self._advance()
                row = next(self._made, _END)
            return row

    def next(self) -> Any:
        """The next element. Raises StopIteration at the end of the pass, and what reading raises."""
        return self.__next__()

    def next_columns(self) -> dict[str, Array]:
        """The rows read next, as many as are read at once, as arrays by field (see `make_batch_reader`): for both kinds
        of readers, but not for n-grams. What `next` has not given of its own rows is left out.

        Raises StopIteration at the end of the pass.
        """
        if self._types is not None:
            raise OptionError("N-grams come as rows: use next(reader), or make_dataset(ngram=Window(...)) for columns.")
        with self._lock:
            self._keep([])
            self._maker = None
            while True:
                rows = self._next_element()
                columns, index = rows.columns, rows.index
                if index is not None:
                    columns = {name: take(column, index) for name, column in columns.items()}
                if next(iter(columns.values())).rows:
                    self._number += 1
                    return self._arrays(columns)
                self._number += 1

    def __len__(self) -> int:
        """The rows of one epoch of this reader's shard, or its n-grams: exactly, so a predicate may have to read the
        columns that it needs. Of `make_batch_reader` too it is rows that are counted, since those are known."""
        with self._lock:
            if self._length is None:
                self._refuse_mistake()
                self._length = rows_of(self.dataset, self.engine, self._pool)
            return self._length

    def __bool__(self) -> bool:
        return True

    # ------------------------------------------------------------------ life

    def reset(self) -> None:
        """Begins another pass, at any moment: what is left of this one is dropped. A shuffled reader goes on to orders
        it has not given yet. Without effect after `stop`."""
        with self._lock:
            self._pass += 1
            self._begin()

    def stop(self) -> None:
        """Ends the workers, without waiting for them. Reading afterwards is an error."""
        self.stopped = True
        self._rows.clear()
        for pool in self._pools:
            pool.release()

    def join(self) -> None:
        """Waits for the workers to end; ends them where `stop` was not called."""
        for pool in self._pools:
            pool.close()

    def cleanup_cache(self) -> None:
        """Empties the local disk cache, if there is one; says so, and why if that fails, as petastorm does."""
        try:
            self._empty_cache()
        except OSError as error:
            print(f"Error cleaning cache: {error}")
        print("Cache cleanup complete.")

    def _empty_cache(self) -> None:
        if self.cache is not None and hasattr(self.cache, "cleanup"):
            self.cache.cleanup()

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.join()
        try:
            self._empty_cache()
        except OSError as error:
            # What was read is good, and an error of the block itself must be the one that is seen.
            warnings.warn(f"The disk cache could not be emptied: {error}.", DatasetWarning, stacklevel=2)

    @property
    def diagnostics(self) -> dict[str, Any]:
        """What the workers did so far: `items_consumed` and `items_produced` count read tasks (row groups, or slices of
        them) that were taken, and read; `items_inprocess` those under way or waiting, `output_queue_size` those
        waiting; then rows, decoded cells, row groups and bytes fetched, seconds waited, and peak bytes."""
        if self._elements is None:
            consumed = waiting = under_way = 0
            extra: dict[str, Any] = {}
        else:
            stats = self._elements.stats
            waiting, under_way = self._elements.pool.ahead
            consumed = stats.pool.tasks
            extra = {
                "rows": stats.counts.rows,
                "cells_decoded": stats.counts.cells,
                "row_groups_fetched": stats.counts.row_groups,
                "bytes_fetched": stats.counts.bytes_fetched,
                "wait_seconds": stats.pool.wait_seconds,
                "peak_bytes": stats.pool.peak_bytes,
            }
        return {
            "items_consumed": consumed,
            "items_produced": consumed + waiting,
            "items_inprocess": waiting + under_way,
            "items_ventilated": consumed + waiting + under_way,
            "output_queue_size": waiting,
            "zmq_copy_buffers": False,
            **extra,
        }

    def refuse(self) -> None:
        """Raises PoolError once the reader was stopped, and OptionError for a predicate that can't work."""
        self._refuse_stopped()
        self._refuse_mistake()

    def also_ends(self, pool: LookAhead) -> None:
        """A pool that `stop` and `join` end too."""
        self._pools.append(pool)

    # ------------------------------------------------------------------ steps

    def _begin(self) -> None:
        self._rows.clear()
        self._keep([])
        self._maker = None
        self._number = 0
        self._epochs_done = 0
        self._rows_of_epoch = 0
        self.last_row_consumed = False

    def _parts(self) -> Iterator[Iterator[Any]]:
        while True:
            made = self._made
            yield made
            with self._lock:
                try:
                    self._refuse_stopped()
                    # Another loop may have gone on meanwhile.
                    if self._made is made:
                        self._advance()
                except StopIteration:
                    return

    def _advance(self) -> None:
        """Makes the next few elements those at hand. Raises StopIteration where there is none."""
        self._keep(self._some())

    def _keep(self, rows: list[Any]) -> None:
        self._rows, self._made = rows, iter(rows)

    @property
    def _epoch(self) -> int:
        assert self._elements is not None
        return self._elements.plan.pass_start(self._pass) + self._epochs_done

    def _some(self) -> list[Any]:
        """The next few elements. Raises StopIteration where there is none."""
        while True:
            if self._maker is not None:
                some = self._maker.some()
                if some:
                    return some
                # Only now is the element behind us: an error before would have it read again.
                self._maker = None
                self._number += 1
            self._maker = self._maker_of(self._next_element())

    def _next_element(self) -> ElementRows:
        """The element at hand. Raises StopIteration at the end of the pass."""
        self._refuse_stopped()
        self._refuse_mistake()
        if self._elements is None:
            self.last_row_consumed = True
            raise StopIteration
        plan = self._elements.plan
        while self._number >= len(plan.layout(self._epoch)):
            if self._ends():
                self.last_row_consumed = True
                raise StopIteration
            self._epochs_done += 1
            self._number = self._rows_of_epoch = 0
        rows = self._elements.read(self._epoch, self._number)
        self._rows_of_epoch += rows.rows
        return rows

    def _ends(self) -> bool:
        """Whether the pass ends with this epoch: the last one, or one of an endless pass in which no row passes."""
        if self.num_epochs is None:
            return not self._rows_of_epoch
        return self._epochs_done + 1 >= self.num_epochs

    def _maker_of(self, rows: ElementRows) -> RowMaker | WindowMaker | _BatchMaker:
        if self._batched:
            return _BatchMaker(self, rows)
        if self._types is not None:
            assert self.engine.windows is not None
            return WindowMaker(self._types, self.engine.windows, rows)
        return RowMaker(self.schema, rows)

    def _arrays(self, columns: dict[str, Column]) -> dict[str, Array]:
        return {field.name: batch_array(field, columns[field.name]) for field in self.schema}

    def _refuse_stopped(self) -> None:
        if self.stopped:
            raise PoolError(
                "Trying to read a sample from a reader that was stopped, or whose `with` block has ended. Make a new "
                "reader, or read within the block."
            )

    def _refuse_mistake(self) -> None:
        if self.engine.mistake is not None:
            raise self.engine.mistake


class _BatchMaker:
    """Makes the batches of an element: one; where rows are mixed, as many as it has read tasks, of about their size."""

    def __init__(self, reader: Reader, rows: ElementRows) -> None:
        self._reader = reader
        self._rows = rows
        count = rows.samples
        parts = 1 if rows.index is None else len(rows.element.pieces)
        self._cuts = [count * part // parts for part in range(parts + 1)]
        self._done = 0

    def some(self) -> list[Any]:
        """The next batch, in a list; none where all were given."""
        while self._done + 1 < len(self._cuts):
            lo, hi = self._cuts[self._done : self._done + 2]
            if hi > lo:
                break
            self._done += 1
        else:
            return []
        columns = self._rows.columns
        if self._rows.index is not None:
            columns = {name: take(column, self._rows.index[lo:hi]) for name, column in columns.items()}
        arrays = self._reader._arrays(columns)  # noqa: SLF001
        made = self._reader.schema.namedtuple_type()._make(arrays.values())
        self._done += 1
        return [made]
