"""Splits that do not overlap: which rows belong to "train", by a stable hash or by whole row groups.

`take` and `skip` on a shuffled dataset overlap, since each pass has its own order; a split is decided by what a row
is instead of when it comes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from tfpetastorm.errors import OptionError
from tfpetastorm.plan.hashing import hash_rows, key64, mix64
from tfpetastorm.plan.numbers import whole_number
from tfpetastorm.schema.columns import Array


@dataclass(frozen=True)
class Split:
    """Selects one part of a dataset.

    part: the name of the part to keep. parts: each part's share, in (0, 1], in order; their sum is at most 1.
    by: "row" (the default) gives each row to a part by a hash of its file's name, row group and number: shares are
    met in the mean, and rows keep their part when files are added. "row_group" gives whole row groups, in a hashed
    order, so that each part's rows come as close to its share as whole row groups allow, and no row group is read for
    two parts. A field's name hashes that field's value, so that equal values (one user, one drive) never fall into
    two parts.
    salt: another salt gives another split.

    Raises OptionError for an unknown part or shares outside (0, 1].
    """

    part: str
    parts: Mapping[str, float] = field(hash=False)
    by: str = "row"
    salt: int = 0

    def __post_init__(self) -> None:
        parts = dict(self.parts)
        if self.part not in parts:
            raise OptionError(f"split part {self.part!r} is not one of {sorted(parts)}.")
        if any(not 0 < share <= 1 for share in parts.values()) or sum(parts.values()) > 1 + 1e-9:
            raise OptionError(f"split shares must lie in (0, 1] and sum to at most 1; found {parts}.")
        object.__setattr__(self, "parts", MappingProxyType(parts))
        object.__setattr__(self, "salt", whole_number("salt", self.salt))

    def __reduce__(self) -> tuple[object, ...]:
        # A mapping proxy does not pickle; worker processes get the plain dict.
        return Split, (self.part, dict(self.parts), self.by, self.salt)

    @classmethod
    def of(cls, value: Split | Sequence[object]) -> Split:
        """A `Split` as it is, or a pair: ("train", 0.9) keeps the first 0.9; any other name, say ("test", 0.1), the
        last 0.1. So ("train", 0.9) and ("test", 0.1) make up the whole and share no row."""
        if isinstance(value, Split):
            return value
        if not (
            isinstance(value, (tuple, list))
            and len(value) == 2
            and isinstance(value[0], str)
            and isinstance(value[1], (int, float))
        ):
            raise OptionError(f'split takes a pair such as ("train", 0.9) or a Split, not {value!r}.')
        name, share = value[0], float(value[1])
        if not 0 < share <= 1:
            raise OptionError(f"the share of split {name!r} must lie in (0, 1]; found {share}.")
        if name == "train" or share == 1:
            return cls(name, {name: share})
        return cls(name, {"train": 1 - share, name: share})

    @property
    def bounds(self) -> tuple[float, float]:
        """The half-open interval of [0, 1] that belongs to `part`."""
        low = 0.0
        for name, share in self.parts.items():
            if name == self.part:
                high = low + share
                return low, 1.0 if high > 1 - 1e-9 else high
            low += share
        raise AssertionError("checked in __post_init__")

    def contains(self, hashes: Array) -> Array:
        """bool `[n]`: whether each uint64 hash falls into the part."""
        low, high = self.bounds
        share = hashes.astype(np.float64) / 2.0**64
        # A hash close to 2**64 rounds to 1.0, which belongs to the last part.
        return (share >= low) & ((share < high) | (high == 1.0))

    def rows_of(self, file: str, row_group: int, start: int, stop: int) -> Array:
        """bool `[stop - start]` for `by="row"`: which rows of a row group (by its file's name and ordinal) are in."""
        return self.contains(hash_rows(key64("split", self.salt, file, row_group), start, stop))

    def row_groups_of(self, files: Sequence[str], file_of: Array, ordinal: Array, rows: Array) -> Array:
        """bool `[n]` for `by="row_group"`: which row groups are in.

        file_of: int `[n]`, index into `files`. ordinal: int `[n]`, the row group's index in its file. rows: int64
        `[n]`. The parts of one `parts` mapping never share a row group.
        """
        keys = np.array([key64("split", self.salt, name) for name in files], np.uint64)
        rank = mix64(keys[file_of] ^ mix64(ordinal)) if len(file_of) else np.zeros(0, np.uint64)
        order = np.argsort(rank, kind="stable")
        counts = rows[order].astype(np.float64)
        total = max(counts.sum(), 1.0)
        middle = (np.cumsum(counts) - counts / 2) / total
        low, high = self.bounds
        keep = np.zeros(len(rank), bool)
        keep[order] = (middle >= low) & (middle < high)
        return keep
