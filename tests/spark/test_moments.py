"""Moments are the same wherever Spark runs: here, five hours behind UTC."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PROGRAM = """
import json
import sys
import time

import numpy as np
import tfpetastorm as tps
from tfpetastorm.spark import dataset_as_dataframe, dataset_as_rdd, dict_to_spark_row, encode_frame
from tfpetastorm.spark import local_session, materialize_dataset

assert time.timezone == 5 * 3600
folder = sys.argv[1]
spark = local_session(1)
Moments = tps.Unischema(
    "Moments",
    [
        tps.UnischemaField("id", np.int64),
        tps.UnischemaField("plain", "datetime64[us]"),
        tps.UnischemaField("stored", "datetime64[us]", (), tps.ScalarCodec("timestamp[us]"), True),
        tps.UnischemaField("listed", "datetime64[us]", (None,)),
    ],
)
# Spark takes no rows with arrays.
Scalars = Moments.create_schema_view(["id", "plain", "stored"])
# In the hour that clocks there strike twice, in the middle of a summer, and long ago.
when = np.array(["2001-10-28T05:30", "2001-10-28T06:30", "2001-07-01T12:00:00.000001", "1700-01-01"], "datetime64[us]")
rows = [
    {"id": i, "plain": moment, "stored": moment if i else None, "listed": when[:i]} for i, moment in enumerate(when)
]
with tps.DatasetWriter(f"{folder}/writer", Moments) as writer:
    for row in rows:
        writer.write(row)


def columns(given):
    chosen = [rows[i] for i in given["id"]]
    return {name: [row[name] for row in chosen] for name in rows[0]}


def told(rows):
    return sorted(
        [row.id.item(), str(row.plain), str(row.stored), *([str(part) for part in cell] for cell in row[3:])]
        for row in rows
    )


by_row = [dict_to_spark_row(Scalars, {name: row[name] for name in Scalars.fields}) for row in rows]
frames = {
    "columns": (Moments, encode_frame(spark.range(4), Moments, columns)),
    "rows": (Scalars, spark.createDataFrame(by_row, Scalars.as_spark_schema())),
    "again": (Moments, encode_frame(dataset_as_dataframe(spark, f"file://{folder}/writer"), Moments)),
}
for name, (schema, frame) in frames.items():
    with materialize_dataset(spark, f"file://{folder}/{name}", schema):
        frame.write.parquet(f"file://{folder}/{name}")
found = {}
for name in ("writer", *frames):
    url = f"file://{folder}/{name}"
    with tps.make_reader(url, reader_pool_type="dummy") as reader:
        found[name] = told(reader)
    found["RDD of " + name] = told(dataset_as_rdd(url, spark).collect())
spark.stop()
print(json.dumps(found))
"""


def test_moments_where_clocks_differ_from_utc(tmp_path: Path) -> None:
    environment = os.environ | {"TZ": "America/New_York", "PYTHONPATH": str(ROOT), "PYSPARK_PYTHON": sys.executable}
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, tmp_path]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    when = ["2001-10-28T05:30:00.000000", "2001-10-28T06:30:00.000000", "2001-07-01T12:00:00.000001"]
    when.append("1700-01-01T00:00:00.000000")
    expected = [[i, moment, moment if i else "None", when[:i]] for i, moment in enumerate(when)]
    assert len(found) == 8
    for name, rows in found.items():
        assert rows == ([row[:3] for row in expected] if name.endswith("rows") else expected), name
