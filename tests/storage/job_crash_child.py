"""Takes part in a job of several writers and kills itself at a given step. Run as a script: it forks for each folder.

Arguments: "worker" or "commit", then folders, each with `<folder>.job`, and for "commit" `<folder>.parts`, beside it.
In the i-th folder the process dies just before its i-th step on the filesystem, and in the last it lives.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import tfpetastorm as tps
from tests.storage.crash_child import Dying
from tests.storage.helpers import row


def work(what: str, folder: str, steps: int) -> None:
    filesystem = Dying()
    filesystem.left = steps
    job = tps.ParallelWrite.from_json(Path(f"{folder}.job").read_text(), filesystem=filesystem)
    if what == "commit":
        job.commit([tps.WrittenPart.from_json(text) for text in json.loads(Path(f"{folder}.parts").read_text())])
        return
    with job.writer(1, workers=0) as writer:
        for i in range(110, 120):
            writer.write(row(i))


def main(what: str, folders: list[str]) -> None:
    for steps, folder in enumerate(folders):
        child = os.fork()
        if not child:
            work(what, folder, steps if steps < len(folders) - 1 else 1 << 30)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(int(os.WIFSIGNALED(status)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
