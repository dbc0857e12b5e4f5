"""What `shard=` means: which of how many shards a process reads, told by the user or by TensorFlow's strategy."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from tfpetastorm.errors import OptionError, describe
from tfpetastorm.feed.launchers import agrees_with_launcher, mpi_rank
from tfpetastorm.plan.numbers import whole_number

#: Jobs of a cluster whose tasks train; the others are parameter servers and evaluators.
_TRAINING = ("chief", "worker")

#: Strategies that run datasets on other hosts, by their class.
_REMOTE = (
    tf.distribute.ParameterServerStrategy,
    tf.distribute.TPUStrategy,
    tf.distribute.experimental.TPUStrategy,
)

_WAYS = '"auto", (index, count) or a tf.distribute.InputContext'


@dataclass(frozen=True)
class ShardChoice:
    """A shard, and how the batches that it gives are used.

    index, count: shard `index` of `count`.
    replicas: the replicas that this shard feeds. One step takes a batch for each of them: a batch for each from the
        dataset (a dataset function of `InputContext`), or where `rebatched`, pieces that TensorFlow cuts.
    rebatched: TensorFlow cuts each batch that the dataset gives into `count * replicas` pieces, all of which go to
        the replicas of this shard (`fit` and `experimental_distribute_dataset` of a strategy with several workers).
        A global batch given by the dataset is then what this shard needs for `count` steps.
    """

    index: int
    count: int
    replicas: int = 1
    rebatched: bool = False

    @property
    def steps_of_element(self) -> int:
        """Steps of a strategy that one batch of this dataset is enough for; where several batches make one step, 1."""
        return self.count if self.rebatched else 1

    @property
    def pieces(self) -> int:
        """Pieces of equal size into which the rows that this shard gives at once have to divide, the last ones too:
        a replica must not be left without rows, nor the workers with different numbers of steps."""
        return self.replicas * self.steps_of_element

    def check_batch(self, batch_size: int | None) -> None:
        """Raises OptionError if global batches of this size can't be divided as this choice needs."""
        parts = self.count * self.replicas
        if not self.rebatched and self.replicas == 1:
            # Shards of unequal size are no trouble here: TensorFlow divides nothing.
            if batch_size is not None and batch_size < self.count:
                raise OptionError(
                    f"batch_size is that of the global batch: {batch_size} rows leave none for some of {self.count} "
                    f"shards. Use at least {self.count}."
                )
            return
        if batch_size is None:
            raise OptionError(
                f"Without batch_size there is nothing to divide among {parts} replicas: set batch_size, the size of "
                "the global batch."
            )
        if batch_size % parts:
            down, up = batch_size // parts * parts, -(-batch_size // parts) * parts
            raise OptionError(
                describe(
                    "batch_size, the size of the global batch, has to be a multiple of the number of replicas",
                    expected=f"a multiple of {parts}",
                    found=batch_size,
                    remedy=f"Use {down} or {up}." if down else f"Use {up}.",
                )
            )


def resolve_shard(shard: Any) -> ShardChoice:
    """The shard that `shard` means in this process, here and now.

    Args:
        shard: "auto": the shard of this worker of the `tf.distribute` strategy in scope, the only shard if it has one
            worker or there is none. `(index, count)`, or a `tf.distribute.InputContext`.

    Raises OptionError for anything else, and in the scope of a strategy that runs datasets in other processes.
    Warns (UserWarning) where TF_CONFIG names several workers, or Horovod or MPI several processes, and "auto" finds no
    strategy that has them, or `(index, count)` is not what they say. What a strategy decides is never doubted.
    """
    strategy = tf.distribute.get_strategy() if tf.distribute.has_strategy() else None
    if strategy is not None:
        _refuse_remote(strategy)
    if isinstance(shard, str) and shard == "auto":
        return _of_strategy(strategy)
    if isinstance(shard, tf.distribute.InputContext):
        return _of_context(shard)
    if isinstance(shard, (tuple, list)) and len(shard) == 2:
        count = whole_number("shard's count", shard[1], 1)
        index = whole_number("shard's index", shard[0], 0)
        if index >= count:
            raise OptionError(f"shard=({index}, {count}): indices count from 0, so the last of {count} is {count - 1}.")
        agrees_with_launcher(index, count, 3, "shard=({}, {})")
        return ShardChoice(index, count)
    raise OptionError(f"shard is {_WAYS}, not {shard!r}.")


def _of_context(context: Any) -> ShardChoice:
    """Raises OptionError for a context in which pipelines feed unequal numbers of replicas."""
    count, index = context.num_input_pipelines, context.input_pipeline_id
    replicas = context.num_replicas_in_sync
    if replicas % count:
        raise OptionError(f"{replicas} replicas can't be divided evenly among {count} input pipelines.")
    return ShardChoice(index, count, replicas // count)


def _of_strategy(strategy: Any) -> ShardChoice:
    cluster, job, task = _cluster_of_strategy(strategy) if strategy is not None else ({}, "", 0)
    count = _workers(cluster)
    if count < 2 or job not in _TRAINING:
        _warn_of_other_workers()
        return ShardChoice(0, 1)
    # The chief, if there is one, is the first of the workers.
    index = task + (len(cluster.get("chief", ())) if job == "worker" else 0)
    return ShardChoice(index, count, strategy.num_replicas_in_sync // count, rebatched=True)


def _cluster_of_strategy(strategy: Any) -> tuple[Mapping[str, Any], str, int]:
    """The cluster that a strategy trains in: tasks by job, this process' own job and its number in it."""
    resolver = strategy.cluster_resolver
    if resolver is None or not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return {}, "", 0
    return resolver.cluster_spec().as_dict(), resolver.task_type or "", resolver.task_id or 0


def _workers(cluster: Mapping[str, Any]) -> int:
    return sum(len(cluster.get(job, ())) for job in _TRAINING)


def _warn_of_other_workers() -> None:
    if mpi_rank() is not None:
        agrees_with_launcher(None, None, 5, "shard=({}, {})")
        return
    try:
        config = json.loads(os.environ.get("TF_CONFIG") or "{}")
        count = _workers(config["cluster"])
        job = config["task"]["type"]
    except (ValueError, LookupError, TypeError, AttributeError):
        return  # No cluster, or nothing that TensorFlow would understand either.
    if count > 1 and job in _TRAINING:
        warnings.warn(
            f"TF_CONFIG names {count} workers, but no strategy with several workers is in scope: this dataset has "
            "every row in each worker, and where TensorFlow distributes it, AutoShard reads all and drops the rest. "
            "Call make_dataset inside strategy.scope(), or pass shard=: the InputContext of a dataset function, or "
            "(index, count).",
            stacklevel=5,
        )


def _refuse_remote(strategy: Any) -> None:
    """Raises OptionError if this strategy runs its datasets, or parts of them, in other processes than this one."""
    reason = type(strategy).__name__
    if not isinstance(strategy, _REMOTE):
        tasks = len(_tasks(strategy))
        if tasks < 2:
            return
        reason += f" over {tasks} tasks of a cluster"
    raise OptionError(
        f"{reason} runs datasets on other hosts, where the Python functions that read and decode rows do not exist. "
        "Use MultiWorkerMirroredStrategy, which runs this program on every worker, MirroredStrategy on one machine, "
        "or write TFRecord files for it."
    )


def _tasks(strategy: Any) -> set[tuple[Any, Any]]:
    """The tasks of a cluster, (job, number), to which the strategy's devices belong."""
    devices = [tf.DeviceSpec.from_string(device) for device in strategy.extended.worker_devices]
    return {(device.job, device.task) for device in devices}
