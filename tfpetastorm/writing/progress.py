"""Progress on the terminal where writing is long."""

from __future__ import annotations

from typing import Any


class ProgressBar:
    """A bar of rows written on the terminal, or nothing."""

    def __init__(self, show: bool) -> None:
        self._progress: Any = None
        if show:
            from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

            rate = TimeElapsedColumn()
            self._progress = Progress(SpinnerColumn(), TextColumn("writing rows"), MofNCompleteColumn(), rate)
            self._task = self._progress.add_task("write", total=None)
            self._progress.start()

    def advance(self, rows: int) -> None:
        """Count more rows."""
        if self._progress is not None:
            self._progress.advance(self._task, rows)

    def close(self) -> None:
        """Leave the terminal as it is."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
