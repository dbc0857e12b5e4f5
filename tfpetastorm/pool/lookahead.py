"""Runs read tasks ahead of the position asked for.

The plan is known, so look-ahead is exact: after (epoch, position) was asked for, the tasks that follow are read while
the consumer works, as far as the budget in bytes allows. Nothing here decides what comes out: a result is kept under
its key until it is asked for, and whatever was dropped is read again, since read tasks are pure.
"""

from __future__ import annotations

import atexit
import queue
import threading
import time
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass

from tfpetastorm.errors import PoolError
from tfpetastorm.plan.epochs import Key
from tfpetastorm.plan.tasks import ReadTask
from tfpetastorm.pool.executors import InlineExecutor
from tfpetastorm.pool.options import PoolOptions
from tfpetastorm.read.result import TaskResult, arrays_of

#: Iterators over one dataset whose look-ahead is kept apart; one more, and the one longest unused is forgotten.
_MAX_STREAMS = 4

#: At exit, TensorFlow's threads count as done when they have asked for nothing for this long: after an error they fill
#: their short buffers with further errors and then stand still.
_CALM_SECONDS = 0.05


@dataclass(frozen=True)
class Sequence:
    """What the look-ahead needs to know of a plan.

    task: the read task of a key. next_key: the key after it, or None. cost: the estimated bytes of its result.
    """

    task: Callable[[Key], ReadTask]
    next_key: Callable[[Key], Key | None]
    cost: Callable[[Key], int]


@dataclass(eq=False)
class _Entry:
    future: Future[TaskResult]
    cost: int


@dataclass
class PoolStats:
    """tasks: results handed over. wait_seconds: time spent waiting for them. peak_bytes: the most that was accounted
    for at once: results in flight, waiting, or handed over and still alive. dropped: results read and never used."""

    tasks: int = 0
    wait_seconds: float = 0.0
    peak_bytes: int = 0
    dropped: int = 0


