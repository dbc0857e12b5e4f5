"""Carries the result of a read task from a worker process: arrays in an anonymous memory file, the rest as JSON.

The file (`memfd_create`; an unlinked temporary file elsewhere) has no name and travels as a file descriptor, so
nothing can be left behind in shared memory, however a process ends. The receiver maps it and its arrays lie in the
mapping: no copy, no pickle.
"""

from __future__ import annotations

import json
import mmap
import os
import tempfile
from dataclasses import asdict
from typing import Any

from tfpetastorm.errors import Place
from tfpetastorm.read.layout import Layout, array_at, column_at
from tfpetastorm.read.result import Counts, Damage, TaskResult

#: Linux takes at most this many buffers in one writev (IOV_MAX).
_MAX_BUFFERS = 1024


def _memory_file() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("tfpetastorm", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def _write(fd: int, buffers: list[memoryview]) -> None:
    while buffers:
        written = os.writev(fd, buffers[:_MAX_BUFFERS])
        while buffers and written >= len(buffers[0]):
            written -= len(buffers.pop(0))
        if written:
            buffers[0] = buffers[0][written:]


def send(result: TaskResult) -> tuple[bytes, int]:
    """A JSON header and the descriptor of a memory file that holds the arrays; the caller closes it."""
    layout = Layout()
    header = {
        "rows": result.rows,
        "columns": {name: layout.add_column(column) for name, column in result.columns.items()},
        "damage": [[asdict(damage.place), damage.reason, damage.rows] for damage in result.damage],
        "counts": asdict(result.counts),
        "kept": None if result.kept is None else layout.add(result.kept),
        "size": layout.size,
    }
    fd = _memory_file()
    try:
        _write(fd, layout.buffers)
    except BaseException:
        os.close(fd)
        raise
    return json.dumps(header).encode(), fd


def receive(header: dict[str, Any], fd: int) -> TaskResult:
    """The result whose header and memory file were sent; its arrays lie in a private mapping of the file."""
    size = header["size"]
    buffer: mmap.mmap | bytes = b""
    if size:
        # Populated at once: faulting pages in one by one costs more than the copy itself.
        flags = mmap.MAP_SHARED | getattr(mmap, "MAP_POPULATE", 0)
        buffer = mmap.mmap(fd, size, flags=flags, prot=mmap.PROT_READ | mmap.PROT_WRITE)

    columns = {name: column_at(buffer, entry) for name, entry in header["columns"].items()}
    damage = tuple(Damage(Place(**place), reason, rows) for place, reason, rows in header["damage"])
    kept = None if header["kept"] is None else array_at(buffer, header["kept"])
    return TaskResult(header["rows"], columns, damage, Counts(**header["counts"]), kept)
