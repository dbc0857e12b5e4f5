"""How far training has come, as a small JSON that holds for every shard."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any

from tfpetastorm.errors import PositionError
from tfpetastorm.plan.shards import Division

_FORMAT = "tfpetastorm.position.v1"
_HASH = re.compile("'[0-9a-f]{64}'")


@dataclass(frozen=True)
class Segment:
    """Steps made under one way to divide what was left of the epoch when they began."""

    division: Division
    steps: int


@dataclass(frozen=True)
class Position:
    """A place in the endless run of epochs of one dataset: `epoch`, and the segments of it that were consumed.

    The same position holds for all shards: it says how many steps each has made, under how many shards and with which
    batch size. Get one from `tfpetastorm.position(dataset, steps)`; `make_dataset(..., start=position)` goes on from
    there without reading what was consumed.

    dataset: the fingerprint of the files. options: what decides the order, each by name. seed, epoch: integers.
    """

    dataset: str
    options: Mapping[str, Any] = field(hash=False)
    seed: int
    epoch: int = 0
    segments: tuple[Segment, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", MappingProxyType(dict(self.options)))

    def __reduce__(self) -> tuple[Any, ...]:
        return Position.from_json, (self.to_json(),)

    @property
    def steps(self) -> int:
        """Steps made in `epoch`."""
        return sum(segment.steps for segment in self.segments)

    def to_json(self) -> str:
        """This position as JSON, the same text for equal positions."""
        segments = [{**asdict(segment.division), "steps": segment.steps} for segment in self.segments]
        content = {
            "format": _FORMAT,
            "dataset": self.dataset,
            "options": dict(self.options),
            "seed": self.seed,
            "epoch": self.epoch,
            "segments": segments,
        }
        return json.dumps(content, indent=1, sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes) -> Position:
        """The position of a JSON text. Raises PositionError where it is not one."""
        try:
            content = json.loads(text)
            if content["format"] != _FORMAT:
                raise PositionError(f"This position is of format {content['format']!r}; this release reads {_FORMAT}.")
            segments = []
            for item in content["segments"]:
                steps = int(item.pop("steps"))
                segments.append(Segment(Division(**item), steps))
            numbers = int(content["seed"]), int(content["epoch"])
            return cls(str(content["dataset"]), dict(content["options"]), *numbers, tuple(segments))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if isinstance(error, PositionError):
                raise
            raise PositionError(f"This is no position of a dataset: {error!r}.") from error

    def check(self, now: Position) -> None:
        """Raises PositionError if `now`, of the dataset as it is opened now, differs in what decides the order."""
        changed = []
        if self.dataset != now.dataset:
            changed.append("the dataset's files (their names, sizes or contents)")
        for name in sorted({*self.options, *now.options}):
            then, today = self.options.get(name), now.options.get(name)
            if then != today and name != "counts":
                changed.append(f"{name} (was {_short(then)}, is {_short(today)})")
        if self.seed != now.seed:
            changed.append(f"seed (was {self.seed}, is {now.seed})")
        if not changed and self.options.get("counts") != now.options.get("counts"):
            changed.append("how many rows of each row group come (a function in where= may judge otherwise now)")
        if changed:
            raise PositionError(
                f"This position belongs to another order of rows. Changed since: {'; '.join(changed)}. Restore what "
                "changed, or start anew without start=."
            )


def _short(value: Any) -> str:
    """A value as it is shown: of a hash, what tells it from another."""
    text = repr(value)
    return f"{text[:9]}…'" if _HASH.fullmatch(text) else text
