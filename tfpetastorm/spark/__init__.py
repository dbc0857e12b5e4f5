"""Spark writes what outgrows one machine. pyspark, the extra `spark`, is imported only when it is needed."""

from __future__ import annotations

from tfpetastorm.spark.dataframe import dataset_as_dataframe as dataset_as_dataframe
from tfpetastorm.spark.dataframe import decode_frame as decode_frame
from tfpetastorm.spark.encoding import encode_frame as encode_frame
from tfpetastorm.spark.java import use_java as use_java
from tfpetastorm.spark.materialize import materialize_dataset as materialize_dataset
from tfpetastorm.spark.rdd import dataset_as_rdd as dataset_as_rdd
from tfpetastorm.spark.rows import dict_to_spark_row as dict_to_spark_row
from tfpetastorm.spark.session import local_session as local_session
from tfpetastorm.spark.spark_dataset_converter import SparkDatasetConverter as SparkDatasetConverter
from tfpetastorm.spark.spark_dataset_converter import make_spark_converter as make_spark_converter
from tfpetastorm.spark.stored_frame import stored_dataframe as stored_dataframe

__all__ = [
    "SparkDatasetConverter",
    "dataset_as_dataframe",
    "dataset_as_rdd",
    "decode_frame",
    "dict_to_spark_row",
    "encode_frame",
    "local_session",
    "make_spark_converter",
    "materialize_dataset",
    "stored_dataframe",
    "use_java",
]
