"""Spark writes what outgrows one machine. pyspark, the extra `spark`, is imported only when it is needed."""

from __future__ import annotations

from tfpetastorm.spark.java import use_java as use_java
from tfpetastorm.spark.materialize import materialize_dataset as materialize_dataset
from tfpetastorm.spark.rdd import dataset_as_rdd as dataset_as_rdd
from tfpetastorm.spark.rows import dict_to_spark_row as dict_to_spark_row
from tfpetastorm.spark.session import local_session as local_session
from tfpetastorm.spark.spark_dataset_converter import SparkDatasetConverter as SparkDatasetConverter
from tfpetastorm.spark.spark_dataset_converter import make_spark_converter as make_spark_converter

__all__ = [
    "SparkDatasetConverter",
    "dataset_as_rdd",
    "dict_to_spark_row",
    "local_session",
    "make_spark_converter",
    "materialize_dataset",
    "use_java",
]
