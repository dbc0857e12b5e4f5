"""`tfpetastorm throughput URL`: how fast a dataset is read here, by which stage, and what that takes."""

from __future__ import annotations

import argparse
import itertools
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

import tfpetastorm
from tfpetastorm.cli.condition import conditions
from tfpetastorm.cli.shared import bar, count, open_stored, page, parts
from tfpetastorm.cli.text import printable, size_text
from tfpetastorm.cli.usage import Usage, Watch
from tfpetastorm.errors import OptionError
from tfpetastorm.feed.elements import SourceStats
from tfpetastorm.pool.options import PoolOptions, available_cores
from tfpetastorm.redaction import redact

METHODS = ("make_dataset", "make_reader", "make_batch_reader")
#: So many rows are taken between two looks at the clock.
_STEP = 64
_BAR = 30


@dataclass(frozen=True)
class Throughput:
    """What was measured, after the warm-up.

    cycles: elements: rows of `make_reader`, else batches. wait_seconds: time the consumer waited for workers.
    stages: seconds of all workers together, by stage. bytes_fetched: compressed bytes of column chunks.
    """

    method: str
    pool: str
    workers: int
    warmup_cycles: int
    cycles: int
    rows: int
    seconds: float
    wait_seconds: float
    stages: dict[str, float]
    bytes_fetched: int
    usage: Usage

    @property
    def rows_per_second(self) -> float:
        """Rows a second of wall time."""
        return self.rows / self.seconds if self.seconds else 0.0

    def to_json(self) -> dict[str, Any]:
        """The numbers as JSON values."""
        return {**asdict(self), "rows_per_second": self.rows_per_second}


def measure(
    url: Any,
    *,
    method: str = "make_dataset",
    fields: Sequence[str] | None = None,
    where: Any = None,
    pool: str = "thread",
    workers: int | None = None,
    shuffle: bool = False,
    batch_size: int = 256,
    warmup_cycles: int = 200,
    measure_cycles: int = 1000,
    seconds: float = 10.0,
    progress: Callable[[int, int], None] | None = None,
) -> Throughput:
    """Read `warmup_cycles` elements, then up to `measure_cycles`, for `seconds` at most (a warm-up: as long again), and
    tell how that went. The dataset is read again from its start as often as needed.

    method: one of `METHODS`; only "make_dataset" loads TensorFlow. pool: "thread", "process" or "inline".
    batch_size: of "make_dataset". The other arguments are as for these. Raises what reading raises, and OptionError
    where there is no row to read.
    """
    if method not in METHODS:
        raise OptionError(f"method={method!r} is none of {', '.join(METHODS)}.")
    workers = (1 if pool == "inline" else available_cores()) if workers is None else workers
    asked = _Asked(url, method, fields, where, PoolOptions(pool, workers), shuffle, batch_size)
    with ExitStack() as stack:
        source = (_dataset if method == "make_dataset" else _reader)(stack, asked)
        warm = _take(source, warmup_cycles, seconds, None)
        began, waited = source.stats().counts, source.stats().pool.wait_seconds
        with Watch() as watch:
            taken = _take(source, measure_cycles, seconds, progress)
        spent = source.stats()
    if not taken.elements:
        raise OptionError(f"{url} has no rows to read.")
    stages = {
        "fetch": spent.counts.fetch_seconds - began.fetch_seconds,
        "decode": spent.counts.decode_seconds - began.decode_seconds,
        "transform": spent.counts.transform_seconds - began.transform_seconds,
    }
    return Throughput(
        method=method,
        pool=pool,
        workers=workers,
        warmup_cycles=warm.elements,
        cycles=taken.elements,
        rows=taken.rows,
        seconds=taken.seconds,
        wait_seconds=spent.pool.wait_seconds - waited,
        stages=stages,
        bytes_fetched=spent.counts.bytes_fetched - began.bytes_fetched,
        usage=watch.usage,
    )


@dataclass(frozen=True)
class _Asked:
    url: Any
    method: str
    fields: Sequence[str] | None
    where: Any
    pool: PoolOptions
    shuffle: bool
    batch_size: int


