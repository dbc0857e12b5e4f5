"""`materialize_dataset`: what Spark writes within a `with` block becomes a dataset with a Unischema."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tfpetastorm.errors import (
    DamagedDataError,
    DatasetError,
    DatasetWarning,
    OptionError,
    PetastormMetadataGenerationError,
    SchemaMismatchError,
)
from tfpetastorm.plan.numbers import whole_number
from tfpetastorm.schema.unischema import Unischema
from tfpetastorm.spark.settings import hadoop_settings, parquet_settings, session_settings, sql_settings
from tfpetastorm.stores.filesystem import Url, resolve
from tfpetastorm.writing.adopt import adopt_files


@contextmanager
def materialize_dataset(
    spark: Any,
    dataset_url: Url,
    schema: Unischema,
    row_group_size_mb: float | None = None,
    use_summary_metadata: bool = False,
    filesystem_factory: Callable[[], Any] | None = None,
    *,
    row_group_rows: int | None = None,
    filesystem: Any = None,
) -> Iterator[None]:
    """Make a dataset of what Spark writes to `dataset_url` within the block: of all Parquet files there at its end.

    `with materialize_dataset(spark, url, Schema, 64): spark.createDataFrame(rows, Schema.as_spark_schema()).write
    .parquet(url)`. Any mode and `partitionBy` will do. If the block raises, no metadata is written, and that of before
    is left alone. Spark's configuration, and Hadoop's, is as it was afterwards, whatever happens. Within the block
    timestamps are stored as microseconds (Spark's INT96 would lose other centuries), old dates by NumPy's calendar, and
    what Spark hands to Python is bounded in bytes; settings that the session has been given go before these.

    spark: a SparkSession. row_group_size_mb: of row groups, in MiB of encoded columns, whose default is Spark's own
    (128). row_group_rows: the most rows of one; Spark 3 does not know it, which is warned of. use_summary_metadata: let
    Spark write `_metadata` too. filesystem, filesystem_factory: a `pyarrow.fs` or fsspec filesystem on which the
    metadata is written, or what makes one; Spark itself goes by the URL.

    Raises PetastormMetadataGenerationError if what is there can't be read as the schema says, naming file and field.
    """
    if not isinstance(schema, Unischema):
        raise OptionError(f"materialize_dataset takes a Unischema, not {type(schema).__name__}.")
    if not isinstance(dataset_url, (str, os.PathLike)):
        raise OptionError("materialize_dataset takes one folder, not a list.")
    if row_group_size_mb is not None:
        number = isinstance(row_group_size_mb, (int, float, np.number))
        if not number or not 0 < row_group_size_mb < math.inf:
            raise OptionError(f"row_group_size_mb is a number above 0, not {row_group_size_mb!r}.")
    if row_group_rows is not None:
        row_group_rows = whole_number("row_group_rows", row_group_rows, 1)
    settings = parquet_settings(row_group_size_mb or None, row_group_rows, use_summary_metadata)
    with hadoop_settings(spark, settings), session_settings(spark, sql_settings(schema)):
        yield
    if filesystem is None and filesystem_factory is not None:
        filesystem = filesystem_factory()
    location = resolve(dataset_url, filesystem, glob=False)
    try:
        adopted = adopt_files(location, schema, keep_summary=use_summary_metadata)
    except (DatasetError, DamagedDataError, SchemaMismatchError) as error:
        raise PetastormMetadataGenerationError(
            f"What lies at {location.url} can't be made a dataset of the schema {schema.schema_name!r}: {error} "
            "No metadata was written; the files are as Spark left them."
        ) from error
    if row_group_rows is not None and adopted.largest > row_group_rows:
        warnings.warn(
            f"This version of Spark does not bound row groups by rows: the largest has {adopted.largest}, not "
            f"{row_group_rows}. Spark 4 does; row_group_size_mb works with all.",
            DatasetWarning,
            stacklevel=3,
        )
