"""A tf.data service with its worker in another process; writes what comes of a dataset that is sent there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import tensorflow as tf

import tfpetastorm as tps

service = tf.data.experimental.service


def serve(dispatcher: str, own: str) -> None:
    """A worker, which made a dataset (of `own`) too, if told to; it ends with its standard input."""
    if own:
        next(iter(tps.make_dataset(own, batch_size=8)))
    worker = service.WorkerServer(service.WorkerConfig(dispatcher_address=dispatcher))
    print("up", flush=True)
    sys.stdin.read()
    worker.stop()


def main(url: str, own: str) -> dict:
    dispatcher = service.DispatchServer()
    address = dispatcher.target.split("://")[1]
    with subprocess.Popen(
        [sys.executable, __file__, "serve", address, own], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as worker:
        try:
            assert worker.stdout is not None
            while "up" not in worker.stdout.readline():
                assert worker.poll() is None
            dataset = tps.make_dataset(url, batch_size=8).apply(
                service.distribute("parallel_epochs", dispatcher.target)
            )
            try:
                return {"rows": [int(i) for batch in dataset for i in batch["id"]], "error": ""}
            except tf.errors.OpError as error:
                return {"rows": [], "error": str(error)}
        finally:
            worker.kill()


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(*sys.argv[2:])
    else:
        Path(sys.argv[1]).write_text(json.dumps(main(**json.loads(sys.argv[2]))))
