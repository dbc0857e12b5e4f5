"""Which rank of how many a process is."""

from __future__ import annotations

from dataclasses import dataclass

import torch.distributed as dist

from tfpetastorm.errors import OptionError
from tfpetastorm.plan.numbers import whole_number


@dataclass(frozen=True)
class Rank:
    """Rank `rank` of `world_size`. given: whether the user said so, rather than `torch.distributed`."""

    rank: int
    world_size: int
    given: bool

    @classmethod
    def of(cls, rank: int | None, world_size: int | None) -> Rank:
        """What the user says; None for what `torch.distributed` says, or without it the only rank.

        Raises OptionError if only one of them is given, or they can't be.
        """
        if (rank is None) != (world_size is None):
            raise OptionError("rank= and world_size= are given together, or neither.")
        if rank is None or world_size is None:
            return cls(*_of_torch(), False)
        world_size = whole_number("world_size", world_size, 1)
        rank = whole_number("rank", rank, 0)
        if rank >= world_size:
            raise OptionError(f"Ranks count from 0, so the last of {world_size} is {world_size - 1}, not {rank}.")
        return cls(rank, world_size, True)

    def check(self) -> None:
        """Raises OptionError if `torch.distributed` was begun only after it was asked. In worker processes, where it
        never is, nothing can be told."""
        if self.given or not dist.is_available() or not dist.is_initialized():
            return
        if _of_torch() != (self.rank, self.world_size):
            raise OptionError(
                f"This dataset was made as rank {self.rank} of {self.world_size}, before "
                "torch.distributed.init_process_group: make it afterwards, or give rank= and world_size=."
            )


def _of_torch() -> tuple[int, int]:
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1
