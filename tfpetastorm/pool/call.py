"""A call in a process of its own, which ends with it: whatever memory it leaked is the system's again."""

from __future__ import annotations

import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import cloudpickle

from tfpetastorm.errors import PoolError

_T = TypeVar("_T")
_CHILD = """
import pickle, sys
given, answer = sys.argv[1:]
with open(given, "rb") as file:
    sys.path[:] = pickle.load(file)
    function, args, kwargs = pickle.load(file)
import cloudpickle
try:
    result = (True, function(*args, **kwargs))
except Exception as error:
    result = (False, error)
with open(answer, "wb") as file:
    file.write(cloudpickle.dumps(result))
"""


def run_in_subprocess(func: Callable[..., _T], *args: Any, **kwargs: Any) -> _T:
    """What `func(*args, **kwargs)` returns or raises in a new process.

    Any function will do, lambdas too, if it, its arguments and its result can be pickled by cloudpickle. The process
    is a fresh interpreter: it shares no threads or locks with this one, as a fork would, and the main module's own code
    is not run again. Raises PoolError if the process ends without an answer.
    """
    with tempfile.TemporaryDirectory(prefix="tfpetastorm-") as folder:
        given, answer = Path(folder, "call"), Path(folder, "answer")
        given.write_bytes(pickle.dumps(sys.path) + cloudpickle.dumps((func, args, kwargs)))
        done = subprocess.run([sys.executable, "-c", _CHILD, given, answer], check=False)
        if not answer.exists():
            raise PoolError(f"The process of {func!r} ended with code {done.returncode} before it could answer.")
        # Written by the user's own function, a moment ago.
        good, result = pickle.loads(answer.read_bytes())  # noqa: S301
    if not good:
        raise result
    value: _T = result
    return value
