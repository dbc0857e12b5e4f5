"""UnischemaExampleGen where its artifact's folder is not empty: after an attempt that failed, or by mistake."""

from __future__ import annotations

import os
import pickle
import shutil
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tfpetastorm as tps
from tests.tfx.generating import files_of, generate, resolved, splits, table_of
from tfpetastorm.errors import DatasetChangedError, DatasetError, UnsafeDataError


@pytest.fixture
def base(tmp_path: Path) -> Path:
    for split, rows in (("train", 40), ("eval", 10)):
        (tmp_path / "data" / split).mkdir(parents=True)
        pq.write_table(pa.table({"id": range(rows)}), tmp_path / "data" / split / "part-0.parquet", row_group_size=10)
    return tmp_path / "data"


def linked(base: Path) -> object:
    from tfpetastorm.tfx import UnischemaExampleGen

    return UnischemaExampleGen(str(base), input_config=splits(train="train/*", eval="eval/*"))


def test_a_second_attempt_leaves_the_source_as_it_is(base: Path, tmp_path: Path) -> None:
    """What the first one linked are the source's own bytes: nothing may be written over them."""
    before = (base / "train" / "part-0.parquet").read_bytes()
    for _ in range(2):
        examples = generate(linked(base), tmp_path / "out")
        assert (base / "train" / "part-0.parquet").read_bytes() == before
        assert table_of(examples, "train").num_rows == 40


@pytest.mark.parametrize("anew", [False, True])
def test_nothing_of_an_attempt_before_is_left(base: Path, tmp_path: Path, anew: bool) -> None:
    from tfpetastorm.tfx import UnischemaExampleGen

    for folder in ("Split-train", ".writing"):
        (tmp_path / "out" / folder).mkdir(parents=True)
        pq.write_table(pa.table({"other": ["x"]}), tmp_path / "out" / folder / "old.parquet")
    (tmp_path / "out" / "_common_metadata").write_bytes(b"half")
    examples = generate(UnischemaExampleGen(str(base / "train")) if anew else linked(base), tmp_path / "out")
    assert [path.name for path in files_of(examples, "train")] == ["part-0.parquet"]
    assert not (tmp_path / "out" / ".writing").exists()
    assert tps.open_dataset(examples.uri).num_rows == (40 if anew else 50)


def test_an_input_in_the_artifacts_own_folder_is_refused(base: Path, tmp_path: Path) -> None:
    for split in ("train", "eval"):
        shutil.copytree(base / split, tmp_path / "out" / f"Split-{split}")
    from tfpetastorm.tfx import UnischemaExampleGen

    component = UnischemaExampleGen(str(tmp_path / "out"), input_config=splits(train="Split-train/*"))
    (tmp_path / "link").symlink_to(tmp_path / "out")
    for uri in (tmp_path / "out", tmp_path / "link"):
        with pytest.raises(DatasetError, match="where the examples are to be written"):
            generate(component, uri)
    assert pq.read_table(tmp_path / "out" / "Split-train" / "part-0.parquet").num_rows == 40


def test_files_whose_names_differ_in_case_alone_stay_apart(tmp_path: Path) -> None:
    from tfpetastorm.tfx import UnischemaExampleGen

    for name in ("a/Part.parquet", "b/part.parquet"):
        (tmp_path / "data" / name).parent.mkdir(parents=True)
        pq.write_table(pa.table({"id": [1]}), tmp_path / "data" / name)
    examples = generate(
        UnischemaExampleGen(str(tmp_path / "data"), input_config=splits(train="*/*.parquet", eval="a/*")),
        tmp_path / "out",
    )
    assert [path.name for path in files_of(examples, "train")] == ["Part.parquet", "part-1.parquet"]


def test_a_link_that_leads_back_is_refused(base: Path, tmp_path: Path) -> None:
    """It would give every row some forty times."""
    (base / "train" / "again").symlink_to(base / "train")
    for pattern in ("train", "train/*", "**"):
        from tfpetastorm.tfx import UnischemaExampleGen

        with pytest.raises(DatasetError, match=r"leads back to a folder above it .*train/again"):
            resolved(UnischemaExampleGen(str(base), input_config=splits(all=pattern)))
    with pytest.raises(DatasetError, match=r"leads back to a folder above it .*train/again"):
        tps.open_dataset(base / "train")
    # Links to folders elsewhere are followed.
    (base / "train" / "again").unlink()
    (tmp_path / "more").mkdir()
    pq.write_table(pa.table({"id": [7]}), tmp_path / "more" / "part-0.parquet")
    (base / "train" / "again").symlink_to(tmp_path / "more")
    assert table_of(generate(linked(base), tmp_path / "out"), "train").num_rows == 41


class _Planted:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __reduce__(self) -> object:
        return os.mkdir, (str(self._folder),)


@pytest.mark.parametrize("lists", [False, True])
def test_nothing_in_the_input_is_unpickled(base: Path, tmp_path: Path, lists: bool) -> None:
    from tfpetastorm.tfx import UnischemaExampleGen

    schema = tps.Unischema("S", [tps.UnischemaField("a", np.float32, (None,), tps.NdarrayCodec())])
    with tps.DatasetWriter(tmp_path / "cells", schema) as writer:
        for number in range(20):
            writer.write({"a": np.full(2, number, np.float32)})
    (path,) = (tmp_path / "cells").glob("*.parquet")
    cell = BytesIO()
    np.save(cell, np.array([_Planted(tmp_path / "run")], object), allow_pickle=True)
    table = pq.read_table(path)
    cells = [cell.getvalue(), *table.column(0).to_pylist()[1:]]
    pq.write_table(table.set_column(0, table.field(0), pa.array(cells, table.field(0).type)), path)
    component = UnischemaExampleGen(str(tmp_path / "cells"), arrow_lists=lists)
    if lists:
        with pytest.raises(UnsafeDataError, match=r"field 'a', file .*row group 0, row 0"):
            generate(component, tmp_path / "out")
    else:
        generate(component, tmp_path / "out")
    pairs = {b"dataset-toolkit.unischema.v1": pickle.dumps(_Planted(tmp_path / "run"))}
    pq.write_metadata(pa.schema([("id", pa.int64())], pairs), base / "_common_metadata")
    with pytest.raises(UnsafeDataError, match="pickled schema is refused"):
        generate(UnischemaExampleGen(str(base), arrow_lists=lists), tmp_path / "schema")
    assert not (tmp_path / "run").exists()


def test_input_that_changes_after_the_driver_looked_is_refused(base: Path, tmp_path: Path) -> None:
    """TFX would serve these examples from its cache for another input."""
    component = linked(base)
    properties = resolved(component)
    pq.write_table(pa.table({"id": [50]}), base / "train" / "part-1.parquet")
    with pytest.raises(DatasetChangedError, match=r"changed since .*'train'.*run the pipeline again"):
        generate(component, tmp_path / "out", properties)
    assert table_of(generate(component, tmp_path / "out"), "train").num_rows == 41
