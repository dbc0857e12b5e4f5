"""Started by test_connect.py: a session of Spark Connect with its own server, which has to be a process's only one.

Arguments: a folder that does not exist yet.
"""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest

import tfpetastorm as tps
from tfpetastorm.errors import OptionError
from tfpetastorm.spark import (
    dataset_as_dataframe,
    dataset_as_rdd,
    decode_frame,
    encode_frame,
    materialize_dataset,
    stored_dataframe,
)
from tfpetastorm.spark.java import use_java

SCHEMA = tps.Unischema(
    "Connected",
    [
        tps.UnischemaField("id", np.int64),
        tps.UnischemaField("at", np.dtype("datetime64[us]")),
        tps.UnischemaField("points", np.float32, (None, 2), tps.NdarrayCodec()),
    ],
)


def made(columns):
    ids = columns["id"]
    return {
        "id": ids,
        # Another century, which Spark's own default would lose.
        "at": np.datetime64("1000-01-01", "us") + ids.astype("timedelta64[us]"),
        "points": [np.full((int(i), 2), i, np.float32) for i in ids],
    }


def main(folder: str) -> None:
    use_java()
    from pyspark.sql import SparkSession

    os.environ["PYSPARK_PYTHON"] = sys.executable
    spark = SparkSession.builder.remote("local[1]").config("spark.ui.enabled", "false").getOrCreate()
    setting = "spark.sql.parquet.outputTimestampType"
    before = spark.conf.get(setting, None)
    url = f"file://{folder}"
    with materialize_dataset(spark, url, SCHEMA):
        encode_frame(spark.range(5), SCHEMA, made).write.parquet(url)
    assert spark.conf.get(setting, None) == before
    with tps.make_reader(url, shuffle_row_groups=False, reader_pool_type="dummy") as reader:
        rows = sorted(reader, key=lambda row: row.id)
    assert [row.points.shape for row in rows] == [(i, 2) for i in range(5)]
    assert rows[4].at == np.datetime64("1000-01-01T00:00:00.000004")
    assert dataset_as_dataframe(spark, url, where=[("id", ">", 2)]).count() == 2
    assert decode_frame(stored_dataframe(spark, url), SCHEMA, ["id"]).count() == 5
    for refused, said in [
        (lambda: materialize_dataset(spark, url, SCHEMA, 64).__enter__(), "no Hadoop configuration"),
        (lambda: dataset_as_rdd(url, spark), "dataset_as_dataframe"),
    ]:
        with pytest.raises(OptionError, match=said):
            refused()
    print("done")


if __name__ == "__main__":
    main(sys.argv[1])
