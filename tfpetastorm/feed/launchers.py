"""Which process of how many this one is, by what Horovod, MPI or TensorFlow put into the environment."""

from __future__ import annotations

import json
import os
import warnings

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
        size = len(chiefs) + len(cluster.get("worker", ()))
        kind, index = task["type"], int(task["index"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    if kind in chiefs:
        return 0, size
    return (len(chiefs) + index, size) if kind == "worker" else None


def launched_rank() -> tuple[int, int] | None:
    """(rank, size) by whatever started this process; None where nothing says so."""
    return mpi_rank() or cluster_rank()


def agrees_with_launcher(cur_shard: int | None, shard_count: int | None, stacklevel: int = 2) -> bool:
    """Whether these are this process' rank and their number, as far as the environment tells; if not, warns."""
    launched = launched_rank()
    if launched is None or launched == (cur_shard, shard_count):
        return True
    rank, size = launched
    if size == 1 and shard_count in (None, 1):
        return True
    given = "neither cur_shard nor shard_count is given"
    if cur_shard is not None or shard_count is not None:
        given = f"cur_shard={cur_shard} and shard_count={shard_count} are given"
    warnings.warn(
        f"This process is rank {rank} of {size} (by Horovod, MPI or TF_CONFIG), but {given}, so that processes read "
        f"the same rows, or not all. For a part of its own give cur_shard={rank}, shard_count={size}.",
        DatasetWarning,
        stacklevel=stacklevel + 1,
    )
    return False
