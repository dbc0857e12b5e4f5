"""What importing tfpetastorm, with what a training script uses of it, adds to importing TensorFlow."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

from benchmarks.measure import Round

#: What it may add, in seconds.
ALLOWED_SECONDS = 0.3

# Every public name, and the folders that other packages' users come through: each is loaded when first used.
_PROGRAM = """
import tensorflow
import time
began = time.perf_counter()
import tfpetastorm
for name in tfpetastorm._HOMES:
    getattr(tfpetastorm, name)
import tfpetastorm.tfmd, tfpetastorm.tfxio, tfpetastorm.tfx
print("seconds", time.perf_counter() - began)
"""


def play(rounds: int) -> Iterator[Round]:
    """Each round in a fresh interpreter, after one that is not counted: imports a second, ours and allowed."""
    quiet = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    for number in range(rounds + 1):
        done = subprocess.run([sys.executable, "-c", _PROGRAM], check=True, capture_output=True, text=True, env=quiet)
        seconds = float(done.stdout.rpartition("seconds ")[2])
        if number:
            yield Round(1 / seconds, 1 / ALLOWED_SECONDS)
