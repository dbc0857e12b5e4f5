"""`UnischemaTFXIO` over Parquet against tfx-bsl's reader of `tf.Example`s over the same rows, kept as TFRecords."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.datasets import dataset
from benchmarks.measure import Round, alternate, time_call, time_dataset

#: Beam's runner on one machine takes its time: a share of the rows is enough.
_BEAM_SHARE = 0.1


def _readers(scale: float) -> tuple[Any, Any]:
    """Ours and theirs, with one schema."""
    from tfx_bsl.public.tfxio import TFExampleRecord

    from tfpetastorm.tfxio import UnischemaTFXIO

    parquet = str(dataset("tabular", scale)[0] / "*.parquet")
    records = str(dataset("tabular_tfrecord", scale)[0] / "*")
    schema = UnischemaTFXIO(parquet).schema
    for feature in schema.feature:  # plain Parquet may have nulls anywhere, these rows have none
        feature.ClearField("value_count")
        feature.presence.min_fraction = 1.0
        feature.shape.SetInParent()
    return UnischemaTFXIO(parquet, schema=schema), TFExampleRecord(records, schema=schema)


def tensors(*, shuffle: bool) -> Callable[[float, int], Iterator[Round]]:
    """`TensorFlowDataset` in batches of 1,024; shuffled by TFX's default, a buffer of 10,000 rows."""

    def play(scale: float, rounds: int) -> Iterator[Round]:
        from tfx_bsl.public.tfxio import TensorFlowDatasetOptions

        options = TensorFlowDatasetOptions(1024, num_epochs=1, shuffle=shuffle, shuffle_seed=7)
        ours, theirs = (reader.TensorFlowDataset(options) for reader in _readers(scale))
        yield from alternate(lambda: time_dataset(ours), lambda: time_dataset(theirs), rounds)

    return play


def beam_source(scale: float, rounds: int) -> Iterator[Round]:
    """`BeamSource` on Beam's DirectRunner, in one process, as TFX's components read: rows are only counted."""
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions

    def counted(batch: Any) -> int:
        beam.metrics.Metrics.counter("benchmark", "rows").inc(batch.num_rows)
        return int(batch.num_rows)

    def count(reader: Any) -> int:
        pipeline = beam.Pipeline(options=PipelineOptions(["--direct_running_mode=in_memory", "--direct_num_workers=1"]))
        _ = pipeline | reader.BeamSource() | beam.Map(counted)
        result = pipeline.run()
        result.wait_until_finish()
        found = result.metrics().query(beam.metrics.MetricsFilter().with_name("rows"))["counters"]
        return int(found[0].result)

    ours, theirs = _readers(scale * _BEAM_SHARE)
    yield from alternate(lambda: time_call(lambda: count(ours)), lambda: time_call(lambda: count(theirs)), rounds)
