"""The main program of a worker process. Started by `processes.py`; imports no TensorFlow.

Messages are length-prefixed. In: first the read spec (cloudpickle, from our own parent process: nothing that was
read from a dataset), then read tasks, see `pack_task`. Out: JSON headers, with a memory file for each result.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import struct
import threading
import traceback
from typing import TYPE_CHECKING, Any

from tfpetastorm import errors

if TYPE_CHECKING:
    from tfpetastorm.plan.tasks import ReadTask

#: Row group, start, stop, and how many int64 row numbers follow; -1 where all rows are taken.
TASK = struct.Struct("<qqqq")
LENGTH = struct.Struct("<q")


def receive_exactly(connection: socket.socket, size: int) -> bytes:
    """`size` bytes, or ConnectionError where the other side has gone."""
    data = bytearray(size)
    view, got = memoryview(data), 0
    while got < size:
        count = connection.recv_into(view[got:])
        if not count:
            raise ConnectionError("the other side closed the connection")
        got += count
    return bytes(data)


def pack_task(task: ReadTask) -> bytes:
    """A read task as the bytes of a message."""
    if task.take is None:
        return TASK.pack(task.row_group, task.start, task.stop, -1)
    return TASK.pack(task.row_group, task.start, task.stop, len(task.take)) + task.take.astype("<i8").tobytes()


def _receive_task(connection: socket.socket) -> tuple[int, int, int, bytes | None]:
    row_group, start, stop, count = TASK.unpack(receive_exactly(connection, TASK.size))
    return row_group, start, stop, None if count < 0 else receive_exactly(connection, 8 * count)


def error_header(error: BaseException) -> dict[str, Any]:
    """An exception as JSON: its class by name, its message, and where it was raised."""
    return {
        "error": type(error).__name__,
        "message": str(error),
        "traceback": "".join(traceback.format_exception(type(error), error, error.__traceback__)),
    }


def error_from(header: dict[str, Any]) -> BaseException:
    """The exception of a header: one of this library's classes, else a PoolError that quotes the original."""
    known = getattr(errors, header["error"], None)
    if isinstance(known, type) and issubclass(known, errors.TfpetastormError):
        return known(header["message"])
    return errors.PoolError(
        f"A worker process failed with {header['error']}: {header['message']}\n{header['traceback']}"
    )


def _reply(connection: socket.socket, header: bytes, fd: int | None = None) -> None:
    # The descriptor rides on the length; the header may be longer than one sendmsg takes.
    socket.send_fds(connection, [LENGTH.pack(len(header))], [] if fd is None else [fd])
    connection.sendall(header)


def main(descriptor: int) -> None:
    """Serves read tasks on the socket `descriptor` until its other end closes."""
    # The parent decides when work ends: Ctrl-C in a terminal must not print one traceback a worker.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    connection = socket.socket(fileno=descriptor)
    specs: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    tasks: queue.SimpleQueue[tuple[int, int, int, bytes | None]] = queue.SimpleQueue()

    def listen() -> None:
        try:
            (length,) = LENGTH.unpack(receive_exactly(connection, LENGTH.size))
            specs.put(receive_exactly(connection, length))
            while True:
                tasks.put(_receive_task(connection))
        except OSError:
            # The parent is gone, perhaps killed, perhaps in the middle of our work: nobody waits for it.
            os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    spec = specs.get()
    try:
        import cloudpickle
        import cv2
        import numpy as np

        from tfpetastorm.plan.tasks import ReadTask
        from tfpetastorm.pool.transport import send
        from tfpetastorm.read.task import TaskReader

        cv2.setNumThreads(1)
        reader = TaskReader(cloudpickle.loads(spec))
    except BaseException as error:  # noqa: BLE001  # the parent is told
        _reply(connection, json.dumps(error_header(error)).encode())
        return
    _reply(connection, json.dumps({"ready": os.getpid()}).encode())
    while True:
        row_group, start, stop, numbers = tasks.get()
        task = ReadTask(row_group, start, stop, None if numbers is None else np.frombuffer(numbers, "<i8"))
        fd = None
        try:
            header, fd = send(reader.run(task))
        except Exception as error:  # noqa: BLE001  # the parent is told
            header = json.dumps(error_header(error)).encode()
        try:
            _reply(connection, header, fd)
        except OSError:
            # The pool was closed, or the parent is gone, while this task was running.
            os._exit(0)
        finally:
            if fd is not None:
                os.close(fd)
