"""`petastorm.workers_pool.exec_in_new_process_entrypoint`: replaced; it was the program of petastorm's workers."""

from __future__ import annotations

from typing import NoReturn

from tfpetastorm.errors import ReplacedError


def __getattr__(name: str) -> NoReturn:
    if name.startswith("__"):
        raise AttributeError(name)
    raise ReplacedError(
        f"{name} is replaced: make_reader(url, reader_pool_type='process') starts its own workers; "
        "tfpetastorm.utils.run_in_subprocess(func, *args) runs a function of yours in a new process."
    )
