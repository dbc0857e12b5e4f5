"""What the tests of storage share: a small schema, its rows, plain files, and a filesystem that counts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

import tfpetastorm as tps

GOLDEN = Path(__file__).parent.parent / "golden"

SCHEMA = tps.Unischema(
    "Small",
    [
        tps.UnischemaField("id", np.int64),
        tps.UnischemaField("name", np.str_, (), None, True),
        tps.UnischemaField("points", np.float32, (None, 2), tps.NdarrayCodec()),
    ],
)


def row(i: int) -> dict[str, Any]:
    return {"id": i, "name": None if i % 3 == 0 else f"n{i}", "points": np.full((i % 4, 2), i, np.float32)}


def write(path: Path, ids: range, **options: Any) -> None:
    with tps.DatasetWriter(path, SCHEMA, workers=0, **options) as writer:
        for i in ids:
            writer.write(row(i))


def ids_of(path: Any, **options: Any) -> list[int]:
    """The ids of all rows, in the dataset's order, read by pyarrow from the files that it lists."""
    dataset = tps.open_dataset(path, **options)
    found: list[int] = []
    for i, file in enumerate(dataset.files):
        with dataset.filesystem.open_input_file(file.path) as source, pq.ParquetFile(source) as opened:
            found += opened.read(columns=["id"]).column("id").to_pylist()
        assert opened.metadata.num_rows == dataset.file_metadata(i).num_rows
    assert len(found) == dataset.num_rows
    return found


def plain(path: Path, **columns: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


class Counting(pafs.FileSystemHandler):
    """The local filesystem, counting what is asked of it: `calls["open:a.parquet"]`, `calls["list"]`."""

    def __init__(self) -> None:
        self.local = pafs.LocalFileSystem()
        self.calls: Counter[str] = Counter()

    def get_type_name(self) -> str:
        return "counting"

    def normalize_path(self, path: str) -> str:
        return path

    def get_file_info(self, paths: list[str]) -> Any:
        self.calls["info"] += 1
        return self.local.get_file_info(paths)

    def get_file_info_selector(self, selector: Any) -> Any:
        self.calls["list"] += 1
        return self.local.get_file_info(selector)

    def open_input_file(self, path: str) -> Any:
        self.calls["open:" + Path(path).name] += 1
        self.calls["open"] += 1
        return pa.PythonFile(Path(path).open("rb"), mode="r")

    def open_input_stream(self, path: str) -> Any:
        return self.open_input_file(path)

    def open_output_stream(self, path: str, metadata: Any) -> Any:
        return pa.PythonFile(Path(path).open("wb"), mode="w")

    def open_append_stream(self, path: str, metadata: Any) -> Any:
        raise NotImplementedError

    def create_dir(self, path: str, recursive: bool) -> None:
        self.local.create_dir(path, recursive=recursive)

    def delete_dir(self, path: str) -> None:
        self.local.delete_dir(path)

    def delete_dir_contents(self, path: str, missing_dir_ok: bool = False) -> None:
        raise NotImplementedError

    def delete_root_dir_contents(self) -> None:
        raise NotImplementedError

    def delete_file(self, path: str) -> None:
        self.local.delete_file(path)

    def move(self, src: str, dest: str) -> None:
        self.calls["move:" + Path(dest).name] += 1
        self.local.move(src, dest)

    def copy_file(self, src: str, dest: str) -> None:
        raise NotImplementedError
