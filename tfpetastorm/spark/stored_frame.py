"""A dataset's Parquet as Spark itself reads it, which is what SQL sees."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

from tfpetastorm.errors import OptionError
from tfpetastorm.schema.spark_types import spark_types
from tfpetastorm.schema.unischema import Unischema
from tfpetastorm.spark.decoded_arrow import decoded_type, spark_type_of
from tfpetastorm.spark.stored_types import read_schema
from tfpetastorm.storage.dataset import StoredDataset
from tfpetastorm.storage.opening import open_dataset
from tfpetastorm.stores.filesystem import is_local


def stored_dataframe(
    spark: Any,
    dataset_url: Any,
    schema_fields: Iterable[Any] | None = None,
    *,
    view: str | None = None,
    spark_url: str | None = None,
) -> Any:
    """The Parquet of a dataset as Spark reads it: scalars to be asked for by SQL, fields with other codecs as the bytes
    they are stored as. Only files that belong to the dataset, whatever else lies there; fields in folder names have the
    type that the schema says. Of a dataset without files, it is one without rows, of the types that Spark would store.

    dataset_url: of one folder or file. schema_fields: as in `dataset_as_dataframe`. view: a name that SQL shall know it
    by, in this session. spark_url: what Spark calls the same folder or file, such as s3a://bucket/set; unless told it
    is `dataset_url`, without credentials and query, for which Spark has settings of its own.

    Raises what `open_dataset` raises, and SchemaError for an unknown field.
    """
    if not isinstance(dataset_url, (str, os.PathLike)):
        raise OptionError(f"stored_dataframe takes the URL of one folder or file, not {type(dataset_url).__name__}.")
    frame, _ = stored_columns(spark, os.fspath(dataset_url), schema_fields, spark_url)
    if view is not None:
        frame.createOrReplaceTempView(view)
    return frame


def stored_columns(
    spark: Any, url: str, schema_fields: Iterable[Any] | None, spark_url: str | None = None
) -> tuple[Any, Unischema]:
    """The frame of `stored_dataframe`, and the schema of its fields."""
    stored = open_dataset(url, sidecar="never")
    schema = stored.schema if schema_fields is None else stored.schema.create_schema_view(schema_fields)
    if not stored.files:
        # Spark has nothing to infer a schema from.
        return spark.createDataFrame([], read_schema(schema)), schema
    base = _for_spark(stored, url) if spark_url is None else spark_url.rstrip("/")
    if len(stored.files) == 1:
        base = base.removesuffix("/" + stored.files[0].name)
    # Only listed files are data. One path a file; the base keeps the fields that folders hold.
    paths = [unglobbed(f"{base}/{file.name}") for file in stored.files]
    reader = spark.read.option("basePath", base)
    if any(kinds != stored.arrow_schemas[0] for kinds in stored.arrow_schemas[1:]):
        reader = reader.option("mergeSchema", "true")
    frame = reader.parquet(*paths)
    if stored.partition_fields:
        # Spark guesses: "01" is 1 to it, and "2020-01-01" a date.
        frame = reader.schema(_with_partitions(frame.schema, stored)).parquet(*paths)
    return frame.select(
        *(quoted(*stored.column_paths.get(name, (name,))).alias(name) for name in schema.fields)
    ), schema


def _for_spark(stored: StoredDataset, url: str) -> str:
    """A dataset's URL as Hadoop writes it: nothing quoted, and without what only pyarrow understands."""
    if is_local(stored.filesystem):
        return f"file://{stored.root}"
    scheme, _, rest = url.partition("://")
    host, slash, path = rest.partition("?")[0].rstrip("/").partition("/")
    if not scheme.lower().startswith(("abfs", "wasb")):
        # There the part before the "@" is an address.
        host = host.rpartition("@")[2]
    return f"{scheme}://{host}{slash}{unquote(path)}"


def quoted(*path: str) -> Any:
    """A column by its whole name, whatever characters that has; or a member of a struct."""
    from pyspark.sql import functions

    return functions.col(".".join("`" + part.replace("`", "``") + "`" for part in path))


def unglobbed(path: str) -> str:
    """A path in which Spark takes no character for a pattern."""
    return "".join("\\" + char if char in "{}[]*?\\" else char for char in path)


def _with_partitions(found: Any, stored: StoredDataset) -> Any:
    types = spark_types()
    kinds = {name: spark_type_of(decoded_type(stored.schema.fields[name])) for name in stored.partition_fields}
    return types.StructType(
        [types.StructField(part.name, kinds.get(part.name, part.dataType), part.nullable) for part in found.fields]
    )
