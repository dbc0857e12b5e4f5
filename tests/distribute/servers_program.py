"""`ParameterServerStrategy` with a server of each kind in this process; writes what make_dataset says to it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import tensorflow as tf

import tfpetastorm as tps
from tests.distribute.cluster import free_ports


def main(url: str) -> dict:
    worker, server = free_ports(2)
    cluster = tf.train.ClusterSpec({"worker": [f"127.0.0.1:{worker}"], "ps": [f"127.0.0.1:{server}"]})
    _servers = [tf.distribute.Server(cluster, job_name=job, task_index=0) for job in ("worker", "ps")]
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(cluster, rpc_layer="grpc")
    said = {}
    with tf.distribute.ParameterServerStrategy(resolver).scope():
        for name, shard in {"auto": "auto", "told": (0, 2)}.items():
            try:
                tps.make_dataset(url, batch_size=8, shard=shard, even="drop")
                said[name] = "nothing"
            except tps.TfpetastormError as error:
                said[name] = f"{type(error).__name__}: {error}"
    return said


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(main(**json.loads(sys.argv[2]))))
    # Servers of tf.distribute can't be stopped, and keep the interpreter from ending.
    os._exit(0)
