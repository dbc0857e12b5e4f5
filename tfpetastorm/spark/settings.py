"""Spark's Hadoop configuration, changed for a while and put back whatever happens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tfpetastorm.errors import OptionError


def parquet_settings(
    row_group_size_mb: float | None, row_group_rows: int | None, use_summary_metadata: bool
) -> dict[str, str]:
    """What Spark's Parquet writer is told, by the names of its settings."""
    settings = {
        "parquet.summary.metadata.level": "ALL" if use_summary_metadata else "NONE",
        # A summary that can't be written is an error, not silence.
        "parquet.summary.metadata.propagate-errors": "true",
        # Parquet looks at a row group's size first after so many rows. It looks at 100 of its own accord, which can be
        # many times the size if rows are images.
        "parquet.page.size.row.check.min": "3",
        # What some builds of Parquet call the same.
        "parquet.block.size.row.check.min": "3",
        "parquet.row-group.size.row.check.min": "3",
    }
    if row_group_size_mb is not None:
        settings["parquet.block.size"] = str(max(1, int(row_group_size_mb * 2**20)))
    if row_group_rows is not None:
        settings["parquet.block.row.count.limit"] = str(row_group_rows)
    return settings


@contextmanager
def hadoop_settings(spark: Any, settings: Mapping[str, str]) -> Iterator[None]:
    """These settings of the session's Hadoop configuration, within a `with` block.

    Raises OptionError for a session of Spark Connect, which has no such configuration.
    """
    try:
        configuration = spark.sparkContext._jsc.hadoopConfiguration()  # noqa: SLF001 - pyspark has no public way
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in ("pyspark", "builtins"):
            raise
        raise OptionError(
            "The session has no Hadoop configuration (Spark Connect has none). Give the writer "
            '.option("parquet.block.size", bytes) and None for the sizes here.'
        ) from None
    before = {name: configuration.get(name) for name in settings}
    try:
        for name, value in settings.items():
            configuration.set(name, value)
        yield
    finally:
        for name, old in before.items():
            if old is None:
                configuration.unset(name)
            else:
                configuration.set(name, old)
