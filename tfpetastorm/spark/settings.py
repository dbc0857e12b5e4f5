"""What Spark, and Hadoop in it, are told while rows of a schema are written."""

from __future__ import annotations

import numpy as np

from tfpetastorm.schema.unischema import Unischema

#: By which times and dates are stored as what they are.
TIME_SETTINGS = {
    # INT96, the default, holds nanoseconds for most readers: other centuries come back as this one.
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    # NumPy's calendar, in which days of before 1582 are counted as today's. Spark 3 refuses them otherwise.
    "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED",
    "spark.sql.parquet.int96RebaseModeInWrite": "CORRECTED",
}
#: How many bytes Spark is to hand to a Python worker at once.
_HANDED_BYTES = 16 << 20


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


def sql_settings(schema: Unischema) -> dict[str, str]:
    """What Spark is told before it writes rows of a schema, by the names of its settings."""
    rows = _HANDED_BYTES // max(
        1, sum(_array_bytes(field.shape, field.dtype.itemsize) for field in schema if field.shape)
    )
    return {
        **TIME_SETTINGS,
        # Spark 3.5 bounds what it hands to Python by rows only, of which arrays can be large.
        "spark.sql.execution.arrow.maxRecordsPerBatch": str(min(10_000, max(1, rows))),
        "spark.sql.execution.arrow.maxBytesPerBatch": str(_HANDED_BYTES),
    }


def _array_bytes(shape: tuple[int | None, ...], itemsize: int) -> int:
    return int(np.prod([size or 1 for size in shape], dtype=np.int64)) * itemsize
