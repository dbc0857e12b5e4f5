"""Names in TFX's modules that stand for something of ours while somebody needs that."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

from tfpetastorm.errors import MissingPackageError, describe


class Hook:
    """A module's attribute, replaced from when the first holder begins until the last has ended, of all threads.

    What replaces it has to be as good for threads that do not hold it: TFX has no other way in.
    """

    def __init__(self, module: Any, name: str, needed: str, replacement: Callable[[Any], Any]) -> None:
        """needed: an attribute of the attribute, by which it is known. replacement: makes ours of TFX's own."""
        self._module, self._name, self._needed, self._replacement = module, name, needed, replacement
        self._lock = threading.Lock()
        self._holders = 0
        self._own: Any = None

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Raises MissingPackageError for a TFX that has no such name."""
        with self._lock:
            if not self._holders:
                self._replace()
            self._holders += 1
        try:
            yield
        finally:
            with self._lock:
                self._holders -= 1
                if not self._holders:
                    setattr(self._module, self._name, self._own)

    def _replace(self) -> None:
        self._own = getattr(self._module, self._name, None)
        if not hasattr(self._own, self._needed):
            raise MissingPackageError(
                describe(
                    "This TFX is made in another way than we know",
                    expected=f"{self._module.__name__}.{self._name}.{self._needed}",
                    found="nothing of that name",
                    remedy="pip install 'tfpetastorm[tfx]' brings one that fits.",
                )
            )
        setattr(self._module, self._name, self._replacement(self._own))
