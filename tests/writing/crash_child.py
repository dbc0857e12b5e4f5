"""Writes a dataset and kills itself at a given step. Run as a script: it forks once for each folder named.

Arguments: mode, then folders. In the i-th folder the writer dies just before its i-th step on the filesystem, and in
the last it lives. A step is whatever changes the disk or opens a file to be written.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import pyarrow.fs as pafs

import tfpetastorm as tps
from tests.storage.helpers import SCHEMA, row


class Dying(pafs.LocalFileSystem):
    """The local filesystem, on which the process dies before step `left` + 1."""

    left = 1 << 30

    def step(self) -> None:
        self.left -= 1
        if self.left < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def create_dir(self, *args: Any, **options: Any) -> None:
        self.step()
        super().create_dir(*args, **options)

    def open_output_stream(self, *args: Any, **options: Any) -> Any:
        self.step()
        return super().open_output_stream(*args, **options)

    def move(self, *args: Any) -> None:
        self.step()
        super().move(*args)

    def delete_file(self, *args: Any) -> None:
        self.step()
        super().delete_file(*args)

    def delete_dir(self, *args: Any) -> None:
        self.step()
        super().delete_dir(*args)


def write(path: str, mode: Any, steps: int) -> None:
    filesystem = Dying()
    filesystem.left = steps
    with tps.DatasetWriter(path, SCHEMA, mode=mode, workers=0, file_rows=10, filesystem=filesystem) as writer:
        for i in range(100, 125):
            writer.write(row(i))


def main(mode: str, folders: list[str]) -> None:
    for steps, folder in enumerate(folders):
        child = os.fork()
        if not child:
            write(folder, mode, steps if steps < len(folders) - 1 else 1 << 30)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(int(os.WIFSIGNALED(status)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
