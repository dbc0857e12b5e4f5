"""The main program of a worker process. Started by `processes.py`; imports no TensorFlow.

Messages are length-prefixed. In: first the read spec (cloudpickle, from our own parent process: nothing that was
read from a dataset), then read tasks, three int64 each. Out: JSON headers, with a memory file for each result.
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
from typing import Any

from tfpetastorm import errors

TASK = struct.Struct("<qqq")
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
    tasks: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def listen() -> None:
        try:
            (length,) = LENGTH.unpack(receive_exactly(connection, LENGTH.size))
            tasks.put(receive_exactly(connection, length))
            while True:
                tasks.put(receive_exactly(connection, TASK.size))
        except OSError:
            # The parent is gone, perhaps killed, perhaps in the middle of our work: nobody waits for it.
            os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    spec = tasks.get()
    try:
        import cloudpickle
        import cv2

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
        task = ReadTask(*TASK.unpack(tasks.get()))
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
