"""Datasets on an object store, read and indexed by Spark's workers through a real S3 server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import tfpetastorm as tps
from benchmarks.s3_server import S3Server
from tfpetastorm.spark import dataset_as_dataframe, stored_dataframe

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:pyspark"),
    pytest.mark.filterwarnings("ignore::FutureWarning:pyspark"),
]

SCHEMA = tps.Unischema(
    "S",
    [
        tps.UnischemaField("id", np.int64),
        tps.UnischemaField("label", np.str_),
        tps.UnischemaField("x", np.float32, (3,), tps.NdarrayCodec()),
    ],
)


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with S3Server() as running:
        yield running


@pytest.fixture
def url(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """Of a dataset of twelve row groups, with the credentials in it and nowhere else."""
    server.reset(objects=True)
    for name in server.environment():
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    url = str(server.url("set"))
    with tps.DatasetWriter(url, SCHEMA, row_group_rows=5) as writer:
        for i in range(60):
            writer.write({"id": i, "label": f"l{i // 7}", "x": np.full(3, i, np.float32)})
    return url


def test_sparks_workers_connect_for_themselves(spark: Any, url: str, server: S3Server) -> None:
    server.faults(latency=0.01, fail_every=13)
    rows = dataset_as_dataframe(spark, url, partitions=3).collect()
    assert [(row.id, row.label, row.x) for row in rows] == [(i, f"l{i // 7}", [float(i)] * 3) for i in range(60)]
    on_filesystem = dataset_as_dataframe(spark, "data/set", ["id"], filesystem=server.fsspec(), where=[("id", "<", 7)])
    assert [row.id for row in on_filesystem.collect()] == list(range(7))


def test_an_index_is_built_there_too(spark: Any, url: str) -> None:
    tps.build_rowgroup_index(url, spark, [tps.SingleFieldIndexer("label", "label")])
    with tps.make_reader(url, rowgroup_selector=tps.SingleIndexSelector("label", ["l3"])) as reader:
        assert {row.id for row in reader} >= set(range(21, 28))
        assert len(reader) < 60


def test_no_credentials_are_told(spark: Any, url: str, server: S3Server, capfd: pytest.CaptureFixture[str]) -> None:
    frame = dataset_as_dataframe(spark, url)
    frame.explain(True)
    told = [repr(frame)]
    server.faults(fail_every=1, status="403 Forbidden", code="AccessDenied")
    try:
        with pytest.raises(Exception, match="data/set") as caught:
            frame.collect()
        told.append(str(caught.value))
        with pytest.raises(Exception, match="data/set") as caught:
            tps.build_rowgroup_index(url, spark, [tps.SingleFieldIndexer("label", "label")])
        told.append(str(caught.value))
        # This Spark knows no S3: it says so, of the URL that it was handed.
        server.faults()
        with pytest.raises(Exception, match="s3") as caught:
            stored_dataframe(spark, url)
        told.append(str(caught.value))
    finally:
        server.faults()
    told += capfd.readouterr()
    for secret in (server.secret_key, server.access_key):
        assert not [text for text in told if secret in text]
