"""A strategy of one or several workers that reads a UnischemaTFXIO; writes the rows of each step."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import tensorflow as tf
from tfx_bsl.tfxio.dataset_options import TensorFlowDatasetOptions

from tfpetastorm.tfxio import UnischemaTFXIO


def main(url: str, batch_size: int, epochs: int, mirrored: bool) -> dict[str, Any]:
    if mirrored:
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        strategy: Any = tf.distribute.MirroredStrategy(["/cpu:0", "/cpu:1"])
    else:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    options = TensorFlowDatasetOptions(batch_size, num_epochs=epochs, shuffle_seed=5)
    with strategy.scope():
        dataset = UnischemaTFXIO(url).TensorFlowDataset(options)
    return {
        "steps": [
            [[ids.numpy().tolist() for ids in strategy.experimental_local_results(batch[name])] for name in ("id", "x")]
            for batch in strategy.experimental_distribute_dataset(dataset)
        ]
    }


if __name__ == "__main__":
    result = main(**json.loads(sys.argv[2]))
    Path(sys.argv[1]).write_text(json.dumps(result))
