"""Iterators that are saved in one process and go on in another."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PROGRAM = """
import json, sys
import tensorflow as tf
import tfpetastorm as tps

make, values, take, saves, restores = json.loads(sys.argv[1])

def begun():
    names = dict(values, tf=tf, tps=tps)
    exec(make, names)
    return iter(names["dataset"])

def batches(iterator, count):
    found = []
    while len(found) < count and (batch := next(iterator, None)) is not None:
        found.append(batch["id"].numpy().tolist())
    return found

saved, results = [], []
if restores:
    for path, count in restores:
        iterator = begun()
        tf.train.Checkpoint(iterator=iterator).restore(path).assert_consumed()
        results.append(batches(iterator, count))
else:
    iterator = begun()
    for step, path in saves:
        results += batches(iterator, step - len(results))
        saved.append(tf.train.Checkpoint(iterator=iterator).save(path))
    results += batches(iterator, take - len(results))
print("RESULT" + json.dumps([results, saved]))
"""


def _run(make: str, values: Mapping[str, Any], take: int, saves: Any, restores: Any) -> Any:
    arguments = json.dumps([make, values, take, saves, restores])
    done = subprocess.run([sys.executable, "-c", PROGRAM, arguments], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.split("RESULT")[1])


def goes_on_exactly(make: str, values: Mapping[str, Any], take: int, steps: Sequence[int], folder: Path) -> bool:
    """Whether a dataset's iterator, saved after each of `steps` batches, gives in a new process what it would have.

    make: code that gives `dataset`, from `values`, `tf` and `tps`; its elements have an "id". take: all batches asked
    for. An iterator that is saved on its way is held against one that never was.
    """
    whole, _ = _run(make, values, take, [], [])
    passed, saved = _run(make, values, take, [(step, str(folder / str(step))) for step in steps], [])
    rests, _ = _run(make, values, 0, [], [(path, take - step) for path, step in zip(saved, steps, strict=True)])
    assert len(whole) > max(steps)
    assert passed == whole
    return [passed[:step] + rest for step, rest in zip(steps, rests, strict=True)] == [whole] * len(steps)
