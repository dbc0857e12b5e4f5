"""A dataset as an RDD of decoded rows."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

from tfpetastorm.schema.petastorm_fields import decode_row
from tfpetastorm.schema.unischema import Unischema
from tfpetastorm.spark.stored_frame import stored_columns


def dataset_as_rdd(
    dataset_url: str, spark_session: Any, schema_fields: Iterable[Any] | None = None, hdfs_driver: str | None = None
) -> Any:
    """The rows of a dataset, decoded, as an RDD of namedtuples of its schema. Spark reads the files that belong to it.

    dataset_url: a URL that both pyarrow and Spark know. schema_fields: names, regular expressions or fields; all unless
    told. hdfs_driver: dropped, with a DeprecationWarning.

    Raises what `open_dataset` raises, SchemaError for an unknown field.
    """
    if hdfs_driver is not None:
        reason = "hdfs_driver has no effect: Spark reads the files, by its own means."
        warnings.warn(reason, DeprecationWarning, stacklevel=2)
    frame, schema = stored_columns(spark_session, str(dataset_url), schema_fields)
    return frame.rdd.map(_Decode(schema))


class _Decode:
    """Sent to Spark's workers: a row of cells in, a namedtuple out."""

    def __init__(self, schema: Unischema) -> None:
        self._schema = schema

    def __call__(self, row: Any) -> Any:
        decoded = decode_row(row.asDict(), self._schema)
        return self._schema.namedtuple_type()._make(decoded[name] for name in self._schema.fields)
