"""Workers end with whatever needed them: no thread, process, file or shared memory is left, and no exit hangs."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

import tfpetastorm as tps

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(tps.__file__).parents[1])}


@pytest.fixture(scope="module")
def url(tmp_path_factory) -> Path:
    """20,000 rows in 100 row groups."""
    folder = tmp_path_factory.mktemp("life")
    table = pa.table({"id": np.arange(20_000), "name": [f"row {i}" for i in range(20_000)]})
    pq.write_table(table, folder / "x.parquet", row_group_size=200)
    return folder


def workers_of(process: psutil.Process) -> list[psutil.Process]:
    return [child for child in process.children(recursive=True) if is_worker(child)]


def is_worker(process: psutil.Process) -> bool:
    try:
        return "tfpetastorm.pool.worker" in " ".join(process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def belongs_to(process: psutil.Process, mark: str) -> bool:
    """Whether it is a worker process of a program that `start` started with this mark as its first argument."""
    try:
        return is_worker(process) and process.environ().get("LIFE_TEST") == mark
    except psutil.Error:
        return False


class Mine:
    """The threads and worker processes of this process that were not there before: other tests may have some."""

    def __init__(self) -> None:
        gc.collect()
        self._before = {id(thread) for thread in self._threads()}, {worker.pid for worker in self._workers()}

    def _threads(self) -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name.startswith("tfpetastorm")]

    def _workers(self) -> list[psutil.Process]:
        return workers_of(psutil.Process())

    def threads(self) -> list[str]:
        return [thread.name for thread in self._threads() if id(thread) not in self._before[0]]

    def workers(self) -> list[int]:
        return [worker.pid for worker in self._workers() if worker.pid not in self._before[1]]

    def all_gone(self) -> bool:
        return not self.threads() and not self.workers()


def eventually(condition, seconds=10.0):
    """Whether the condition comes true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def shared_memory() -> set[str]:
    folder = Path("/dev/shm")
    # Semaphores of multiprocessing and joblib come and go with tests that run beside these; the pool has none.
    names = {path.name for path in folder.iterdir()} if folder.exists() else set()
    return {name for name in names if not name.startswith("sem.")}


@pytest.mark.parametrize("pool", ["thread", "process"])
def test_dropping_a_dataset_in_mid_epoch_leaves_nothing(url, pool):
    me = psutil.Process()
    warm = tps.make_dataset(url, batch_size=64, pool=pool)
    next(iter(warm))
    tps.close(warm)
    del warm
    mine = Mine()
    before = (shared_memory(), me.num_fds())
    for _ in range(5):
        dataset = tps.make_dataset(url, batch_size=64, pool=pool)
        iterator = iter(dataset)
        next(iterator)
        assert mine.threads()
        assert bool(mine.workers()) == (pool == "process")
        del iterator, dataset
        gc.collect()
        assert eventually(mine.all_gone), (mine.threads(), mine.workers())
    assert shared_memory() == before[0]
    assert me.num_fds() <= before[1]


@pytest.mark.parametrize("pool", ["thread", "process"])
def test_the_end_of_the_only_pass_and_close(url, pool):
    mine = Mine()
    dataset = tps.make_dataset(url, batch_size=64, pool=pool)
    assert len(list(dataset)) == 313
    tps.close(dataset)
    assert mine.all_gone()
    # It may be used again, and closed again.
    assert len(list(dataset)) == 313
    tps.close(dataset)
    tps.close(dataset)
    assert mine.all_gone()


def test_idle_workers_end_and_come_back(url):
    mine = Mine()
    dataset = tps.make_dataset(url, batch_size=64, pool=tps.PoolOptions("process", 2, idle_seconds=0.3))
    iterator = iter(dataset)
    ids = next(iterator)["id"].numpy().tolist()
    assert eventually(mine.all_gone)
    for batch in iterator:
        ids += batch["id"].numpy().tolist()
    assert ids == list(range(20_000))
    tps.close(dataset)


def test_a_dataset_made_inside_flat_map_works_and_ends_when_idle(url):
    mine = Mine()
    options = tps.PoolOptions("thread", 2, idle_seconds=0.3)
    outer = tf.data.Dataset.range(3).flat_map(
        lambda _: tps.make_dataset(url, fields=["id"], batch_size=500, pool=options)
    )
    gc.collect()
    ids = [int(i) for batch in outer for i in batch["id"]]
    assert ids == 3 * list(range(20_000))
    assert eventually(mine.all_gone)


