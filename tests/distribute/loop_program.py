"""A training loop of one's own on one worker of `MultiWorkerMirroredStrategy`; writes which rows each step saw."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import tensorflow as tf

import tfpetastorm as tps
from tfpetastorm.tfdata.sharding import resolve_shard


def main(url: str, batch_size: int, even: str, drop_remainder: bool, epochs: int, shuffle: bool) -> dict:
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    made, choices = [], []

    def dataset_of(context: tf.distribute.InputContext) -> tf.data.Dataset:
        choices.append(resolve_shard(context))
        dataset = tps.make_dataset(
            url, fields=["id", "x"], batch_size=batch_size, drop_remainder=drop_remainder, shard=context, even=even,
            shuffle=tps.Shuffle(block_rows=16) if shuffle else False, seed=5, pool="inline",
        )  # fmt: skip
        made.append(dataset)
        return dataset

    distributed = strategy.distribute_datasets_from_function(dataset_of)
    with strategy.scope():
        total = tf.Variable(0.0, aggregation=tf.VariableAggregation.SUM)
        choices.append(resolve_shard("auto"))

    @tf.function
    def step(batch):
        def add(batch):
            # Every worker has to take part, as in the reduction of gradients.
            everywhere = tf.distribute.get_replica_context().all_reduce("SUM", tf.reduce_sum(batch["x"]))
            total.assign_add(everywhere / strategy.num_replicas_in_sync)

        strategy.run(add, args=(batch,))

    seen = []
    for _ in range(epochs):
        this = []
        for batch in distributed:
            step(batch)
            this.append([int(i) for part in strategy.experimental_local_results(batch["id"]) for i in part])
        seen.append(this)
    (dataset,) = made
    return {
        "steps": tps.steps(dataset),
        "epochs": seen,
        "total": float(total.numpy()),
        "row_groups": tps.stats(dataset).counts.row_groups,
        "choices": [[choice.index, choice.count, choice.replicas, choice.rebatched] for choice in choices],
    }


if __name__ == "__main__":
    result = main(**json.loads(sys.argv[2]))
    Path(sys.argv[1]).write_text(json.dumps(result))
