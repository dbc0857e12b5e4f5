"""run_in_subprocess: a call in a process of its own."""

from __future__ import annotations

import os

import pytest

from tfpetastorm.errors import PoolError
from tfpetastorm.utils import run_in_subprocess


def test_what_it_returns_and_where_it_ran() -> None:
    assert run_in_subprocess(lambda a, b=1: (a * b, os.getpid() != a), 6, b=7) == (42, True)
    assert run_in_subprocess(os.getpid) != os.getpid()


def test_what_it_raises() -> None:
    with pytest.raises(ZeroDivisionError):
        run_in_subprocess(lambda: 1 // 0)


def test_a_process_that_dies() -> None:
    with pytest.raises(PoolError, match="code 3"):
        run_in_subprocess(os._exit, 3)
