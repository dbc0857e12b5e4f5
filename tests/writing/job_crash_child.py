"""Takes part in a job of several writers and kills itself at a given step. Run as a script: it forks for each folder.

Arguments: "worker" or "commit", "local" or "store" for the kind of filesystem, then folders, each with `<folder>.job`,
and for "commit" `<folder>.parts`, beside it.
In the i-th folder the process dies just before its i-th step on the filesystem, and in the last it lives.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs

import tfpetastorm as tps
from tests.storage.helpers import Counting, row
from tests.writing.crash_child import Dying


class DyingStore(Counting):
    """What is no local filesystem, so that files get their names at once; the process dies before step `left` + 1."""

    def __init__(self, left: int) -> None:
        super().__init__()
        self.dying = Dying()
        self.dying.left = left

    def open_output_stream(self, *args: Any) -> Any:
        self.dying.step()
        return super().open_output_stream(*args)

    def create_dir(self, *args: Any, **options: Any) -> None:
        self.dying.create_dir(*args, **options)

    def delete_file(self, path: str) -> None:
        self.dying.delete_file(path)

    def delete_dir(self, path: str) -> None:
        self.dying.delete_dir(path)


def work(what: str, kind: str, folder: str, steps: int) -> None:
    filesystem: Any = Dying()
    filesystem.left = steps
    if kind == "store":
        filesystem = pafs.PyFileSystem(DyingStore(steps))
    job = tps.ParallelWrite.from_json(Path(f"{folder}.job").read_text(), filesystem=filesystem)
    if what == "commit":
        job.commit([tps.WrittenPart.from_json(text) for text in json.loads(Path(f"{folder}.parts").read_text())])
        return
    with job.writer(1, workers=0) as writer:
        for i in range(110, 120):
            writer.write(row(i))


def main(what: str, kind: str, folders: list[str]) -> None:
    for steps, folder in enumerate(folders):
        child = os.fork()
        if not child:
            work(what, kind, folder, steps if steps < len(folders) - 1 else 1 << 30)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(int(os.WIFSIGNALED(status)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
