"""`petastorm-throughput.py`: `python -m tfpetastorm.benchmark.cli`. `tfpetastorm throughput` tells more."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from .throughput import ReadMethod, WorkerPoolType, reader_throughput


def main() -> None:
    """Measures what the command line says."""
    _main(sys.argv[1:])


def _main(args: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description="Measures the throughput of a reader.")
    parser.add_argument("dataset_path", help="the dataset")
    parser.add_argument("--field-regex", nargs="+", help="read the fields that match one of these")
    parser.add_argument("-w", "--workers-count", type=int, default=3, help="workers")
    parser.add_argument(
        "-p", "--pool-type", type=WorkerPoolType, choices=list(WorkerPoolType), default=WorkerPoolType.THREAD
    )
    parser.add_argument("-m", "--warmup-cycles", type=int, default=200, help="samples before measuring")
    parser.add_argument("-n", "--measure-cycles", type=int, default=1000, help="samples to measure")
    parser.add_argument("--profile-threads", action="store_true", help="not used")
    parser.add_argument("-d", "--read-method", type=ReadMethod, choices=list(ReadMethod), default=ReadMethod.PYTHON)
    parser.add_argument("-q", "--shuffling-queue-size", type=int, default=500, help="of --read-method tf")
    parser.add_argument("--min-after-dequeue", type=int, help="not used")
    parser.add_argument("-v", action="store_true", help="log at the level INFO")
    parser.add_argument("-vv", action="store_true", help="log at the level DEBUG")
    options = parser.parse_args(args)
    logging.basicConfig()
    if options.v or options.vv:
        logging.getLogger().setLevel(logging.DEBUG if options.vv else logging.INFO)
    found = reader_throughput(
        options.dataset_path,
        options.field_regex,
        warmup_cycles_count=options.warmup_cycles,
        measure_cycles_count=options.measure_cycles,
        pool_type=options.pool_type,
        loaders_count=options.workers_count,
        profile_threads=options.profile_threads,
        read_method=options.read_method,
        shuffling_queue_size=options.shuffling_queue_size,
    )
    print(
        f"Average sample read rate: {found.samples_per_second:1.2f} samples/sec; "
        f"RAM {found.memory_info.rss / 2**20:1.2f} MB (rss); CPU {found.cpu:1.2f}%"
    )


if __name__ == "__main__":
    main()
