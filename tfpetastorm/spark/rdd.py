"""A dataset as an RDD of decoded rows."""

from __future__ import annotations

import datetime as dt
import warnings
from collections.abc import Iterable, Sequence
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
    zoned = [field.name for field in frame.schema.fields if field.dataType.typeName() == "timestamp"]
    return frame.rdd.map(_Decode(schema, zoned))


class _Decode:
    """Sent to Spark's workers: a row of cells in, a namedtuple out."""

    def __init__(self, schema: Unischema, zoned: Sequence[str]) -> None:
        self._schema = schema
        self._zoned = zoned

    def __call__(self, row: Any) -> Any:
        cells = row.asDict()
        for name in self._zoned:
            # Spark's are of the worker's own zone, without saying so.
            cells[name] = cells[name] and cells[name].astimezone(dt.timezone.utc)
        decoded = decode_row(cells, self._schema)
        return self._schema.namedtuple_type()._make(decoded[name] for name in self._schema.fields)
