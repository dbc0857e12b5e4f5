"""`petastorm.tools.copy_dataset`: a copy of a dataset, or of some fields and rows of it. Spark is no longer needed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from tfpetastorm.errors import DatasetExistsError, OptionError, SchemaError
from tfpetastorm.storage.opening import open_dataset
from tfpetastorm.stores.petastorm_urls import warn_of_driver
from tfpetastorm.upkeep import copying

__all__ = ["args_parser", "copy_dataset", "main"]


def copy_dataset(
    spark: Any,
    source_url: Any,
    target_url: Any,
    field_regex: Sequence[str] | None,
    not_null_fields: Sequence[str] | None,
    overwrite_output: bool,
    partitions_count: int | None,
    row_group_size_mb: float | None,
    hdfs_driver: str | None = None,
) -> None:
    """`tfpetastorm.copy_dataset` by petastorm's arguments.

    spark: not used; None will do. Files are compressed as the source's are (petastorm's were not), and stay in its
    partition folders unless `partitions_count` says how many files there should be. hdfs_driver: dropped.

    Raises OptionError (a ValueError) if no field matches, and DatasetExistsError if there is a dataset at the target;
    where pyspark is loaded, that is a `pyspark.sql.utils.AnalysisException` too, as petastorm's users expect.
    """
    warn_of_driver(hdfs_driver)
    if field_regex:
        schema = open_dataset(source_url, unmapped="omit").schema
        # As petastorm has it, an expression that matches nothing is let pass as long as another matches.
        field_regex = [pattern for pattern in field_regex if _matches(schema, pattern)]
        if not field_regex:
            raise OptionError(f"the regular expressions do not match any fields. Fields: {', '.join(schema.fields)}.")
    try:
        copying.copy_dataset(
            source_url,
            target_url,
            fields=field_regex or None,
            not_null_fields=not_null_fields or (),
            overwrite=overwrite_output,
            partition_count=partitions_count,
            partition_by=() if partitions_count else None,
            row_group_size_mb=row_group_size_mb,
            unmapped="omit",
        )
    except DatasetExistsError as error:
        raise _as_spark_says(error) from None


def args_parser() -> argparse.ArgumentParser:
    """The options of `petastorm-copy-dataset.py`. `tfpetastorm copy` takes them too, and more."""
    parser = argparse.ArgumentParser(description="Copies a dataset, or some fields and rows of it.")
    parser.add_argument("source_url", help="the dataset to copy")
    parser.add_argument("target_url", help="the folder of the copy")
    parser.add_argument("--overwrite-output", action="store_true", help="replace a dataset that is there already")
    parser.add_argument("--field-regex", nargs="+", help="copy the fields that match one of these")
    parser.add_argument("--not-null-fields", nargs="+", help="leave out rows where one of these is null")
    parser.add_argument("--partition-count", type=int, help="how many files there should be")
    parser.add_argument("--row-group-size-mb", type=int, help="row groups by size before compression")
    for name in ("--hdfs-driver", "--master"):
        parser.add_argument(name, help="not used: neither Spark nor a driver is needed")
    parser.add_argument("--spark-session-config", nargs="+", help="not used")
    return parser


def main() -> None:
    """`python -m tfpetastorm.tools.copy_dataset`."""
    _main(sys.argv[1:])


def _main(sys_argv: Sequence[str]) -> None:
    options = args_parser().parse_args(sys_argv)
    copy_dataset(
        None,
        options.source_url,
        options.target_url,
        options.field_regex,
        options.not_null_fields,
        options.overwrite_output,
        options.partition_count,
        options.row_group_size_mb,
        hdfs_driver=options.hdfs_driver,
    )


def _matches(schema: Any, pattern: str) -> bool:
    try:
        return bool(schema.select([pattern]))
    except SchemaError:
        return False


def _as_spark_says(error: DatasetExistsError) -> Exception:
    """The error as one that `except AnalysisException` catches, where Spark's exceptions are loaded."""
    spark = getattr(sys.modules.get("pyspark.sql.utils"), "AnalysisException", None)
    if spark is None:
        return error

    class TargetExistsError(DatasetExistsError, spark):  # type: ignore[misc, valid-type]
        """Both what tfpetastorm and what Spark raise."""

        def __init__(self, message: str) -> None:
            DatasetExistsError.__init__(self, message)

        def __str__(self) -> str:
            return str(self.args[0])

    return TargetExistsError(str(error))


if __name__ == "__main__":
    main()
