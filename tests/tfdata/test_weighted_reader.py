"""A `WeightedSamplingReader` as a `tf.data.Dataset`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tfpetastorm as tps
from tfpetastorm.ngram import NGram


@pytest.fixture
def url(dataset_path: Path) -> str:
    schema = tps.Unischema("S", [tps.UnischemaField("id", np.int64, ()), tps.UnischemaField("x", np.float32, ())])
    with tps.DatasetWriter(dataset_path, schema, row_group_rows=10) as writer:
        writer.write_batch({"id": np.arange(100), "x": np.zeros(100, np.float32)})
    return dataset_path.as_uri()


@pytest.mark.parametrize("make", [tps.make_reader, tps.make_batch_reader])
def test_passes_are_those_of_the_reader(url: str, make: Any) -> None:
    def passes(mixed: bool) -> list[list[list[int]]]:
        options = {"shuffle_row_groups": False, "seed": 1}
        readers = [make(url, **options), make(url, filters=[("id", ">=", 50)], **options)]
        with tps.WeightedSamplingReader(readers, [0.5, 0.5], seed=2) as reader:
            if mixed:
                dataset = tps.make_petastorm_dataset(reader)
                return [[np.atleast_1d(element.id).tolist() for element in dataset] for _ in range(2)]
            first = [np.atleast_1d(element.id).tolist() for element in reader]
            reader.reset()
            return [first, [np.atleast_1d(element.id).tolist() for element in reader]]

    found = passes(True)
    assert found == passes(False)
    assert found[0] != found[1]


def test_ngrams_mix(url: str) -> None:
    readers = [tps.make_reader(url, NGram({0: ["id"], 1: ["id", "x"]}, 1, "id")) for _ in range(2)]
    with tps.WeightedSamplingReader(readers, [0.5, 0.5], seed=1) as reader:
        windows = list(tps.make_petastorm_dataset(reader))
    assert len(windows) >= 99
    assert all(int(window[1].id) == int(window[0].id) + 1 for window in windows)
