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

import numpy as np

from tfpetastorm.errors import Place
from tfpetastorm.read.result import Counts, Damage, TaskResult
from tfpetastorm.schema.columns import ALIGNMENT, Array, Column, Text

#: Linux takes at most this many buffers in one writev (IOV_MAX).
_MAX_BUFFERS = 1024


class _Layout:
    """Lays arrays one after another, each at a multiple of ALIGNMENT bytes."""

    def __init__(self) -> None:
        self.size = 0
        self.buffers: list[memoryview] = []

    def add(self, array: Array) -> list[object]:
        """Appends an array; its entry is [dtype, shape, offset]."""
        contiguous = np.ascontiguousarray(array).reshape(array.shape)
        offset = self.size
        if contiguous.nbytes:
            self.buffers.append(memoryview(contiguous.reshape(-1).view(np.uint8).data))
            padding = -contiguous.nbytes % ALIGNMENT
            if padding:
                self.buffers.append(memoryview(bytes(padding)))
            self.size += contiguous.nbytes + padding
        return [contiguous.dtype.str, list(contiguous.shape), offset]


def _entry(layout: _Layout, column: Column) -> dict[str, Any]:
    entry: dict[str, Any] = {"inner": list(column.inner), "splits": [layout.add(array) for array in column.splits]}
    if column.valid is not None:
        entry["valid"] = layout.add(column.valid)
    if isinstance(column.values, Text):
        text = column.values
        entry["text"] = [layout.add(text.offsets), layout.add(text.data)]
        if text.codes is not None:
            entry["codes"] = layout.add(text.codes)
    else:
        entry["values"] = layout.add(column.values)
    return entry


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
    layout = _Layout()
    header = {
        "rows": result.rows,
        "columns": {name: _entry(layout, column) for name, column in result.columns.items()},
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

    def array(entry: list[Any]) -> Array:
        dtype, shape, offset = entry
        count = int(np.prod(shape, dtype=np.int64))
        if not count:
            return np.empty(shape, dtype)
        return np.frombuffer(buffer, dtype, count, offset).reshape(shape)

    columns: dict[str, Column] = {}
    for name, entry in header["columns"].items():
        values: Array | Text
        if "text" in entry:
            codes = array(entry["codes"]) if "codes" in entry else None
            values = Text(array(entry["text"][0]), array(entry["text"][1]), codes)
        else:
            values = array(entry["values"])
        columns[name] = Column(
            values,
            tuple(array(split) for split in entry["splits"]),
            array(entry["valid"]) if "valid" in entry else None,
            tuple(entry["inner"]),
        )
    damage = tuple(Damage(Place(**place), reason, rows) for place, reason, rows in header["damage"])
    kept = None if header["kept"] is None else array(header["kept"])
    return TaskResult(header["rows"], columns, damage, Counts(**header["counts"]), kept)
