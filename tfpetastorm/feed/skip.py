"""`on_error=Skip(...)`: leaving out what is damaged without changing the number of rows."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tfpetastorm.errors import OptionError, SkipBudgetError
from tfpetastorm.read.result import Damage

_LOG = logging.getLogger("tfpetastorm")


@dataclass(frozen=True)
class Skip:
    """Leave out damaged rows and row groups, count and log them.

    budget: how many distinct rows may be damaged: a number, or a fraction of all rows in (0, 1). One more raises
    SkipBudgetError. The place of a damaged row is taken by another row of the same read task, that of a whole one by
    rows of the tasks that follow: the number of steps holds, and what comes out is still a function of seed and
    position.
    """

    budget: int | float

    def __post_init__(self) -> None:
        if isinstance(self.budget, bool) or self.budget < 0 or (isinstance(self.budget, float) and self.budget >= 1):
            raise OptionError(f"Skip's budget is a number of rows, or a fraction below 1.0; not {self.budget!r}.")

    @classmethod
    def of(cls, value: Any) -> Skip | None:
        """A `Skip`, or None for "raise"."""
        if value == "raise":
            return None
        if isinstance(value, Skip):
            return value
        raise OptionError(f'on_error takes "raise" or Skip(budget=...), not {value!r}.')

    def rows(self, total: int) -> int:
        """The budget as a number of rows."""
        return int(self.budget * total) if isinstance(self.budget, float) else self.budget


class SkipLedger:
    """The damage met so far: each place once, however many epochs meet it."""

    def __init__(self, budget: int | None) -> None:
        self._budget = budget
        self._seen: dict[tuple[str | None, int | None, int | None], Damage] = {}
        self._lock = threading.Lock()

    @property
    def damage(self) -> tuple[Damage, ...]:
        """Every damaged place met, in the order met."""
        with self._lock:
            return tuple(self._seen.values())

    @property
    def rows(self) -> int:
        """How many distinct rows are damaged."""
        return sum(damage.rows for damage in self.damage)

    def add(self, found: Sequence[Damage]) -> None:
        """Counts and logs what is new. Raises SkipBudgetError beyond the budget."""
        for damage in found:
            key = (damage.place.file, damage.place.row_group, damage.place.row)
            with self._lock:
                if key in self._seen:
                    continue
                self._seen[key] = damage
            _LOG.warning("Skipped %d row(s): %s (%s)", damage.rows, damage.reason, damage.place)
        if self._budget is not None and self.rows > self._budget:
            last = self.damage[-1]
            where = "" if str(last.place.file) in last.reason else f" ({last.place})"
            raise SkipBudgetError(
                f"{self.rows} rows are damaged and the budget is {self._budget}; allow more with Skip(budget=...), or "
                f"mend the dataset. The last was: {last.reason}{where}"
            )
