"""The contests: what of ours runs against which reference, over which data, and the ratio aimed at.

Each should run in a process of its own (`python -m benchmarks.contests NAME`), so that none inherits another's threads,
and prints its rounds and at last its outcome as lines of JSON.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks import (
    caching,
    drive,
    importing,
    petastorm_rows,
    planning,
    references,
    seeking,
    spark_writing,
    stores,
    tfx_reading,
)
from benchmarks.datasets import NUMERIC, STRING, dataset
from benchmarks.measure import Outcome, Pass, Round, alternate, time_call, time_dataset

EVERYTHING = [*NUMERIC, STRING]
#: Rows that are mixed with one another: a fifth of the tabular set.
BLOCK_ROWS = 400_000


@dataclass(frozen=True)
class Contest:
    """One contest. play: (scale of the data, rounds) to the rounds, as they end. needs: its datasets. package: what it
    needs beside the extra `bench`; where that is missing, the contest is left out."""

    title: str
    unit: str
    target: float | None
    needs: tuple[str, ...]
    play: Callable[[float, int], Iterator[Round]]
    package: str | None = None

    @property
    def possible(self) -> bool:
        """Whether what it needs is installed."""
        return self.package is None or importlib.util.find_spec(self.package) is not None


def _ours(name: str, scale: float, **options: Any) -> Any:
    import tfpetastorm as tps

    return tps.make_dataset(str(dataset(name, scale)[0]), **options)


def _mixed(scale: float) -> dict[str, Any]:
    """The options of a thorough shuffle: blocks shrink with the data, so that little data is mixed alike."""
    import tfpetastorm as tps

    return {"shuffle": tps.Shuffle(block_rows=max(1, round(BLOCK_ROWS * scale))), "seed": 7}


def _against_tfrecord(
    fields: list[str], reference: Callable[[Any, list[str], int], Any], *, shuffled: bool = False
) -> Callable[[float, int], Iterator[Round]]:
    def play(scale: float, rounds: int) -> Iterator[Round]:
        mixing = _mixed(scale) if shuffled else {}
        ours = _ours("tabular", scale, fields=fields, batch_size=1024, **mixing)
        theirs = reference(dataset("tabular_tfrecord", scale)[0], fields, 1024)
        yield from alternate(lambda: time_dataset(ours), lambda: time_dataset(theirs), rounds)

    return play


def _shuffled_against_unshuffled(scale: float, rounds: int) -> Iterator[Round]:
    # Five epochs, as below.
    options: dict[str, Any] = {"fields": NUMERIC, "batch_size": 1024, "epochs": 5}
    mixed = _ours("tabular", scale, **options, **_mixed(scale))
    stored = _ours("tabular", scale, **options)
    yield from alternate(lambda: time_dataset(mixed), lambda: time_dataset(stored), rounds)


def _ngrams_against_rows(kind: str) -> Callable[[float, int], Iterator[Round]]:
    def play(scale: float, rounds: int) -> Iterator[Round]:
        import tfpetastorm as tps

        along: dict[str, Any] = {
            "timestamp_field": "timestamp", "delta_threshold": drive.STEP, "sequence_field": "run_id"
        }  # fmt: skip
        five = tps.Window(5, **along) if kind == "window" else tps.NGram({k: [".*"] for k in range(5)}, **along)
        options: dict[str, Any] = {"batch_size": 32, "nulls": {"label": -1}}
        # Each side counts what it gives: windows across a gap, about one in fourteen, are decoded but don't count.
        grams = _ours("drive", scale, ngram=five, **options)
        rows = _ours("drive", scale, **options)
        yield from alternate(lambda: time_dataset(grams), lambda: time_dataset(rows), rounds)

    return play


def _against_parquet(scale: float, rounds: int) -> Iterator[Round]:
    # Five epochs: a single one takes a tenth of a second, too little to time on a busy machine.
    epochs = 5
    ours = _ours("tabular", scale, fields=NUMERIC, batch_size=8192, epochs=epochs)
    folder = dataset("tabular", scale)[0]

    def reference() -> int:
        return sum(references.parquet_to_numpy(folder, NUMERIC) for _ in range(epochs))

    yield from alternate(lambda: time_dataset(ours), lambda: time_call(reference), rounds)


def _last_step_against_first(scale: float, rounds: int) -> Iterator[Round]:
    yield from seeking.play(
        dataset("tabular", scale)[0], {"fields": NUMERIC, "batch_size": 1024, **_mixed(scale)}, rounds
    )


def _against_opencv(scale: float, rounds: int) -> Iterator[Round]:
    if importlib.util.find_spec("simplejpeg") is None:
        raise RuntimeError("the extra jpeg is not installed: pip install .[bench]")
    yield from _decoding_jpegs(scale, rounds)


def _opencv_against_itself(scale: float, rounds: int) -> Iterator[Round]:
    # Each contest has a process of its own: hiding the extra hides it from no other.
    sys.modules["simplejpeg"] = None  # type: ignore[assignment]
    yield from _decoding_jpegs(scale, rounds)


def _decoding_jpegs(scale: float, rounds: int) -> Iterator[Round]:
    ours = _ours("images", scale, fields=["image", "label"], batch_size=64)
    encoded = references.jpegs_in_memory(dataset("images", scale)[0])
    yield from alternate(
        lambda: time_dataset(ours), lambda: time_call(lambda: references.decode_jpegs(encoded)), rounds
    )


def _processes_against_threads(batch_size: int) -> Callable[[float, int], Iterator[Round]]:
    def play(scale: float, rounds: int) -> Iterator[Round]:
        # Ten epochs in one pass: the time to start processes is a second or so, once in a training run.
        sides = [
            _ours("tabular", scale, fields=NUMERIC, batch_size=batch_size, epochs=10, pool=pool)
            for pool in ("process", "thread")
        ]
        yield from alternate(lambda: time_dataset(sides[0]), lambda: time_dataset(sides[1]), rounds, steady=True)

    return play


def _against_petastorm(scale: float, rounds: int) -> Iterator[Round]:
    import tfpetastorm as tps

    folder, shards = dataset("tabular", scale)[0], petastorm_rows.shards_of(scale)

    def ours() -> int:
        with tps.make_reader(str(folder), cur_shard=0, shard_count=shards, workers_count=2) as reader:
            return sum(1 for _ in reader)

    yield from alternate(lambda: time_call(ours), lambda: Pass(*petastorm_rows.read(folder.as_uri(), shards)), rounds)


_TFRECORDS = ("tabular", "tabular_tfrecord")
CONTESTS = {
    "tfrecord-18": Contest(
        "18 numeric columns in batches of 1,024 v. TFRecord, interleaved",
        "rows", 20, _TFRECORDS, _against_tfrecord(NUMERIC, references.tfrecord_parallel),
    ),
    "tfrecord-19": Contest(
        "and the string column v. TFRecord, interleaved",
        "rows", 10, _TFRECORDS, _against_tfrecord(EVERYTHING, references.tfrecord_parallel),
    ),
    "tfrecord-18-per-file": Contest(
        "18 numeric columns in batches of 1,024 v. TFRecord, per-file batches",
        "rows", None, _TFRECORDS, _against_tfrecord(NUMERIC, references.tfrecord_per_file),
    ),
    "tfrecord-19-per-file": Contest(
        "and the string column v. TFRecord, per-file batches",
        "rows", None, _TFRECORDS, _against_tfrecord(EVERYTHING, references.tfrecord_per_file),
    ),
    "shuffled": Contest(
        "shuffled over 400,000 rows, 18 columns, batches of 1,024 v. TFRecord, shuffle(10,000)",
        "rows", 15, _TFRECORDS, _against_tfrecord(NUMERIC, references.tfrecord_shuffled, shuffled=True),
    ),
    "shuffled-19": Contest(
        "and the string column v. TFRecord, shuffle(10,000)",
        "rows", None, _TFRECORDS, _against_tfrecord(EVERYTHING, references.tfrecord_shuffled, shuffled=True),
    ),
    "shuffled-unshuffled": Contest(
        "shuffled over 400,000 rows, 18 columns, batches of 1,024 v. the same unshuffled",
        "rows", 0.5, ("tabular",), _shuffled_against_unshuffled,
    ),
    "ngrams": Contest(
        "n-grams of 5, camera and lidar, v. rows of the same fields",
        "n-grams", 0.8, ("drive",), _ngrams_against_rows("ngram"),
    ),
    "windows": Contest(
        "windows of 5, stacked, v. rows of the same fields",
        "windows", None, ("drive",), _ngrams_against_rows("window"),
    ),
    "seek": Contest(
        "first batch at an epoch's last step v. at its first (at most 1.2 × the time), shuffled",
        "starts", 1 / 1.2, ("tabular",), _last_step_against_first,
    ),
    "plan-time": Contest(
        "plan of 1,000,000 row groups and 1,024 shards v. a second",
        "plans", 1, (), planning.against_a_second,
    ),
    "plan-memory": Contest(
        "the same: 500 MB v. the process's peak",
        "processes in 500 MB", 1, (), planning.against_500_mb,
    ),
    "rows": Contest(
        "make_reader, a namedtuple a row of 19 columns, v. petastorm's",
        "rows", 20, ("tabular",), _against_petastorm,
    ),
    "parquet": Contest(
        "18 numeric columns in batches of 8,192 v. Parquet to NumPy, 2 threads",
        "rows", 0.5, ("tabular",), _against_parquet,
    ),
    "jpeg": Contest(
        "224 × 224 JPEGs in batches of 64 v. OpenCV from memory, 2 threads",
        "images", 0.9, ("images",), _against_opencv,
    ),
    "jpeg-opencv": Contest(
        "the same without the extra jpeg: OpenCV v. OpenCV from memory",
        "images", None, ("images",), _opencv_against_itself,
    ),
    "disk-cache": Contest(
        "224 × 224 JPEGs, an epoch from the disk cache v. the first, which fills it",
        "images", 3, ("images",), caching.second_against("filling"),
    ),
    "disk-cache-plain": Contest(
        "224 × 224 JPEGs, an epoch from the disk cache v. one without a cache",
        "images", None, ("images",), caching.second_against("plain"),
    ),
    "object-store": Contest(
        "224 × 224 JPEGs from S3 with 50 ms of latency a request v. the local disk",
        "images", 0.7, ("images",), stores.against_local("images", 5, fields=["image", "label"], batch_size=64),
    ),
    "object-store-processes": Contest(
        "the same in a process pool",
        "images", None, ("images",),
        stores.against_local("images", 5, fields=["image", "label"], batch_size=64, pool="process"),
    ),
    "object-store-columns": Contest(
        "18 numeric columns in batches of 8,192, the same way",
        "rows", None, ("tabular",), stores.against_local("tabular", 5, fields=NUMERIC, batch_size=8192),
    ),
    "processes": Contest(
        "process pool v. thread pool, 18 columns in batches of 8,192",
        "rows", 0.4, ("tabular",), _processes_against_threads(8192),
    ),
    "processes-1024": Contest(
        "process pool v. thread pool, 18 columns in batches of 1,024",
        "rows", None, ("tabular",), _processes_against_threads(1024),
    ),
    "spark-rows": Contest(
        "Spark writes 200,000 rows of scalars and an array by columns v. by rows",
        "rows", 1.5, (), spark_writing.columns_against_rows(spark_writing.SMALL),
    ),
    "spark-pictures": Contest(
        "Spark writes 4,000 arrays of 100 kB by columns v. by rows",
        "arrays", 1, (), spark_writing.columns_against_rows(spark_writing.LARGE),
    ),
    "spark-memory": Contest(
        "the same by columns: 400 MB v. the peak of a Python worker",
        "workers in 400 MB", 1, (), spark_writing.workers_in_bounds,
    ),
    "tfxio": Contest(
        "UnischemaTFXIO's tensors v. tfx-bsl's of tf.Examples, 19 columns",
        "rows", 1, _TFRECORDS, tfx_reading.tensors(shuffle=False), "tfx_bsl",
    ),
    "tfxio-shuffled": Contest(
        "the same, shuffled by TFX's defaults",
        "rows", 1, _TFRECORDS, tfx_reading.tensors(shuffle=True), "tfx_bsl",
    ),
    "tfxio-beam": Contest(
        "BeamSource of Parquet v. of tf.Examples, 19 columns",
        "rows", 1, _TFRECORDS, tfx_reading.beam_source, "tfx_bsl",
    ),
    "import": Contest(
        "0.3 s v. what importing all of tfpetastorm adds to TensorFlow",
        "imports", 1, (), lambda scale, rounds: importing.play(rounds),
    ),
}  # fmt: skip


def main() -> None:
    """Plays one contest, or several one after the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", choices=CONTESTS, metavar="NAME")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    for name in arguments.names:
        contest = CONTESTS[name]
        rounds = []
        for one in contest.play(arguments.scale, arguments.rounds):
            rounds.append(one)
            print(json.dumps({"round": asdict(one)}), flush=True)
        outcome = Outcome(contest.title, contest.unit, contest.target, tuple(rounds))
        print(json.dumps({"outcome": outcome.to_json()}), flush=True)


if __name__ == "__main__":
    main()