@dataclass(frozen=True)
class _Taken:
    elements: int
    rows: int
    seconds: float


@dataclass(frozen=True)
class _Source:
    """elements: endless. rows_of: how many rows one has; None for one each. stats: what was read so far."""

    elements: Iterator[Any]
    rows_of: Callable[[Any], int] | None
    stats: Callable[[], SourceStats]


def _take(source: _Source, cycles: int, seconds: float, progress: Callable[[int, int], None] | None) -> _Taken:
    step = _STEP if source.rows_of is None else 1
    elements = rows = 0
    started = now = time.perf_counter()
    while elements < cycles and now - started < seconds:
        # Lists are filled in C, so that counting costs next to nothing.
        chunk = list(itertools.islice(source.elements, min(step, cycles - elements)))
        if not chunk:
            break
        elements += len(chunk)
        rows += len(chunk) if source.rows_of is None else sum(map(source.rows_of, chunk))
        now = time.perf_counter()
        if progress is not None:
            progress(elements, cycles)
    return _Taken(elements, rows, now - started)


def _dataset(stack: ExitStack, asked: _Asked) -> _Source:
    dataset = tfpetastorm.make_dataset(
        asked.url,
        fields=asked.fields,
        where=asked.where or None,
        batch_size=asked.batch_size,
        shuffle=asked.shuffle,
        nulls="mask",
        epochs=None,
        pool=asked.pool,
    )
    stack.callback(tfpetastorm.close, dataset)

    def rows_of(batch: Any) -> int:
        first = next(iter(batch.values()))
        return int(first.nrows() if hasattr(first, "nrows") else len(first))

    return _Source(iter(dataset), rows_of, lambda: tfpetastorm.stats(dataset))


def _reader(stack: ExitStack, asked: _Asked) -> _Source:
    batched = asked.method == "make_batch_reader"
    reader = stack.enter_context(
        (tfpetastorm.make_batch_reader if batched else tfpetastorm.make_reader)(
            asked.url,
            schema_fields=asked.fields,
            filters=asked.where or None,
            reader_pool_type="dummy" if asked.pool.kind == "inline" else asked.pool.kind,
            workers_count=asked.pool.count,
            shuffle_rows=asked.shuffle,
            shuffle_row_groups=asked.shuffle,
            num_epochs=None,
        )
    )
    elements = reader.engine.elements
    if elements is None:
        raise OptionError(f"{asked.url} has no rows to read.")
    return _Source(iter(reader), (lambda batch: len(batch[0])) if batched else None, lambda: elements.stats)


# ---------------------------------------------------------------- the command


def add_throughput(commands: Any, common: argparse.ArgumentParser) -> None:
    """Adds the command's parser. petastorm's own names of options work too."""
    parser = commands.add_parser(
        "throughput", parents=[common], help="how fast a dataset is read here, by which stage, and what that takes"
    )
    parser.add_argument("--method", choices=METHODS, default="make_dataset", help="what reads it (make_dataset)")
    parser.add_argument("--fields", action="append", metavar="NAME,…", help="names or regular expressions of fields")
    parser.add_argument("--field-regex", nargs="+", action="extend", metavar="REGEX", help="the same, one a word")
    parser.add_argument("--where", action="append", default=[], metavar="CONDITION", help="rows to read, as in `head`")
    parser.add_argument(
        "-p", "--pool", "--pool-type", choices=["thread", "process", "inline", "dummy"], default="thread",
        help="where read tasks run (thread)",
    )  # fmt: skip
    parser.add_argument("-w", "--workers", "--workers-count", type=count, metavar="N", help="workers (one a core)")
    parser.add_argument("--shuffle", action="store_true", help="shuffle rows and row groups")
    parser.add_argument("--batch-size", type=count, default=256, metavar="ROWS", help="of make_dataset (256)")
    parser.add_argument("-m", "--warmup-cycles", type=_cycles, default=200, metavar="N", help="elements before (200)")
    parser.add_argument("-n", "--measure-cycles", type=count, default=1000, metavar="N", help="elements (1000)")
    parser.add_argument("--seconds", type=float, default=10.0, help="stop after so long all the same (10)")
    parser.add_argument("--json", action="store_true", help="one JSON object, for programs")
    parser.set_defaults(run=_throughput)