class LookAhead:
    """A pool of workers that reads ahead. Workers start at the first fetch, end when idle or closed, and start again
    on demand, so a holder may keep this for as long as it likes. Threads may call `fetch` at the same time.

    options: workers and budget. run: runs a read task in this process. spec: what a worker process makes its own
    reader from. sequence: the order of keys. on_close: called when the workers have ended.
    """

    def __init__(
        self,
        options: PoolOptions,
        run: Callable[[ReadTask], TaskResult],
        spec: object,
        sequence: Sequence,
        on_close: Callable[[], None],
    ) -> None:
        self._options = options
        self._run = run
        self._spec = spec
        self._sequence = sequence
        self._on_close = on_close
        self._lock = threading.Lock()
        self._executor: Executor | None = None
        self._inbox: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._keeper: threading.Thread | None = None
        self._entries: dict[Key, _Entry] = {}
        # The next key of each iterator that is under way, the most recent last.
        self._streams: OrderedDict[Key, None] = OrderedDict()
        # Bytes of results that were handed over and are still alive in TensorFlow. Finalizers run at any moment, also
        # while this thread holds the lock, so they only append here.
        self._released: deque[int] = deque()
        self._delivered = 0
        self._active = 0
        self._last_use = time.monotonic()
        self._exiting = False
        self.stats = PoolStats()

    # ------------------------------------------------------------------ reading

    def fetch(self, key: Key, then: Key | None = None) -> TaskResult:
        """The result of the task at `key`; blocks until it is there.

        then: the key to expect after the last one of a pass, if a further pass is likely. Raises whatever reading
        the task raised, or PoolError while the interpreter exits.
        """
        with self._lock:
            self._last_use = time.monotonic()
            if self._exiting:
                raise PoolError("The interpreter is exiting.")
            self._active += 1
        try:
            future = self._request(key, then)
            started = time.perf_counter()
            result = future.result()
            waited = time.perf_counter() - started
        finally:
            with self._lock:
                self._active -= 1
                self._last_use = time.monotonic()
        with self._lock:
            self.stats.tasks += 1
            self.stats.wait_seconds += waited
            self._watch(result)
        return result

    def run_now(self, task: ReadTask) -> TaskResult:
        """Runs one task in the pool outside the order, for what could not be foreseen (replacing damaged rows)."""
        with self._lock:
            if self._exiting:
                raise PoolError("The interpreter is exiting.")
            future = self._start().submit(self._run, task)
            self._active += 1
        try:
            return future.result()
        finally:
            with self._lock:
                self._active -= 1
                self._last_use = time.monotonic()

    def _request(self, key: Key, then: Key | None) -> Future[TaskResult]:
        with self._lock:
            if self._exiting:
                raise PoolError("The interpreter is exiting.")
            self._start()
            self._streams.pop(key, None)
            entry = self._entries.pop(key, None) or self._submit(key)
            following = self._sequence.next_key(key) or then
            if following is not None:
                self._streams[following] = None
            while len(self._streams) > _MAX_STREAMS:
                self._streams.popitem(last=False)
            self._drop_strays()
            self._read_ahead(entry.cost)
            return entry.future

    def _submit(self, key: Key) -> _Entry:
        task = self._sequence.task(key)
        return _Entry(self._start().submit(self._run, task), self._sequence.cost(key))

    def _window(self, key: Key) -> list[Key]:
        """The keys from `key` on that may be read ahead, nearest first."""
        keys: list[Key] = []
        following: Key | None = key
        while following is not None and len(keys) < self._depth:
            keys.append(following)
            following = self._sequence.next_key(following)
        return keys

    @property
    def _depth(self) -> int:
        # Twice the workers keeps them busy while results of uneven cost are taken in order.
        return 0 if self._options.kind == "inline" else 2 * self._options.count

    def _read_ahead(self, awaited: int) -> None:
        """Submits what follows, for the most recent iterator first, as far as the budget allows."""
        used = awaited + self._in_use()
        streams = list(reversed(self._streams))
        for rank, stream in enumerate(streams):
            for key in self._window(stream):
                if key in self._entries:
                    continue
                cost = self._sequence.cost(key)
                while used + cost > self._options.budget_bytes and rank + 1 < len(self._streams):
                    # Another iterator, perhaps abandoned, holds memory that this one could use.
                    self._streams.popitem(last=False)
                    used -= self._drop_strays()
                if used + cost > self._options.budget_bytes:
                    self._note_peak(used)
                    return
                self._entries[key] = self._submit(key)
                used += cost
            if stream not in self._streams:
                break
        self._note_peak(used)

    @property
    def ahead(self) -> tuple[int, int]:
        """Results that wait to be asked for, and read tasks under way."""
        with self._lock:
            done = sum(entry.future.done() for entry in self._entries.values())
            return done, len(self._entries) - done

    # ------------------------------------------------------------------ memory

    def _in_use(self) -> int:
        while self._released:
            self._delivered -= self._released.popleft()
        return self._delivered + sum(_cost(entry) for entry in self._entries.values())

    def _note_peak(self, used: int) -> None:
        self.stats.peak_bytes = max(self.stats.peak_bytes, used)

    def _watch(self, result: TaskResult) -> None:
        """Counts a result until TensorFlow has let go of its arrays."""
        for column in result.columns.values():
            for array in arrays_of(column):
                if array.nbytes:
                    self._delivered += array.nbytes
                    weakref.finalize(array, self._released.append, array.nbytes).atexit = False

    def _drop_strays(self) -> int:
        """Forgets results that no iterator under way is about to ask for; the bytes that frees."""
        wanted = {key for stream in self._streams for key in self._window(stream)}
        freed = 0
        for key in [key for key in self._entries if key not in wanted]:
            entry = self._entries.pop(key)
            entry.future.cancel()
            freed += _cost(entry)
            self.stats.dropped += 1
        return freed

    # ------------------------------------------------------------------ life

    def _start(self) -> Executor:
        if self._executor is None:
            workers = self._options.count
            if self._options.kind == "inline":
                self._executor = InlineExecutor()
            elif self._options.kind == "thread":
                self._executor = ThreadPoolExecutor(workers, thread_name_prefix="tfpetastorm-thread")
            else:
                # Imported here: threads need neither sockets nor cloudpickle.
                from tfpetastorm.pool.processes import ProcessExecutor

                self._executor = ProcessExecutor(workers, self._spec)
            self._inbox = queue.SimpleQueue()
            if self._options.kind != "inline":
                self._keeper = threading.Thread(
                    target=self._keep, args=(self._inbox,), name="tfpetastorm-keeper", daemon=True
                )
                self._keeper.start()
            atexit.register(self._at_exit)
        return self._executor

    def _keep(self, inbox: queue.SimpleQueue[str]) -> None:
        """Ends the pool when told to or when idle. A thread of its own, since a finalizer may not take a lock."""
        wait = self._options.idle_seconds
        while True:
            try:
                message = inbox.get(timeout=wait)
            except queue.Empty:
                message = "idle?"
            if message == "end":
                return
            with self._lock:
                idle = time.monotonic() - self._last_use
                # A dataset object may go while an iterator made from it lives on, inside a flat_map say.
                busy = self._active > 0 or (message == "idle?" and idle < self._options.idle_seconds)
            if not busy:
                self._close()
                return
            wait = max(0.01, self._options.idle_seconds - idle)

    def release(self) -> None:
        """Asks for the end of the pool, unless a fetch is under way; returns at once, safe in a finalizer."""
        self._inbox.put("release")

    def close(self) -> None:
        """Ends the pool and waits for its workers; a later fetch starts it again."""
        self._inbox.put("end")
        keeper = self._keeper
        self._close()
        if keeper is not None:
            keeper.join()

    def _close(self) -> None:
        with self._lock:
            executor, self._executor = self._executor, None
            entries, self._entries = self._entries, {}
            self._streams.clear()
        for entry in entries.values():
            entry.future.cancel()
        if executor is not None:
            try:
                executor.shutdown(wait=True, cancel_futures=True)
                self._on_close()
            finally:
                # Not before: at exit someone has to wait for the keeper that does this, since a thread which frees
                # pyarrow's files while the interpreter is torn down crashes it.
                with self._lock:
                    if self._executor is None:
                        atexit.unregister(self._at_exit)

    def _at_exit(self) -> None:
        """Ends fetches that TensorFlow's threads have under way: a thread that returns to Python while the interpreter
        is torn down hangs or crashes it."""
        with self._lock:
            self._exiting = True
        self.close()
        deadline, calm_since = time.monotonic() + 5, time.monotonic()
        while time.monotonic() < min(deadline, calm_since + _CALM_SECONDS):
            with self._lock:
                if self._active:
                    calm_since = time.monotonic()
                else:
                    calm_since = max(calm_since, self._last_use)
            time.sleep(0.005)


def _cost(entry: _Entry) -> int:
    future = entry.future
    if future.done() and not future.cancelled() and future.exception() is None:
        return future.result().nbytes
    return entry.cost
