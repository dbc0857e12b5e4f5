"""`tfpetastorm copy URL TARGET`: chosen fields and rows of a dataset as a new one."""

from __future__ import annotations

import argparse
from typing import Any

from tfpetastorm.cli.condition import conditions
from tfpetastorm.cli.shared import bar, count, open_stored, parts, say
from tfpetastorm.cli.text import printable
from tfpetastorm.redaction import redact
from tfpetastorm.upkeep.copying import copy_dataset

#: petastorm's options that only Spark or its HDFS drivers need.
_WITHOUT_EFFECT = ("hdfs_driver", "master", "spark_session_config")


def add_copy(commands: Any, common: argparse.ArgumentParser) -> None:
    """Adds the command's parser. petastorm's own names of options work too."""
    parser = commands.add_parser(
        "copy", parents=[common], help="chosen fields and rows as a new dataset; cells are copied as they are stored"
    )
    parser.add_argument("target", help="the folder of the copy")
    parser.add_argument("--fields", action="append", metavar="NAME,…", help="names or regular expressions of fields")
    parser.add_argument(
        "--field-regex", nargs="+", action="extend", metavar="REGEX", help="the same, one expression a word"
    )
    parser.add_argument(
        "--not-null-fields", nargs="+", action="extend", metavar="NAME", help="leave out rows where one is null"
    )
    parser.add_argument(
        "--where", action="append", default=[], metavar="CONDITION", help="rows to copy, as in `head`; all must hold"
    )
    parser.add_argument("--overwrite-output", action="store_true", help="replace a dataset that is there already")
    parser.add_argument("--row-group-rows", type=count, metavar="ROWS", help="rows of a row group (as in the source)")
    parser.add_argument("--row-group-size-mb", type=float, metavar="MB", help="row groups by size before compression")
    parser.add_argument(
        "--compression", choices=["snappy", "zstd", "lz4", "gzip", "brotli", "none"], help="(as in the source)"
    )
    parser.add_argument("--rows-per-file", type=count, metavar="ROWS", help="rows of a file at most")
    parser.add_argument("--partition-count", type=count, metavar="FILES", help="how many files of about equal rows")
    parser.add_argument(
        "--partition-by", action="append", metavar="NAME,…", help="fields that become folders (as in the source)"
    )
    for name in _WITHOUT_EFFECT:
        nargs = "+" if name == "spark_session_config" else None
        parser.add_argument("--" + name.replace("_", "-"), nargs=nargs, help=argparse.SUPPRESS)
    parser.set_defaults(run=_copy)


def _copy(options: argparse.Namespace) -> None:
    for name in _WITHOUT_EFFECT:
        if getattr(options, name) is not None:
            say("warning", f"--{name.replace('_', '-')} has no effect: copying needs neither Spark nor a driver.")
    where = conditions(options.where, open_stored(options).schema) if options.where else None
    fields = [*(parts(options.fields) if options.fields else ()), *(options.field_regex or ())]
    with bar("Copying rows") as progress:
        copied = copy_dataset(
            options.url,
            options.target,
            fields=fields or None,
            not_null_fields=parts(options.not_null_fields or ()),
            where=where,
            overwrite=options.overwrite_output,
            row_group_rows=options.row_group_rows,
            row_group_size_mb=options.row_group_size_mb,
            compression=options.compression,
            file_rows=options.rows_per_file,
            partition_count=options.partition_count,
            partition_by=parts(options.partition_by) if options.partition_by else None,
            unmapped="omit" if options.drop_unmapped else "error",
            progress=progress,
        )
    of = f" of {copied.source_rows:,}" if copied.rows < copied.source_rows else ""
    print(
        f"{printable(redact(options.target))}: {copied.rows:,}{of} rows in {copied.row_groups:,} row groups, "
        f"{copied.files:,} {'file' if copied.files == 1 else 'files'}"
    )
