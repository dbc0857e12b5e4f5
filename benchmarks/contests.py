"""The contests: what of ours runs against which reference, over which data, and the ratio aimed at.

Each runs in a process of its own (`python -m benchmarks.contests NAME`), so that none inherits another's threads,
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

from benchmarks import references
from benchmarks.datasets import NUMERIC, STRING, dataset
from benchmarks.measure import Outcome, Round, alternate, time_call, time_dataset

EVERYTHING = [*NUMERIC, STRING]


@dataclass(frozen=True)
class Contest:
    """One contest. play: (scale of the data, rounds) to the rounds, as they end. needs: its datasets."""

    title: str
    unit: str
    target: float | None
    needs: tuple[str, ...]
    play: Callable[[float, int], Iterator[Round]]


def _ours(name: str, scale: float, **options: Any) -> Any:
    import tfpetastorm as tps

    return tps.make_dataset(str(dataset(name, scale)[0]), **options)


def _against_tfrecord(
    fields: list[str], reference: Callable[[Any, list[str], int], Any]
) -> Callable[[float, int], Iterator[Round]]:
    def play(scale: float, rounds: int) -> Iterator[Round]:
        ours = _ours("tabular", scale, fields=fields, batch_size=1024)
        theirs = reference(dataset("tabular_tfrecord", scale)[0], fields, 1024)
        yield from alternate(lambda: time_dataset(ours), lambda: time_dataset(theirs), rounds)

    return play


def _against_parquet(scale: float, rounds: int) -> Iterator[Round]:
    # Five epochs: a single one takes a tenth of a second, too little to time on a busy machine.
    epochs = 5
    ours = _ours("tabular", scale, fields=NUMERIC, batch_size=8192, epochs=epochs)
    folder = dataset("tabular", scale)[0]

    def reference() -> int:
        return sum(references.parquet_to_numpy(folder, NUMERIC) for _ in range(epochs))

    yield from alternate(lambda: time_dataset(ours), lambda: time_call(reference), rounds)


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
    "processes": Contest(
        "process pool v. thread pool, 18 columns in batches of 8,192",
        "rows", 0.4, ("tabular",), _processes_against_threads(8192),
    ),
    "processes-1024": Contest(
        "process pool v. thread pool, 18 columns in batches of 1,024",
        "rows", None, ("tabular",), _processes_against_threads(1024),
    ),
}  # fmt: skip


def main() -> None:
    """Plays one contest."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=CONTESTS)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    contest = CONTESTS[arguments.name]
    rounds = []
    for one in contest.play(arguments.scale, arguments.rounds):
        rounds.append(one)
        print(json.dumps({"round": asdict(one)}), flush=True)
    outcome = Outcome(contest.title, contest.unit, contest.target, tuple(rounds))
    print(json.dumps({"outcome": outcome.to_json()}), flush=True)


if __name__ == "__main__":
    main()
