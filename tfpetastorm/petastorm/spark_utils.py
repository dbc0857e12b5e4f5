"""`petastorm.spark_utils`: a dataset as an RDD."""

from __future__ import annotations

from tfpetastorm.spark.rdd import dataset_as_rdd as dataset_as_rdd

__all__ = ["dataset_as_rdd"]
