"""How well a reader mixes rows, as petastorm measured it: correlation of the order read with the order stored.

`tfpetastorm.plan.quality` and `tfpetastorm shuffle-quality` tell more, and without reading.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tfpetastorm.reader.factories import make_reader
from tfpetastorm.schema.field import UnischemaField
from tfpetastorm.schema.unischema import Unischema
from tfpetastorm.stores.filesystem import Url
from tfpetastorm.writing.writer import DatasetWriter

_SCHEMA = Unischema("ShuffleAnalysis", [UnischemaField("id", np.int64)])


def generate_shuffle_analysis_dataset(
    spark: Any, output_dataset_url: Url, num_rows: int = 1000, row_group_size: int = 100
) -> None:
    """Write a dataset of one int64 field, `id`, counting from 0. row_group_size: in rows. Spark is not used."""
    with DatasetWriter(output_dataset_url, _SCHEMA, row_group_rows=row_group_size) as writer:
        writer.write_batch({"id": np.arange(num_rows)})


def compute_correlation_distribution(
    dataset_url: Url, id_column: str, shuffle_row_drop_partitions: int, num_corr_samples: int = 100
) -> tuple[float, float]:
    """Mean and standard deviation, over as many readings, of the absolute correlation between the numbers in
    `id_column` as they are stored and as a shuffling reader gives them: near 0 if well mixed, 1 if not at all.
    """
    stored = _read(dataset_url, id_column, shuffle_row_groups=False)
    found = [
        _read(dataset_url, id_column, shuffle_row_groups=True, shuffle_row_drop_partitions=shuffle_row_drop_partitions)
        for _ in range(num_corr_samples)
    ]
    correlations = [abs(float(np.corrcoef(stored, order)[0, 1])) for order in found]
    return float(np.mean(correlations)), float(np.std(correlations))


def _read(url: Url, column: str, **options: Any) -> list[Any]:
    with make_reader(url, schema_fields=[column], reader_pool_type="dummy", **options) as reader:
        return [getattr(row, column) for row in reader]
