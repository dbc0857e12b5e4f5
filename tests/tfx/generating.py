"""Running UnischemaExampleGen and UnischemaSchemaGen by themselves: their driver and executor, without a pipeline."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


def splits(**patterns: str) -> Any:
    """An input config, a pattern for each split."""
    from tfx.proto import example_gen_pb2

    return example_gen_pb2.Input(splits=[{"name": name, "pattern": one} for name, one in patterns.items()])


def buckets(by: str | None = None, **sizes: int) -> Any:
    """An output config, a number of hash buckets for each split."""
    from tfx.proto import example_gen_pb2

    config = {"splits": [{"name": name, "hash_buckets": size} for name, size in sizes.items()]}
    if by is not None:
        config["partition_feature_name"] = by
    return example_gen_pb2.Output(split_config=config)


def resolved(component: Any) -> dict[str, Any]:
    """The execution properties of a component, as its driver leaves them."""
    driver = type(component).DRIVER_CLASS(None)
    return dict(driver.resolve_exec_properties(dict(component.spec.exec_properties), None, None))


def generate(component: Any, uri: Path, properties: dict[str, Any] | None = None) -> Any:
    """The Examples artifact that a component makes at `uri`."""
    from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
    from tfx.types import standard_artifacts

    examples = standard_artifacts.Examples()
    examples.uri = str(uri)
    # Without flags TFX does not pack itself up for Beam's workers, which takes seconds.
    executor = component.executor_spec.executor_class(BaseBeamExecutor.Context())
    executor.Do({}, {"examples": [examples]}, properties or resolved(component))
    return examples


def schema_of(examples: Iterable[Any], uri: Path, **options: Any) -> Any:
    """The schema proto that UnischemaSchemaGen makes of artifacts."""
    from google.protobuf import text_format
    from tensorflow_metadata.proto.v0 import schema_pb2
    from tfx.types import channel_utils, standard_artifacts

    from tfpetastorm.tfx import UnischemaSchemaGen

    examples = list(examples)
    component = UnischemaSchemaGen(examples=channel_utils.as_channel(examples), **options)
    schema = standard_artifacts.Schema()
    schema.uri = str(uri)
    uri.mkdir(parents=True)
    component.executor_spec.executor_class().Do(
        {"examples": examples}, {"schema": [schema]}, dict(component.spec.exec_properties)
    )
    return text_format.Parse((uri / "schema.pbtxt").read_text(), schema_pb2.Schema())


def files_of(examples: Any, split: str) -> list[Path]:
    """The files in a split's folder, which are all that is in it."""
    return sorted(Path(examples.uri, f"Split-{split}").iterdir())


def table_of(examples: Any, split: str) -> pa.Table:
    """The rows of a split as they are stored, in the order of files."""
    return pa.concat_tables([pq.read_table(path) for path in files_of(examples, split)])


def as_lists(inputs: dict[str, Any]) -> dict[str, Any]:
    """A preprocessing function for TFX's own Transform."""
    import tensorflow as tf
    import tensorflow_transform as tft

    return {
        "id": inputs["i8"],
        "centred": inputs["f64"] - tft.mean(inputs["f64"]),
        "word": tft.compute_and_apply_vocabulary(inputs["text"]),
        "pair": inputs["pair"],
        "grid": inputs["grid"],
        "steps": inputs["steps"],
        "photo": tf.cast(tf.strings.length(inputs["photo"]), tf.int64),
    }
