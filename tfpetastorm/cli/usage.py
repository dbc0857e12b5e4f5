"""What this process and its workers take: memory now and at most, and time of the CPU. psutil helps where it is
installed; without it Linux's /proc does, and elsewhere only this process is known."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

#: How often memory is looked at.
_SECONDS = 0.05


@dataclass(frozen=True)
class Usage:
    """own_rss, workers_rss: bytes of memory at most, by this process and by all its children together; shared memory
    counts in each. cpu_seconds: of both. workers: child processes seen at once. Numbers that nobody tells are None."""

    own_rss: int
    workers_rss: int | None
    cpu_seconds: float
    workers: int


class Watch:
    """Looks at memory from time to time within a `with` block; afterwards `usage` tells."""

    def __init__(self) -> None:
        self._processes = _psutil() or _Proc.here()
        self._own = self._workers = self._count = 0
        self._cpu: dict[int, float] = {}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="tfpetastorm-usage", daemon=True)

    def __enter__(self) -> Watch:
        self._look()
        self._began = {**self._cpu}
        self._own_began = time.process_time()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cpu_seconds = time.process_time() - self._own_began
        self._done.set()
        self._thread.join()
        self._look()
        self._cpu_seconds += sum(seconds - self._began.get(pid, 0.0) for pid, seconds in self._cpu.items())

    @property
    def usage(self) -> Usage:
        """What was seen."""
        return Usage(self._own, None if self._processes is None else self._workers, self._cpu_seconds, self._count)

    def _watch(self) -> None:
        while not self._done.wait(_SECONDS):
            self._look()

    def _look(self) -> None:
        if self._processes is None:
            self._own = max(self._own, _peak_of_own())
            return
        children = self._processes.children()
        self._own = max(self._own, self._processes.own())
        self._workers = max(self._workers, sum(rss for rss, _ in children.values()))
        self._count = max(self._count, len(children))
        self._cpu |= {pid: seconds for pid, (_, seconds) in children.items()}


class _Proc:
    """Processes as Linux's /proc tells of them."""

    def __init__(self) -> None:
        self._page = os.sysconf("SC_PAGE_SIZE")
        self._tick = os.sysconf("SC_CLK_TCK")

    @classmethod
    def here(cls) -> _Proc | None:
        """None where there is no such thing."""
        return cls() if Path("/proc/self/statm").exists() else None

    def own(self) -> int:
        """Bytes that this process has in memory."""
        return self._rss("self")

    def children(self) -> Mapping[int, tuple[int, float]]:
        """Bytes in memory and CPU seconds of each child, and of theirs."""
        parents: dict[int, list[tuple[int, float]]] = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                # The name, in parentheses, may hold anything.
                after = path.read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it ended meanwhile
            spent = (int(after[11]) + int(after[12])) / self._tick
            parents.setdefault(int(after[1]), []).append((int(path.parent.name), spent))
        found: dict[int, tuple[int, float]] = {}
        queue = [os.getpid()]
        while queue:
            for pid, spent in parents.get(queue.pop(), ()):
                found[pid] = self._rss(str(pid)), spent
                queue.append(pid)
        return found

    def _rss(self, pid: str) -> int:
        try:
            return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * self._page
        except (OSError, IndexError):
            return 0


class _Psutil:
    """The same by psutil, on any system."""

    def __init__(self, psutil: Any) -> None:
        self._gone = psutil.Error
        self._process = psutil.Process()

    def own(self) -> int:
        """Bytes that this process has in memory."""
        return int(self._process.memory_info().rss)

    def children(self) -> Mapping[int, tuple[int, float]]:
        """Bytes in memory and CPU seconds of each child, and of theirs."""
        found = {}
        for child in self._process.children(recursive=True):
            try:
                spent = child.cpu_times()
                found[child.pid] = child.memory_info().rss, spent.user + spent.system
            except self._gone:
                continue
        return found


def _psutil() -> _Psutil | None:
    try:
        import psutil
    except ImportError:
        return None
    return _Psutil(psutil)


def _peak_of_own() -> int:
    try:
        import resource
    except ImportError:
        return 0
    # Bytes on macOS, else KiB.
    return int(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) * (1 if sys.platform == "darwin" else 1024)
