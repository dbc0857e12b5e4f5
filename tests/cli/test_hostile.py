"""No command imports or calls what a dataset names (uber/petastorm#741)."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tfpetastorm as tps
from tfpetastorm.cli import main
from tfpetastorm.etl import metadata_util, petastorm_generate_metadata
from tfpetastorm.tools import copy_dataset

COMMANDS: dict[str, Any] = {
    "info": lambda url: main(["info", url]),
    "head": lambda url: main(["head", url]),
    "shuffle-quality": lambda url: main(["shuffle-quality", url]),
    "copy": lambda url: main(["copy", url, url + "-copy"]),
    "generate-metadata": lambda url: main(["generate-metadata", url]),
    "check": lambda url: main(["generate-metadata", url, "--check"]),
    "repair": lambda url: main(["generate-metadata", url, "--repair"]),
    "throughput": lambda url: main(["throughput", url, "--method", "make_reader", "-n", "2", "-m", "0"]),
    "metadata_util": lambda url: metadata_util._main(["--dataset-url", url]),
    "petastorm_generate_metadata": lambda url: petastorm_generate_metadata._main(["--dataset_url", url]),
    "petastorm_copy_dataset": lambda url: copy_dataset._main([url, url + "-copy"]),
}


class Call:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return exec, (f"open({str(self.marker)!r}, 'w').close()",)


@pytest.mark.parametrize("key", ["dataset-toolkit.unischema.v1", "dataset-toolkit.rowgroups_index.v1"])
@pytest.mark.parametrize("command", COMMANDS)
def test_nothing_in_a_dataset_is_run(
    command: str, key: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    marker = tmp_path / "ran"
    with tps.DatasetWriter(
        tmp_path / "dataset", tps.Unischema("S", [tps.UnischemaField("id", np.int64)]), workers=0
    ) as writer:
        writer.write_batch({"id": np.arange(9)})
    metadata = tmp_path / "dataset/_common_metadata"
    pairs = {k.decode(): v for k, v in pq.read_metadata(metadata).metadata.items() if k.startswith(b"dataset-toolkit")}
    pairs[key] = pickle.dumps(Call(marker))
    pq.write_metadata(pa.schema([("id", pa.int64())]).with_metadata(pairs), metadata)
    try:
        status = COMMANDS[command]((tmp_path / "dataset").as_uri())
    except tps.TfpetastormError:
        status = 2
    assert not marker.exists()
    if key.endswith("unischema.v1") and command != "repair":
        assert status in (1, 2), "it is refused, not passed over"
