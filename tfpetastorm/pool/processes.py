"""Read tasks in worker processes.

Each worker is a fresh interpreter running `worker.py`: no fork under TensorFlow, and no import of the user's main
module, so that an unguarded script or a notebook works. A worker that dies is replaced and its task run again, since
read tasks are pure; a task that kills its worker again and again is an error that names it.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import cloudpickle

from tfpetastorm.errors import PoolError
from tfpetastorm.plan.tasks import ReadTask
from tfpetastorm.pool.transport import receive
from tfpetastorm.pool.worker import LENGTH, error_from, pack_task, receive_exactly
from tfpetastorm.read.result import TaskResult

#: A task is given up when it has killed this many workers.
MAX_DEATHS = 3

_BOOTSTRAP = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from tfpetastorm.pool.worker import main; main(int(sys.argv[2]))"
)


class WorkerProcess:
    """One worker process and the socket to it; used by one thread at a time."""

    def __init__(self, spec: bytes) -> None:
        ours, theirs = socket.socketpair()
        self._connection = ours
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _BOOTSTRAP, json.dumps(sys.path), str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                # Out of the terminal's process group: Ctrl-C is the parent's to handle.
                start_new_session=True,
            )
        except OSError as error:
            ours.close()
            raise PoolError(f"A worker process can't be started: {error}.") from error
        finally:
            theirs.close()
        self.last_row_group = -1
        self._spec: bytes | None = spec

    @property
    def exit_code(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._process.poll()

    def run(self, task: ReadTask) -> TaskResult:
        """Runs a task. Raises ConnectionError if the worker dies."""
        if self._spec is not None:
            self._connection.sendall(LENGTH.pack(len(self._spec)) + self._spec)
            self._spec = None
            header, _ = self._reply()
            if "error" in header:
                raise PoolError(
                    f"A worker process can't start: {header['error']}: {header['message']}. A function given to "
                    f"make_dataset must be importable there, or defined in the main script.\n{header['traceback']}"
                )
        self._connection.sendall(pack_task(task))
        header, fd = self._reply()
        self.last_row_group = task.row_group
        if fd is None:
            raise error_from(header)
        try:
            return receive(header, fd)
        finally:
            os.close(fd)

    def _reply(self) -> tuple[dict[str, Any], int | None]:
        data, fds, _, _ = socket.recv_fds(self._connection, LENGTH.size, 1)
        fd = fds[0] if fds else None
        try:
            if not data:
                raise ConnectionError("the worker process closed the connection")
            data += receive_exactly(self._connection, LENGTH.size - len(data))
            header: dict[str, Any] = json.loads(receive_exactly(self._connection, LENGTH.unpack(data)[0]))
        except BaseException:
            if fd is not None:
                os.close(fd)
            raise
        return header, fd

    def close(self) -> None:
        """Ends the process: it exits when its socket closes, and is killed if it does not."""
        with contextlib.suppress(OSError):
            # Wakes a thread that waits for a reply, which close alone does not.
            self._connection.shutdown(socket.SHUT_RDWR)
        self._connection.close()
        try:
            self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class ProcessExecutor(ThreadPoolExecutor):
    """Runs read tasks in worker processes: one thread here waits for each of them."""

    def __init__(self, workers: int, spec: object) -> None:
        super().__init__(workers, thread_name_prefix="tfpetastorm-process")
        try:
            self._spec = cloudpickle.dumps(spec)
        except Exception as error:
            raise PoolError(
                f"The functions, codecs or filesystem of this dataset can't be sent to worker processes: {error}. "
                "Let a function make what can't be pickled (locks, open files, connections) itself, or use "
                "pool='thread'."
            ) from error
        self._idle: list[WorkerProcess] = []
        self._all: set[WorkerProcess] = set()
        self._guard = threading.Lock()
        self._closed = False

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Runs the read task `args[0]` in a worker process, whatever `fn` is: workers have their own reader."""
        return super().submit(self._run, *args)

    def _run(self, task: ReadTask) -> TaskResult:
        for _ in range(MAX_DEATHS):
            worker = self._take(task)
            try:
                result = worker.run(task)
            except (ConnectionError, BrokenPipeError, json.JSONDecodeError):
                self._discard(worker)
                code = worker.exit_code
                if self._closed:
                    raise PoolError("The process pool was closed while a read task was running.") from None
            except BaseException:
                self._give_back(worker)
                raise
            else:
                self._give_back(worker)
                return result
        raise PoolError(
            f"Rows {task.start} to {task.stop - 1} of row group {task.row_group} killed their worker process "
            f"{MAX_DEATHS} times (last exit code {code}). Too little memory, or a transform that crashes: try "
            "pool='inline' to see it fail, or fewer workers."
        )

    def _take(self, task: ReadTask) -> WorkerProcess:
        with self._guard:
            if self._closed:
                raise PoolError("The process pool is closed.")
            # Those that were killed while they had nothing to do are no death of this task's.
            dead = [worker for worker in self._idle if worker.exit_code is not None]
            self._idle = [worker for worker in self._idle if worker not in dead]
            self._all.difference_update(dead)
            # The worker that has this row group at hand need not fetch it again for the next slice.
            self._idle.sort(key=lambda worker: worker.last_row_group == task.row_group)
            taken = self._idle.pop() if self._idle else WorkerProcess(self._spec)
            self._all.add(taken)
        for worker in dead:
            worker.close()
        return taken

    def _give_back(self, worker: WorkerProcess) -> None:
        with self._guard:
            self._idle.append(worker)

    def _discard(self, worker: WorkerProcess) -> None:
        with self._guard:
            self._all.discard(worker)
        worker.close()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Ends all worker processes, also busy ones, and the threads that wait for them."""
        with self._guard:
            self._closed = True
            workers, self._all, self._idle = list(self._all), set(), []
        for worker in workers:
            worker.close()
        super().shutdown(wait=wait, cancel_futures=cancel_futures)
