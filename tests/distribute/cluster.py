"""Runs the programs of this folder as the workers of a cluster on this machine."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
#: What a worker says that met a port which another program has taken meanwhile.
_TAKEN = ("Address already in use", "Could not start gRPC server", "Failed to bind")


@dataclass
class Worker:
    """A running worker; it writes `result` as JSON when it is done, and all else to `log`."""

    process: subprocess.Popen[bytes]
    result: Path
    log: Path

    def told(self) -> str:
        return self.log.read_text(errors="replace")[-8000:]


def free_ports(count: int) -> list[int]:
    held = [socket.socket() for _ in range(count)]
    try:
        for each in held:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in held]
    finally:
        for each in held:
            each.close()


def run(
    program: str, folder: Path, options: dict[str, Any], workers: int = 1, seconds: float = 150, chief: bool = False
) -> list[Any]:
    """What each of `workers` processes of `program` (a file of this folder) gives as its result.

    Each is called with the path of its result and `options` as JSON; with several workers, TF_CONFIG makes them one
    cluster; the first is its chief if there is to be one. If one fails, or they are not done after `seconds`, all are
    killed and their output is shown.
    """
    for attempt in range(3):
        running = _start(program, folder / f"{Path(program).stem}-{attempt}", options, workers, chief)
        failure = _wait(running, seconds)
        if failure is None:
            return [json.loads(worker.result.read_text()) for worker in running]
        told = "\n".join(f"--- worker {i}\n{worker.told()}" for i, worker in enumerate(running))
        if not any(text in told for text in _TAKEN):
            break
    raise AssertionError(f"{program}: {failure}\n{told}")


def _start(program: str, folder: Path, options: dict[str, Any], workers: int, chief: bool) -> list[Worker]:
    folder.mkdir(parents=True)
    addresses = [f"127.0.0.1:{port}" for port in free_ports(workers)]
    running = []
    for index in range(workers):
        environment = os.environ | {"PYTHONPATH": str(HERE.parents[1]), "PYTHONUNBUFFERED": "1"}
        environment.pop("TF_CONFIG", None)
        if workers > 1:
            cluster = {"chief": addresses[:1], "worker": addresses[1:]} if chief else {"worker": addresses}
            job = "chief" if chief and not index else "worker"
            task = {"type": job, "index": index - chief if job == "worker" else 0}
            environment["TF_CONFIG"] = json.dumps({"cluster": cluster, "task": task})
        result, log = folder / f"result-{index}.json", folder / f"log-{index}.txt"
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, str(HERE / program), str(result), json.dumps(options)],
                env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
            )  # fmt: skip
        running.append(Worker(process, result, log))
    return running


def _wait(running: list[Worker], seconds: float) -> str | None:
    """Waits for all; says what went wrong, None if nothing. None of them is running afterwards."""
    deadline = time.monotonic() + seconds
    try:
        while True:
            codes = [worker.process.poll() for worker in running]
            failed = [f"worker {i} ended with {code}" for i, code in enumerate(codes) if code]
            if failed:
                # The others wait for it, and would for long.
                return ", ".join(failed)
            if None not in codes:
                return None
            if time.monotonic() > deadline:
                return f"not done after {seconds:.0f} s: worker {codes.index(None)} is still running"
            time.sleep(0.05)
    finally:
        for worker in running:
            worker.process.kill()
            worker.process.wait()
