"""Which process of how many this one is, by what Horovod, MPI or TensorFlow put into the environment."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from tfpetastorm.errors import DatasetWarning

#: The rank and the size, by launcher: Horovod, Open MPI, and MPICH, Intel MPI or Slurm's.
_VARIABLES = (
    ("HOROVOD_RANK", "HOROVOD_SIZE"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("PMI_RANK", "PMI_SIZE"),
)


def mpi_rank() -> tuple[int, int] | None:
    """(rank, size) by Horovod or MPI; None where neither says both."""
    for rank, size in _VARIABLES:
        found = os.environ.get(rank), os.environ.get(size)
        if found[0] is not None and found[1] is not None:
            try:
                return int(found[0]), int(found[1])
            except ValueError:
                return None
        if found != (None, None):
            return None
    return None


def cluster_rank() -> tuple[int, int] | None:
    """(rank, size) among the workers of TF_CONFIG, of which the chief is the first; None where it names none, or this
    process is none of them."""
    try:
        told = json.loads(os.environ.get("TF_CONFIG", "{}"))
        cluster, task = told["cluster"], told["task"]
        chiefs = [name for name in ("chief", "master") if cluster.get(name)]
        workers = cluster.get("worker", ())
        kind, index = task["type"], int(task["index"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    # By address, or by index and address: a text would be counted by its letters.
    if not isinstance(workers, (list, tuple, dict)):
        return None
    size = len(chiefs) + len(workers)
    if kind in chiefs:
        return 0, size
    return (len(chiefs) + index, size) if kind == "worker" and 0 <= index < len(workers) else None


def launched_rank() -> tuple[int, int] | None:
    """(rank, size) by whatever started this process; None where nothing says so.

    A launcher of one process, which a machine's MPI may be for each worker of TF_CONFIG, does not know how many there
    are.
    """
    launched = mpi_rank()
    return launched if launched is not None and launched[1] != 1 else cluster_rank() or launched


#: Whether who calls has looked already, so that one mistake is told once.
_CHECKED: ContextVar[bool] = ContextVar("_CHECKED", default=False)


@contextmanager
def launcher_checked() -> Iterator[None]:
    """Within the block `agrees_with_launcher` says nothing: for who makes a reader of shards that were checked."""
    token = _CHECKED.set(True)
    try:
        yield
    finally:
        _CHECKED.reset(token)


def agrees_with_launcher(
    index: int | None, count: int | None, stacklevel: int = 2, form: str = "cur_shard={}, shard_count={}"
) -> bool:
    """Whether these are this process' rank and their number, as far as the environment tells; if not, warns.

    A launcher of one process knows of no others, so nothing disagrees with it; nor does 0 of 1, asked for in so many
    words, which is every row in every process. form: how a shard is written where it is given, for the message.
    """
    launched = launched_rank()
    if _CHECKED.get() or launched is None or launched[1] == 1 or (index, count) in (launched, (0, 1)):
        return True
    given = "no shard is given" if index is None and count is None else f"{form.format(index, count)} is given"
    warnings.warn(
        f"This process is rank {launched[0]} of {launched[1]} (by Horovod, MPI or TF_CONFIG), but {given}, so that "
        f"processes read the same rows, or not all. For a part of its own give {form.format(*launched)}; if each is to "
        f"read every row, {form.format(0, 1)}.",
        DatasetWarning,
        stacklevel=stacklevel + 1,
    )
    return False
