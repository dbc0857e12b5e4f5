"""`petastorm.benchmark.throughput`: samples a second of a reader. `tfpetastorm throughput` tells more, by stage."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
import warnings
from collections import namedtuple
from collections.abc import Callable, Iterable
from enum import Enum
from typing import Any

from tfpetastorm.cli.usage import Watch
from tfpetastorm.errors import OptionError, PoolError
from tfpetastorm.pool.worker import error_from, error_header

__all__ = ["BenchmarkResult", "ReadMethod", "WorkerPoolType", "reader_throughput"]

logger = logging.getLogger(__name__)

#: time_mean: seconds a sample. samples_per_second. memory_info: has `rss`, bytes at most while measuring, and
#: `workers_rss`, those of worker processes. cpu: percent of one core.
BenchmarkResult = namedtuple("BenchmarkResult", ["time_mean", "samples_per_second", "memory_info", "cpu"])
MemoryInfo = namedtuple("MemoryInfo", ["rss", "workers_rss"])


class WorkerPoolType(Enum):
    """Where the reader's workers run."""

    THREAD = "thread"
    PROCESS = "process"
    NONE = "dummy"

    def __str__(self) -> str:
        return str(self.value)


class ReadMethod(Enum):
    """What reads: a `tf.data.Dataset` of the reader, or plain Python."""

    TF = "tf"
    PYTHON = "python"

    def __str__(self) -> str:
        return str(self.value)


def reader_throughput(
    dataset_url: Any,
    field_regex: Iterable[str] | None = None,
    warmup_cycles_count: int = 300,
    measure_cycles_count: int = 1000,
    pool_type: WorkerPoolType = WorkerPoolType.THREAD,
    loaders_count: int = 3,
    profile_threads: bool = False,
    read_method: ReadMethod = ReadMethod.PYTHON,
    shuffling_queue_size: int = 500,
    min_after_dequeue: int = 400,
    reader_extra_args: dict[str, Any] | None = None,
    spawn_new_process: bool = True,
) -> Any:
    """A `BenchmarkResult` for an endless `make_reader`: `warmup_cycles_count` samples are read, then
    `measure_cycles_count` are timed.

    field_regex: which fields, all unless told. loaders_count: workers. read_method: "tf" reads through
    `make_petastorm_dataset`, mixed by a buffer of `shuffling_queue_size`. reader_extra_args: more of `make_reader`'s
    arguments. spawn_new_process: measure in a process of its own, so that memory is that of reading alone.
    profile_threads, min_after_dequeue: without effect.

    Raises OptionError for an unknown read_method, and what reading raises.
    """
    if profile_threads:
        warnings.warn(
            "profile_threads has no effect: `tfpetastorm throughput` tells the time of each stage instead.",
            DeprecationWarning,
            stacklevel=2,
        )
    arguments = {
        "dataset_url": dataset_url,
        "field_regex": field_regex,
        "warmup_cycles_count": warmup_cycles_count,
        "measure_cycles_count": measure_cycles_count,
        "pool_type": pool_type,
        "loaders_count": loaders_count,
        "read_method": read_method,
        "shuffling_queue_size": shuffling_queue_size,
        "reader_extra_args": reader_extra_args,
    }
    return _in_new_process(arguments) if spawn_new_process else _measured(**arguments)


def _measured(
    dataset_url: Any,
    field_regex: Iterable[str] | None,
    warmup_cycles_count: int,
    measure_cycles_count: int,
    pool_type: WorkerPoolType,
    loaders_count: int,
    read_method: ReadMethod,
    shuffling_queue_size: int,
    reader_extra_args: dict[str, Any] | None,
) -> Any:
    from tfpetastorm.reader.factories import make_reader

    if read_method not in ReadMethod:
        raise OptionError(f"read_method={read_method!r} is none of {', '.join(map(str, ReadMethod))}.")
    options = {"schema_fields": field_regex, **(reader_extra_args or {})}
    counts = warmup_cycles_count, measure_cycles_count
    with make_reader(
        dataset_url, num_epochs=None, reader_pool_type=str(pool_type), workers_count=loaders_count, **options
    ) as reader:
        if read_method == ReadMethod.PYTHON:
            return _time_warmup_and_work(reader, *counts)
        from tfpetastorm.tfdata.from_reader import make_petastorm_dataset

        dataset = make_petastorm_dataset(reader)
        elements = iter(dataset.shuffle(shuffling_queue_size) if shuffling_queue_size > 1 else dataset)
        return _time_warmup_and_work(reader, *counts, lambda: next(elements))


def _time_warmup_and_work(
    reader: Any, warmup_cycles_count: int, measure_cycles_count: int, do_work_func: Callable[[], Any] | None = None
) -> Any:
    work: Callable[[], Any] = do_work_func or (lambda: next(reader))
    for _ in range(warmup_cycles_count):
        work()
    with Watch() as watch:
        started = time.perf_counter()
        for _ in range(measure_cycles_count):
            work()
        seconds = time.perf_counter() - started
    mean = seconds / measure_cycles_count
    usage = watch.usage
    memory = MemoryInfo(usage.own_rss, usage.workers_rss)
    result = BenchmarkResult(mean, 1 / mean, memory, 100 * usage.cpu_seconds / seconds)
    logger.info("Done measuring: %s", result)
    return result


def _in_new_process(arguments: dict[str, Any]) -> Any:
    # A program of its own: multiprocessing would import the user's main module, which may not expect it.
    import cloudpickle

    code = f"import sys, cloudpickle\nfrom {__name__} import _answer\n_answer(cloudpickle.load(sys.stdin.buffer))"
    command = [sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}\n{code}"]
    done = subprocess.run(command, input=cloudpickle.dumps(arguments), capture_output=True, check=False)
    if done.returncode:
        raise PoolError(f"measuring in a new process failed:\n{done.stderr.decode(errors='replace').strip()}")
    answer = json.loads(done.stdout.splitlines()[-1])
    if isinstance(answer, dict):
        raise error_from(answer)
    mean, rate, memory, cpu = answer
    return BenchmarkResult(mean, rate, MemoryInfo(*memory), cpu)


def _answer(arguments: dict[str, Any]) -> None:
    """What the new process does."""
    try:
        answer: Any = _measured(**arguments)
    except Exception as error:  # noqa: BLE001  # the parent is told
        answer = error_header(error)
    print(json.dumps(answer))