def _cycles(text: str) -> int:
    return int(text) if text == "0" else count(text)


def _throughput(options: argparse.Namespace) -> None:
    # TensorFlow greets whoever loads it with lines about its build.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    where = conditions(options.where, open_stored(options).schema) if options.where else None
    fields = [*(parts(options.fields) if options.fields else ()), *(options.field_regex or ())]
    with bar("Reading") as progress:
        found = measure(
            options.url,
            method=options.method,
            fields=fields or None,
            where=where,
            pool="inline" if options.pool == "dummy" else options.pool,
            workers=options.workers,
            shuffle=options.shuffle,
            batch_size=options.batch_size,
            warmup_cycles=options.warmup_cycles,
            measure_cycles=options.measure_cycles,
            seconds=options.seconds,
            progress=progress,
        )
    if options.json:
        print(json.dumps(found.to_json(), indent=2))
    else:
        with page() as console:
            show_throughput(found, redact(str(options.url)), console)


def show_throughput(found: Throughput, url: str, console: Console) -> None:
    """Prints an overview and how long each stage took, with bars."""
    workers = "in the calling thread" if found.pool == "inline" else f"{found.workers} {_WORKERS[found.pool]}"
    console.print(Text(printable(url), style="bold"))
    overview = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    overview.add_column(style="dim", no_wrap=True)
    overview.add_column(overflow="fold")
    unit = "rows" if found.method == "make_reader" else "batches"
    overview.add_row("read by", f"{found.method}, {workers}")
    overview.add_row("measured", f"{found.cycles:,} {unit} in {found.seconds:.3g} s, after {found.warmup_cycles:,}")
    overview.add_row("rows a second", Text(f"{found.rows_per_second:,.0f}", style="bold"))
    overview.add_row("fetched", f"{size_text(int(found.bytes_fetched / found.seconds))} a second, as stored")
    overview.add_row("CPU", f"{100 * found.usage.cpu_seconds / found.seconds:.0f} % ({available_cores()} cores)")
    others = found.usage.workers_rss
    beside = f", {size_text(others)} by {found.usage.workers} worker processes" if others else ""
    overview.add_row("memory", f"{size_text(found.usage.own_rss)} at most{beside}")
    console.print(overview)
    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column("stage", no_wrap=True)
    table.add_column("seconds", justify="right", no_wrap=True)
    table.add_column("a row", justify="right", no_wrap=True)
    table.add_column("share of the time", no_wrap=True)
    given = max(0.0, found.seconds - found.wait_seconds)
    lines = [(name, spent, found.seconds * found.workers) for name, spent in found.stages.items()]
    lines += [("wait", found.wait_seconds, found.seconds), ("take", given, found.seconds)]
    for name, spent, whole in lines:
        share = min(1.0, spent / whole)
        table.add_row(
            name, f"{spent:.3f}", f"{1e6 * spent / max(1, found.rows):,.2f} µs",
            Text(f"{_blocks(share)} {100 * share:.0f} %"), style="yellow" if name == _slowest(found) else "",
        )  # fmt: skip
    console.print(table)
    console.print(
        Text(
            "fetch, decode, transform: of the time of all workers. wait: for workers. take: making elements of what "
            "workers gave, and what you do with them.",
            style="dim",
        )
    )


_WORKERS = {"thread": "threads", "process": "processes"}


def _slowest(found: Throughput) -> str:
    return max(found.stages, key=lambda name: found.stages[name])


def _blocks(share: float) -> str:
    """A bar of eighths."""
    eighths = round(share * _BAR * 8)
    return ("█" * (eighths // 8) + " ▏▎▍▌▋▊▉"[eighths % 8].strip()).ljust(_BAR)
