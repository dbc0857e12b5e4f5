"""`materialize_dataset`: what Spark writes within a `with` block becomes a dataset with a Unischema."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import pyarrow.fs as pafs

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
from tfpetastorm.spark.files import check_unquoted
from tfpetastorm.spark.overrides import hadoop_settings, is_connect, session_settings
from tfpetastorm.spark.settings import parquet_settings, sql_settings
from tfpetastorm.stores.filesystem import Location, Url, join, resolve
from tfpetastorm.writing.adopt import adopt_files

#: Names of the zone in which moments are what is stored.
_UTC = (
    "UTC",
    "Etc/UTC",
    "GMT",
    "Etc/GMT",
    "Z",
    "Zulu",
    "Etc/Zulu",
    "UCT",
    "Etc/UCT",
    "+00:00",
    "UTC+00:00",
    "GMT+00:00",
)


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

    If the folder holds no files because Spark wrote no rows, that is a dataset of no rows.

    Raises OptionError for what can't be written so: sizes with Spark Connect, a URL that Spark takes for another
    folder. Raises PetastormMetadataGenerationError if what is there can't be read as the schema says, naming file and
    field, or folders are named by moments of another zone than UTC.
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
    check_unquoted(os.fspath(dataset_url))
    settings = parquet_settings(row_group_size_mb, row_group_rows, use_summary_metadata)
    # Spark Connect can't be told any of these, and needs none if nothing was asked for.
    asked = row_group_size_mb is not None or row_group_rows is not None or use_summary_metadata
    hadoop = nullcontext() if is_connect(spark) and not asked else hadoop_settings(spark, settings)
    with hadoop, session_settings(spark, sql_settings(schema)):
        yield
    if filesystem is None and filesystem_factory is not None:
        filesystem = filesystem_factory()
    location = resolve(dataset_url, filesystem, glob=False)
    try:
        adopted = adopt_files(
            location,
            schema,
            keep_summary=use_summary_metadata,
            empty=_was_written(location),
            not_in_folders=_moved(spark, schema),
        )
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


def _was_written(location: Location) -> bool:
    """Whether Spark has put down that it was there: of no rows it writes no file if they go to folders."""
    place = join(location.paths[0], "_SUCCESS")
    return bool(location.filesystem.get_file_info([place])[0].type == pafs.FileType.File)


def _moved(spark: Any, schema: Unischema) -> dict[str, str]:
    """Fields of moments, which Spark names folders by in the zone of its session, and what to do about it."""
    zone = str(spark.conf.get("spark.sql.session.timeZone", "UTC"))
    if zone in _UTC:
        return {}
    reason = (
        f"Spark names folders by moments in the zone of its session, {zone}, and here they are in UTC. Before they are "
        'written: spark.conf.set("spark.sql.session.timeZone", "UTC").'
    )
    return {field.name: reason for field in schema if field.kind == "datetime"}
