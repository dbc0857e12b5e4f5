"""How an epoch is divided into the batches of shards and replicas."""

from __future__ import annotations

from tfpetastorm.errors import OptionError
from tfpetastorm.plan.shards import Division
from tfpetastorm.tfdata.sharding import ShardChoice


def division_of(choice: ShardChoice, batch_size: int | None, even: str | None, drop_remainder: bool) -> Division:
    """How an epoch is divided. Raises OptionError where several shards lack `even`, or a batch can't be divided."""
    choice.check_batch(batch_size)
    if even is None and (choice.count > 1 or choice.replicas > 1):
        fed = f"{choice.count} shards" if choice.count > 1 else f"{choice.replicas} replicas"
        raise OptionError(
            f"{fed} need equally many steps, so say what happens to rows that fill no step: "
            'even="drop" or "repeat" for training, even="pad" for evaluation.'
        )
    # A batch that TensorFlow divides holds what this shard needs for several steps.
    size = choice.count if batch_size is None else batch_size * choice.steps_of_element
    # A replica that is given batches of its own must not go without one in the last step.
    full = drop_remainder or (choice.replicas > 1 and not choice.rebatched)
    return Division(choice.count, size, even or "drop", full, choice.pieces if choice.rebatched else 1)


def emitted_batch(choice: ShardChoice, division: Division) -> int:
    """Rows of a batch as this shard gives it."""
    local = division.local(choice.index)
    return local if choice.rebatched else local // choice.replicas
