"""Writes datasets to the S3 server and dies in each a step later. Run as a script: it forks once for each.

Arguments: the server's port, a mode, how many. In the i-th dataset, `data/<i>`, the writer dies just before its i-th
step on the store: whatever makes, completes or deletes an object. Prints 1 for each that died, else 0.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs

import tfpetastorm as tps
from benchmarks.s3_server import S3Server
from tests.storage.helpers import SCHEMA, row
from tfpetastorm.stores.patience import StoreHandler


class Dying(StoreHandler):
    """The store, on which the process dies before step `left` + 1."""

    left = 1 << 30

    def step(self) -> None:
        self.left -= 1
        if self.left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def open_output_stream(self, path: str, metadata: Any) -> Any:
        self.step()
        return pa.PythonFile(Sink(self, super().open_output_stream(path, metadata)), mode="w")

    def delete_file(self, path: str) -> None:
        self.step()
        super().delete_file(path)


class Sink:
    """A file of which closing, which is what makes the object, is a step too."""

    def __init__(self, dying: Dying, file: Any) -> None:
        self.dying, self.file = dying, file

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def close(self) -> None:
        if not self.file.closed:
            self.dying.step()
        self.file.close()


def write(server: S3Server, path: str, mode: Any, steps: int) -> None:
    handler = Dying(server.filesystem())
    handler.left = steps
    store = pafs.PyFileSystem(handler)
    with tps.DatasetWriter(path, SCHEMA, mode=mode, workers=0, file_rows=10, filesystem=store) as writer:
        for i in range(100, 125):
            writer.write(row(i))


def main(port: int, mode: str, count: int) -> None:
    server = S3Server()
    server.port = port
    for steps in range(count):
        # Before the store's client has started any thread.
        child = os.fork()
        if not child:
            write(server, f"data/{steps}", mode, steps)
            os._exit(0)
        print(int(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
