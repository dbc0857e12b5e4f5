"""What a dataset of ours carries along, so that `steps`, `stats` and `close` can be asked of it."""

from __future__ import annotations

from typing import Any, Protocol

from tfpetastorm.errors import OptionError
from tfpetastorm.feed.elements import SourceStats

_ATTRIBUTE = "_tfpetastorm"


class Handle(Protocol):
    """Of a dataset of `make_dataset`, or of a mix."""

    @property
    def steps(self) -> int | None:
        """Steps of the first pass; None if it is endless or nobody knows."""

    @property
    def elements(self) -> int | None:
        """Elements of each pass; None if it is endless, or passes differ, or nobody knows."""

    @property
    def stats(self) -> SourceStats:
        """What was read so far."""

    def close(self) -> None:
        """Ends the workers."""


def attach(dataset: Any, handle: Handle) -> None:
    """Makes a dataset carry a handle."""
    setattr(dataset, _ATTRIBUTE, handle)


def find_handle(dataset: Any) -> Any:
    """The handle that a dataset carries, or None."""
    return getattr(dataset, _ATTRIBUTE, None)


def handle_of(dataset: Any) -> Handle:
    """The handle that a dataset carries. Raises OptionError if it carries none."""
    handle: Handle | None = find_handle(dataset)
    if handle is None:
        raise OptionError("This is no dataset of make_dataset or mix; ask before map, take and the like.")
    return handle
