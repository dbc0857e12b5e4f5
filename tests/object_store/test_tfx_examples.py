"""UnischemaExampleGen's work on a store: what needs no TFX for it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest

import tfpetastorm as tps
from benchmarks.s3_server import SECRET_KEY, S3Server
from tests.storage.helpers import SCHEMA, row
from tfpetastorm.errors import DatasetError
from tfpetastorm.read.fetch import Fetcher, Source
from tfpetastorm.storage.metadata import UNISCHEMA_KEY
from tfpetastorm.tfx.example_gen.layout import Artifact, artifact_schema
from tfpetastorm.tfx.example_gen.matched import match
from tfpetastorm.tfx.example_gen.opened import open_inputs
from tfpetastorm.tfx.example_gen.rewriting import Rewriting, pieces_of
from tfpetastorm.tfx.example_gen.splitting import Buckets


@pytest.fixture
def base(s3: S3Server) -> str:
    """A URL with credentials and a query, below which there are two datasets."""
    for split, ids in (("train", range(30)), ("eval", range(30, 40))):
        with tps.DatasetWriter(s3.url(f"sets/{split}"), SCHEMA, workers=0, row_group_rows=10) as writer:
            for number in ids:
                writer.write(row(number))
    return s3.url("sets")


def test_patterns_are_below_a_url(base: str, s3: S3Server) -> None:
    for pattern in ("train/*", "train", "tr*/*.parquet"):
        found = match(base, "train", pattern)
        assert [info.path.startswith("data/sets/train/part-") for info in found.infos] == [True]
        assert found.roots == ("data/sets/train",)
        assert SECRET_KEY not in found.fingerprint + found.url
    before = match(base, "train", "train").fingerprint
    with tps.DatasetWriter(s3.url("sets/train"), SCHEMA, workers=0, mode="append") as writer:
        writer.write(row(99))
    assert match(base, "train", "train").fingerprint != before
    with pytest.raises(DatasetError, match="'eval' can't be read") as told:
        match(base, "eval", "test/*")
    assert SECRET_KEY not in str(told.value)


def test_rows_are_split_from_store_to_store(base: str, s3: S3Server) -> None:
    inputs = open_inputs([match(base, "all", "*")])
    artifact = Artifact.at(s3.url("out"))
    buckets = Buckets((("one", 2), ("two", 1)))
    pairs = {UNISCHEMA_KEY: inputs.schema.to_json().encode()}
    sources = tuple(
        Source(one.filesystem, one.inventory, one.column_paths, one.partition_fields) for one in inputs.datasets
    )
    rewriting = Rewriting(sources, inputs.schema, inputs.columns, (), pairs, buckets, artifact, 10, "snappy")
    for _ in range(2):  # as when Beam takes a bundle again
        for piece in pieces_of(inputs, inputs.files["all"], None):
            rewriting.run(piece, Fetcher(sources[piece.dataset]))
    rows = artifact.finish(buckets.names, inputs.columns, pairs)
    assert sum(rows.values()) == 40
    assert min(rows.values()) > 5
    whole = tps.open_dataset(s3.url("out"))
    assert (whole.num_rows, whole.schema) == (40, inputs.schema)
    assert artifact_schema(s3.url("out"), buckets.names) == inputs.schema
    found: list[Any] = []
    for name in buckets.names:
        infos = s3.filesystem().get_file_info(pafs.FileSelector(f"data/out/Split-{name}"))
        assert all(info.base_name.endswith(".parquet") for info in infos)
        found += [pq.read_table(info.path, filesystem=s3.filesystem())["id"].to_numpy() for info in infos]
    assert sorted(np.concatenate(found)) == list(range(40))
