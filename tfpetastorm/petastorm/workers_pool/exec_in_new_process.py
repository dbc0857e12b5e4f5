"""`petastorm.workers_pool.exec_in_new_process`: replaced. Each name says by an error what to call."""

from __future__ import annotations

from typing import Any, NoReturn

from tfpetastorm.errors import ReplacedError


def exec_in_new_process(func: Any, *args: Any, **kargs: Any) -> NoReturn:
    """Replaced: raises ReplacedError, which shows the new call."""
    raise ReplacedError(
        "exec_in_new_process is replaced: run_in_subprocess(func, *args) of tfpetastorm.utils gives its result; "
        "multiprocessing.get_context('spawn').Process(target=func, args=args) gives a process."
    )