@pytest.fixture
def start():
    """Starts a program in a process group of its own, which is gone after the test whatever happens."""
    programs = []

    def run(code: str, *arguments: str) -> subprocess.Popen[str]:
        # Whoever runs the tests in the background may have Ctrl-C ignored, and children inherit that.
        code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n" + code
        program = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**ENVIRONMENT, "LIFE_TEST": arguments[0]},
            start_new_session=True,
        )
        programs.append(program)
        return program

    yield run
    for program in programs:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, signal.SIGKILL)
        program.communicate()


ENDLESS = """
import sys
import tfpetastorm as tps
dataset = tps.make_dataset(sys.argv[1], batch_size=64, epochs=None, shuffle=True, pool=sys.argv[2])
for i, batch in enumerate(dataset):
    if i == 20:
        print("under way", flush=True)
"""


@pytest.mark.parametrize("pool", ["thread", "process"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupting_training_leaves_no_process(url, pool, number, start):
    before = shared_memory()
    program = start(ENDLESS, str(url), pool)
    assert program.stdout.readline() == "under way\n"
    workers = workers_of(psutil.Process(program.pid))
    assert bool(workers) == (pool == "process")
    # As a terminal does: to the whole group. More than once, as an impatient user does: TensorFlow's eager iterators
    # swallow about one KeyboardInterrupt in nine, whatever the dataset, when it meets them in a helper of theirs.
    for _ in range(10):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            program.wait(timeout=2)
            break
    _, errors = program.communicate(timeout=20)
    assert program.returncode != 0
    if number == signal.SIGINT:
        assert errors.count("KeyboardInterrupt") >= 1
    assert eventually(lambda: not any(is_worker(worker) for worker in workers))
    assert shared_memory() == before


#: A process that has imported TensorFlow once and is forked for every exit: importing it takes longer than all else.
#: Each child starts TensorFlow's runtime and our pool itself, and leaves through the interpreter's ordinary end.
EXITS = """
import os, random, signal, sys, time
import tensorflow as tf
import tfpetastorm as tps
from tfpetastorm.tfdata import dataset, monitor

url, pool, count = sys.argv[1], sys.argv[2], int(sys.argv[3])

def reap(running, most):
    # Waits until at most this many children are left; none may take longer than its deadline.
    while len(running) > most:
        for child, (number, deadline) in list(running.items()):
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                del running[child]
                if os.WIFSIGNALED(status):
                    sys.exit(f"exit {number} by signal {os.WTERMSIG(status)}")
            elif time.monotonic() > deadline:
                os.kill(child, signal.SIGABRT)
                sys.exit(f"exit {number} hung")
        time.sleep(0.005)

running = {}
for number in range(count):
    reap(running, 1)  # two at a time
    child = os.fork()
    if not child:
        break
    running[child] = number, time.monotonic() + 60
else:
    reap(running, 0)
    print("done", count)
    sys.exit(0)

random.seed(number)
dataset = tps.make_dataset(url, batch_size=64, epochs=None, shuffle=True, seed=number, pool=pool)
if number % 3 == 1:
    dataset = dataset.repeat().prefetch(4)
if number % 3 == 2:
    dataset = dataset.map(lambda batch: batch, num_parallel_calls=4).prefetch(tf.data.AUTOTUNE)
iterator = iter(dataset)
for _ in range(random.choice([0, 1, 2, 10])):
    next(iterator)
if number % 4 == 3:
    raise ValueError("ends with an exception")
if number % 4 == 1:
    # The pool is given up in the very moment that the interpreter ends.
    del iterator, dataset
"""


@pytest.mark.slow
@pytest.mark.timeout(600)  # each single exit has a bound of its own
@pytest.mark.parametrize("pool", ["inline", "thread", "process"])
def test_many_exits_in_mid_epoch(url, pool, start):
    before = shared_memory()
    program = start(EXITS, str(url), pool, "24")
    output, errors = program.communicate()
    assert output == "done 24\n", errors[-3000:]
    assert program.returncode == 0
    assert errors.count("ends with an exception") == 6
    assert "Fatal Python error" not in errors
    assert "core dumped" not in errors
    assert shared_memory() == before
    assert eventually(lambda: not [process for process in psutil.process_iter() if belongs_to(process, str(url))])
