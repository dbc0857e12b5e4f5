"""`petastorm.tools.spark_session_cli`: options by which a command line makes a Spark session."""

from __future__ import annotations

import argparse
import importlib.util
from typing import Any

from tfpetastorm.errors import OptionError
from tfpetastorm.spark.java import use_java

__all__ = ["add_configure_spark_arguments", "configure_spark"]


def add_configure_spark_arguments(argparser: argparse.ArgumentParser) -> None:
    """Adds `--master` and `--spark-session-config`, for `configure_spark`."""
    argparser.add_argument("--master", help='the master of Spark, such as "local[4]"; Spark\'s default unless given')
    argparser.add_argument(
        "--spark-session-config", nargs="+", metavar="KEY=VALUE", help="settings, such as spark.executor.memory=10g"
    )


def configure_spark(spark_session_builder: Any, args: argparse.Namespace) -> Any:
    """Applies the options to a `SparkSession.Builder`, and returns it.

    Raises RuntimeError if the parser does not have them, OptionError (a ValueError) for a setting without a value,
    MissingJavaError, which says what to install, where the session would not find a Java.
    """
    if "spark_session_config" not in args or "master" not in args:
        raise RuntimeError(
            "--spark-session-config and --master are no options of this parser. Call "
            "add_configure_spark_arguments(parser) before it parses."
        )
    for text in args.spark_session_config or ():
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise OptionError(f"{text!r} is no setting of Spark. Write key=value, such as spark.executor.cores=2.")
        spark_session_builder.config(key, value)
    # A server of Spark Connect has its own.
    if importlib.util.find_spec("pyspark") is not None and not str(args.master).startswith("sc://"):
        use_java()
    if args.master:
        spark_session_builder.master(args.master)
    return spark_session_builder
