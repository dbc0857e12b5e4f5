"""Spark writes what outgrows one machine. pyspark, the extra `spark`, is imported only when it is needed."""

from __future__ import annotations

from tfpetastorm.spark.materialize import materialize_dataset as materialize_dataset
from tfpetastorm.spark.rows import dict_to_spark_row as dict_to_spark_row

__all__ = ["dict_to_spark_row", "materialize_dataset"]
