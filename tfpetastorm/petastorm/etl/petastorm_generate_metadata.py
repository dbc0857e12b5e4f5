"""`petastorm.etl.petastorm_generate_metadata`: adds metadata to Parquet that has none. Spark is no longer needed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from tfpetastorm.cli.generate_metadata import named_schema
from tfpetastorm.errors import OptionError
from tfpetastorm.storage.metadata import PETASTORM_UNISCHEMA_KEY, UNISCHEMA_KEY
from tfpetastorm.stores.petastorm_urls import warn_of_driver
from tfpetastorm.upkeep.folder import look
from tfpetastorm.upkeep.metadata import generate_metadata

__all__ = ["example_text", "generate_petastorm_metadata", "main"]

example_text = """Example:

python -m tfpetastorm.etl.petastorm_generate_metadata \\
    --dataset_url file:///path/to/dataset \\
    --unischema_class package.module.HelloWorldSchema
"""


def generate_petastorm_metadata(
    spark: Any,
    dataset_url: str,
    unischema_class: str | None = None,
    use_summary_metadata: bool = False,
    hdfs_driver: str | None = None,
) -> None:
    """Write `_common_metadata` for the Parquet files of a folder; row-group indexes in it are kept.

    spark: not used, and not stopped; None will do. unischema_class: the full name of a Unischema of yours, which is
    imported; None for the one in the dataset, which is read without running anything. use_summary_metadata: also
    write `_metadata`. hdfs_driver: dropped.

    Raises OptionError (a ValueError) if there is no such Unischema.
    """
    warn_of_driver(hdfs_driver)
    schema = named_schema(unischema_class) if unischema_class else None
    if schema is None and not look(dataset_url).pairs.keys() & {UNISCHEMA_KEY, PETASTORM_UNISCHEMA_KEY}:
        raise OptionError(
            f"{dataset_url} holds no Unischema. Name one by unischema_class, or have the one that the columns amount "
            "to stored by `tfpetastorm generate-metadata`."
        )
    generate_metadata(dataset_url, schema, adopt=True, summary=use_summary_metadata)


def main() -> None:
    """`python -m tfpetastorm.etl.petastorm_generate_metadata`."""
    _main(sys.argv[1:])


def _main(args: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(
        prog="petastorm_generate_metadata",
        description="Adds metadata to Parquet that has none.",
        epilog=example_text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--dataset_url", required=True, help="the folder of the dataset")
    parser.add_argument("--unischema_class", help="the full name of its Unischema, if it holds none")
    parser.add_argument("--use-summary-metadata", action="store_true", help="also write _metadata")
    for name in ("--master", "--spark-driver-memory", "--hdfs-driver"):
        parser.add_argument(name, help="not used: neither Spark nor a driver is needed")
    options = parser.parse_args(args)
    generate_petastorm_metadata(
        None,
        options.dataset_url,
        options.unischema_class,
        options.use_summary_metadata,
        hdfs_driver=options.hdfs_driver,
    )


if __name__ == "__main__":
    main()
