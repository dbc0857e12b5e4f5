"""`petastorm.workers_pool.worker_base`: replaced. Each name says by an error what to call."""

from __future__ import annotations

from typing import Any

from tfpetastorm.errors import ReplacedError


class WorkerBase:
    """Replaced: raises ReplacedError, which shows the new call."""

    def __init__(self, *_: Any, **__: Any) -> None:
        raise ReplacedError(
            "WorkerBase is replaced: what workers should do with rows is a transform: "
            "make_reader(url, transform_spec=TransformSpec(function)), or make_dataset(url, transform=function)."
        )
