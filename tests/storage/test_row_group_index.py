"""Row-group indexes and selectors: built without Spark, checked against the files, petastorm's own read as symbols."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import pickle
import shutil
from collections import defaultdict
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tfpetastorm as tps
from tests.storage.helpers import GOLDEN
from tfpetastorm.errors import DatasetChangedError, DatasetError, OptionError, SchemaError, UnsafeDataError
from tfpetastorm.feed.index_building import build_rowgroup_index, get_row_group_indexes
from tfpetastorm.schema.petastorm_index import INDEX_KEY, read_pickled_indexes
from tfpetastorm.storage.indexers import FieldNotNullIndexer, RowGroupIndexerBase, SingleFieldIndexer
from tfpetastorm.storage.row_group_index import INDEX_NAME, selected_row_groups
from tfpetastorm.storage.selectors import (
    DifferenceIndexSelector,
    IntersectIndexSelector,
    RowGroupSelectorBase,
    SingleIndexSelector,
    UnionIndexSelector,
)

INDEXED = GOLDEN / "petastorm-0.13.1" / "indexed"
VALUES = ("by id", "by part", "by name", "by raw", "by price", "by when", "by f32", "by flag", "by tags")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """petastorm's dataset with its own index, to be changed at will."""
    return Path(shutil.copytree(INDEXED, tmp_path / "store"))


def indexers() -> list[RowGroupIndexerBase]:
    found: list[RowGroupIndexerBase] = [SingleFieldIndexer(name, name.removeprefix("by ")) for name in VALUES]
    return [*found, FieldNotNullIndexer("sparse?", "sparse")]


def chosen(path: Path, selector: RowGroupSelectorBase) -> list[int]:
    return np.flatnonzero(selected_row_groups(tps.open_dataset(path), selector)).tolist()


@pytest.mark.parametrize("who", ["petastorm", "we"])
def test_an_index_tells_what_petastorms_tells(store: Path, who: str) -> None:
    """The same numbers of row groups for the same values, whichever index is read; but floats' nulls, which petastorm
    reads through pandas, are no value NaN."""
    if who == "we":
        build_rowgroup_index(str(store), indexers=indexers())
    expected = json.loads((GOLDEN / "petastorm-0.13.1" / "indexed.index.json").read_text())
    found = get_row_group_indexes(str(store))
    assert list(found) == list(expected)
    for name, values in expected.items():
        texts = {str(value): value for value in found[name].indexed_values}
        for kind, text, groups in values:
            if text == "nan":
                continue
            if kind == "float32":
                value: Any = float(np.float32(text))
            elif kind == "datetime64":
                value = dt.datetime.fromisoformat(text)
            else:
                value = texts[text]
            assert sorted(found[name].get_row_group_indexes(value)) == groups, (name, text)
        assert len(texts) == len({text for _, text, _ in values} - {"nan"}), name


def test_a_stored_index_is_keyed_by_file_and_row_group(store: Path) -> None:
    """uber/petastorm#727: an index within the metadata made that too large for Thrift; the metadata stays as it is."""
    metadata = (store / "_common_metadata").read_bytes()
    build_rowgroup_index(store, None, [SingleFieldIndexer("i", "id")])
    stored = json.loads((store / INDEX_NAME).read_text())
    assert (store / "_common_metadata").read_bytes() == metadata
    names = [file["name"] for file in stored["files"]]
    assert names == sorted(str(path.relative_to(store)) for path in store.glob("*/*.parquet"))
    for value, places in stored["indexes"]["i"]["values"]:
        for file, ordinals in places:
            for ordinal in ordinals:
                with pq.ParquetFile(store / names[file]) as opened:
                    assert value in opened.read_row_group(ordinal, ["id"])["id"].to_pylist()


def test_values_of_any_spelling_find_their_row_groups(store: Path) -> None:
    build_rowgroup_index(store, indexers=indexers())
    several: dict[str, list[Any]] = {
        "by id": [12, 12.0, np.int8(12), np.float64(12), Decimal(12)],
        "by price": [Decimal("1.75"), 1.75, Decimal("1.7500")],
        "by when": [
            dt.datetime(2020, 1, 1, 12, 0, 0, 12),
            np.datetime64("2020-01-01T12:00:00.000012"),
            np.datetime64("2020-01-01T12:00:00.000012000", "ns"),
            dt.datetime(2020, 1, 1, 13, 0, 0, 12, dt.timezone(dt.timedelta(hours=1))),
        ],
        "by name": ["name-3", np.str_("name-3")],
        "by raw": [b"\xff\x005", np.bytes_(b"\xff\x005")],
        "by flag": [True, np.bool_(True), 1],
    }
    for name, spellings in several.items():
        groups = [chosen(store, SingleIndexSelector(name, [value])) for value in spellings]
        assert groups[0], name
        assert all(found == groups[0] for found in groups), name
    assert chosen(store, SingleIndexSelector("by name", ["absent", None, 3, b"name-3"])) == []
    with pytest.raises(OptionError, match="ndarray"):
        chosen(store, SingleIndexSelector("by id", [np.arange(3)]))


def test_asking_for_an_unknown_value_changes_nothing(store: Path) -> None:
    """petastorm's defaultdict took in every unknown value asked for (petastorm.md 3.2), so that the index grew and
    `indexed_values` told of values that are nowhere."""
    for _ in range(2):
        index = get_row_group_indexes(store)["by id"]
        before = index.indexed_values
        assert index.get_row_group_indexes(-5) == set()
        index.get_row_group_indexes(0).add(99)
        assert index.indexed_values == before
        assert index.get_row_group_indexes(0) == {0}
        build_rowgroup_index(store, indexers=indexers())


def test_nullable_integers_can_be_indexed(tmp_path: Path) -> None:
    """petastorm's build_rowgroup_index fails on them: "cannot convert float NaN to integer"."""
    pq.write_table(pa.table({"x": pa.array([1, None, None, None, 2, 1], pa.int32())}), tmp_path / "a", row_group_size=2)
    build_rowgroup_index(tmp_path, indexers=[SingleFieldIndexer("x", "x"), FieldNotNullIndexer("some", "x")])
    assert chosen(tmp_path, SingleIndexSelector("x", [1])) == [0, 2]
    assert chosen(tmp_path, SingleIndexSelector("some", ["whatever"])) == [0, 2]


def test_arrays_are_indexed_by_their_items(tmp_path: Path) -> None:
    schema = tps.Unischema(
        "Arrays",
        [
            tps.UnischemaField("grid", np.int16, (None, 2), tps.NdarrayCodec(), True),
            tps.UnischemaField("pair", np.float32, (2,), tps.NdarrayCodec(), True),
            tps.UnischemaField("words", np.str_, (None,), tps.NdarrayCodec(), True),
        ],
    )
    rows: list[dict[str, Any]] = [
        {"grid": np.array([[1, 2]], np.int16), "pair": np.array([1, 2], np.float32), "words": np.array(["a", "b"])},
        {"grid": np.zeros((0, 2), np.int16), "pair": None, "words": None},
        {"grid": None, "pair": np.array([np.nan, 2], np.float32), "words": np.array([], np.str_)},
    ]
    with tps.DatasetWriter(tmp_path / "x", schema, row_group_rows=1) as writer:
        for row in rows:
            writer.write(row)
    names = ["grid", "pair", "words"]
    build_rowgroup_index(
        tmp_path / "x",
        indexers=[
            *(SingleFieldIndexer(name, name) for name in names),
            *(FieldNotNullIndexer(f"{name}?", name) for name in names),
        ],
    )
    found = get_row_group_indexes(tmp_path / "x")
    told = {name: {value: sorted(index.get_row_group_indexes(value)) for value in index.indexed_values}
            for name, index in found.items() if "?" not in name}  # fmt: skip
    # Not the zeros that stand for nulls in memory.
    assert told == {"grid": {1: [0], 2: [0]}, "pair": {1.0: [0], 2.0: [0, 2]}, "words": {"a": [0], "b": [0]}}
    assert [sorted(found[f"{name}?"].get_row_group_indexes("")) for name in names] == [[0, 1], [0, 2], [0, 2]]


# ----------------------------------------------------------------- selectors


def sets_of(store: Path) -> dict[str, RowGroupIndexerBase]:
    build_rowgroup_index(store, indexers=indexers())
    return get_row_group_indexes(store)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RowGroupIndexerBase]:
    return sets_of(Path(shutil.copytree(INDEXED, tmp_path_factory.mktemp("laws") / "store")))


_singles = st.one_of(
    st.builds(SingleIndexSelector, st.just("by id"), st.lists(st.integers(-2, 41), max_size=4)),
    st.builds(SingleIndexSelector, st.just("by tags"), st.lists(st.sampled_from(["t1", "t2", "u5", "no"]), max_size=3)),
    st.builds(SingleIndexSelector, st.just("sparse?"), st.just([0])),
)
_selectors: st.SearchStrategy[Any] = st.recursive(
    _singles,
    lambda inner: st.one_of(
        st.builds(IntersectIndexSelector, st.lists(inner, min_size=1, max_size=3)),
        st.builds(UnionIndexSelector, st.lists(inner, min_size=1, max_size=3)),
        st.builds(DifferenceIndexSelector, inner, inner),
    ),
    max_leaves=6,
)


@settings(max_examples=100, deadline=None)
@given(_selectors, _selectors)
def test_the_algebra_of_selectors_is_that_of_sets(told: dict[str, RowGroupIndexerBase], a: Any, b: Any) -> None:
    one, other = a.select_row_groups(told), b.select_row_groups(told)
    assert (a & b).select_row_groups(told) == one & other
    assert (a | b).select_row_groups(told) == one | other
    assert (a - b).select_row_groups(told) == one - other
    # Nothing was changed by selecting.
    assert a.select_row_groups(told) == one
    # petastorm's Intersect and Union named the first index of each part only.
    assert set((a & b).get_index_names()) == set(a.get_index_names()) | set(b.get_index_names())
    known = {name: told[name] for name in (a | b).get_index_names()}
    assert (a | b).select_row_groups(known) == one | other


def test_readers_read_the_row_groups_that_a_selector_chooses(store: Path) -> None:
    selector = SingleIndexSelector("by id", [3, 20]) | SingleIndexSelector("by tags", ["u2"])
    with tps.make_reader(str(store), schema_fields=["id"], rowgroup_selector=selector) as reader:
        found = sorted(int(row.id) for row in reader)
    assert found == sorted([1, 3, 5, 7, 9, 20, 22, 24, 26, 28, 0, 2, 4, 6, 8])


def test_a_selector_leaves_no_shard_empty(store: Path) -> None:
    """petastorm cut row groups by their number before selecting: 30, 0 and 0 rows (petastorm.md, finding 4)."""
    selector = SingleIndexSelector("by id", [0, 4, 6])
    counts = []
    for shard in range(3):
        with tps.make_reader(
            str(store), ["id"], rowgroup_selector=selector, cur_shard=shard, shard_count=3, seed=1
        ) as reader:
            counts.append(sum(1 for _ in reader))
    assert sorted(counts) == [1, 2, 2]


def test_an_unknown_index_or_something_else_is_refused_by_name(store: Path) -> None:
    with pytest.raises(ValueError, match=r"\['no such'\].*by id"):
        chosen(store, SingleIndexSelector("by id", [1]) & SingleIndexSelector("no such", [1]))
    with pytest.raises(ValueError, match="no selector"):
        selected_row_groups(tps.open_dataset(store), "by id")  # type: ignore[arg-type]
    shutil.rmtree(store)
    pq.write_table(pa.table({"x": [1]}), store.parent / "plain.parquet")
    with pytest.raises(ValueError, match="has none"):
        chosen(store.parent / "plain.parquet", SingleIndexSelector("x", [1]))
    with pytest.raises(ValueError, match="build_rowgroup_index"):
        get_row_group_indexes(store.parent / "plain.parquet")
    made: list[Any] = [
        lambda: SingleIndexSelector("x", "abc"),
        lambda: UnionIndexSelector([]),
        lambda: UnionIndexSelector([3]),  # type: ignore[list-item]
    ]
    for make in made:
        with pytest.raises(ValueError):
            make()


# --------------------------------------------------------------------- stale


def rewrite(path: Path) -> None:
    table = pq.read_table(path, partitioning=None)
    pq.write_table(table.slice(1), path, row_group_size=5)


def test_a_file_written_anew_makes_the_index_stale(store: Path) -> None:
    build_rowgroup_index(store, indexers=indexers())
    rewrite(sorted(store.glob("*/*.parquet"))[0])
    with pytest.raises(DatasetChangedError, match=r"part=p0/.* written anew.*build_rowgroup_index"):
        chosen(store, SingleIndexSelector("by id", [1]))
    build_rowgroup_index(store, indexers=indexers())
    assert chosen(store, SingleIndexSelector("by id", [1])) == [4]


def test_the_same_size_and_footer_at_another_time_is_stale_too(store: Path) -> None:
    """Values may change without any of that; only the time then tells."""
    build_rowgroup_index(store, indexers=indexers())
    file = sorted(store.glob("*/*.parquet"))[1]
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1_000_000))
    with pytest.raises(DatasetChangedError, match=r"part=p1/.*copied"):
        chosen(store, SingleIndexSelector("by id", [1]))


def test_rows_appended_since_are_not_lost_in_silence(tmp_path: Path) -> None:
    schema = tps.Unischema("S", [tps.UnischemaField("id", np.int64)])
    for mode in ("overwrite", "append"):
        with tps.DatasetWriter(tmp_path / "x", schema, mode=mode) as writer:
            writer.write({"id": 1})
        if mode == "overwrite":
            build_rowgroup_index(tmp_path / "x", indexers=[SingleFieldIndexer("id", "id")])
            assert chosen(tmp_path / "x", SingleIndexSelector("id", [1])) == [0]
    with pytest.raises(DatasetChangedError, match="is new"):
        chosen(tmp_path / "x", SingleIndexSelector("id", [1]))


def test_a_file_removed_makes_the_index_stale(tmp_path: Path) -> None:
    for i in range(3):
        pq.write_table(pa.table({"id": [i]}), tmp_path / f"{i}.parquet")
    build_rowgroup_index(tmp_path, indexers=[SingleFieldIndexer("id", "id")])
    (tmp_path / "0.parquet").unlink()
    with pytest.raises(DatasetChangedError, match=r"0\.parquet is gone"):
        chosen(tmp_path, SingleIndexSelector("id", [1]))


def test_petastorms_index_is_not_taken_for_other_files(store: Path) -> None:
    """It holds bare numbers, and nothing to check a file against but the count of row groups."""
    (store / "_metadata").write_bytes(b"")
    with pytest.raises(DatasetChangedError, match="_metadata"):
        chosen(store, SingleIndexSelector("by id", [1]))


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"version": 2}', b'{"version": 1, "files": []}', b"null", b"[" * 9999]
)
def test_a_damaged_index_is_an_error_that_says_so(store: Path, content: bytes) -> None:
    (store / INDEX_NAME).write_bytes(content)
    with pytest.raises(DatasetError, match="build_rowgroup_index"):
        chosen(store, SingleIndexSelector("by id", [1]))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_whatever_is_in_an_index_is_right_or_an_error(told_store: Path, data: st.DataObject) -> None:
    path = told_store / INDEX_NAME
    good = path.read_bytes()
    content = bytearray(good)
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        chosen(told_store, SingleIndexSelector("by id", [1]))
    except (DatasetError, OptionError):
        pass
    finally:
        path.write_bytes(good)


@pytest.fixture(scope="module")
def told_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = Path(shutil.copytree(INDEXED, tmp_path_factory.mktemp("damage") / "store"))
    build_rowgroup_index(path, indexers=indexers())
    return path


# ------------------------------------------------------------------ building


class FirstLetters(RowGroupIndexerBase):
    """One of the user's own, as petastorm's interface has it."""

    def __init__(self) -> None:
        self.found: dict[str, set[int]] = defaultdict(set)

    def __add__(self, other: Any) -> Any:
        raise NotImplementedError

    @property
    def index_name(self) -> str:
        return "letters"

    @property
    def column_names(self) -> list[str]:
        return ["tags", "id"]

    @property
    def indexed_values(self) -> list[str]:
        return list(self.found)

    def get_row_group_indexes(self, value_key: Any) -> set[int]:
        return self.found[value_key]

    def build_index(self, decoded_rows: Sequence[Any], piece_index: int) -> None:
        for row in decoded_rows:
            for tag in row["tags"] if row["tags"] is not None else ():
                self.found[f"{tag[0]}{row['id'] % 2}"].add(piece_index)


def test_an_indexer_of_the_users_own(store: Path) -> None:
    mine = FirstLetters()
    build_rowgroup_index(store, indexers=[mine, SingleFieldIndexer("id", "id")])
    assert not mine.found
    index = get_row_group_indexes(store)["letters"]
    assert sorted(index.indexed_values) == ["t0", "t1", "u0", "u1"]
    assert index.column_names == ["tags", "id"]
    assert chosen(store, SingleIndexSelector("letters", ["u1"])) == [
        i for i in range(4, 8) if i in index.get_row_group_indexes("u1")
    ]


def test_indexers_take_petastorms_calls() -> None:
    one, other = SingleFieldIndexer("i", "x"), SingleFieldIndexer("i", "x")
    one.build_index([{"x": 1}, {"x": None}, {"x": np.array(["a", "b"])}], 0)
    other.build_index([{"x": np.int64(1)}], 3)
    assert (one + other).get_row_group_indexes(1) == {0, 3}
    assert one.indexed_values == [1, "a", "b"]
    assert (one.index_name, one.column_names) == ("i", ["x"])
    some, none = FieldNotNullIndexer("n", "x"), FieldNotNullIndexer("n", "x")
    some.build_index([{"x": None}, {"x": 0}], 2)
    none.build_index([{"x": None}], 4)
    assert (some + none).get_row_group_indexes() == {2}
    with pytest.raises(TypeError):
        one + some
    with pytest.raises(ValueError):
        one + SingleFieldIndexer("i", "y")
    with pytest.raises(ValueError):
        one.build_index([], 1)


def test_what_can_not_be_indexed_is_named(store: Path) -> None:
    for given_indexers, match in (
        ([], "at least one"),
        ([SingleFieldIndexer("a", "nmae")], "nmae"),
        ([SingleFieldIndexer("a", "id"), SingleFieldIndexer("a", "name")], "same name"),
        (["id"], "indexer"),
    ):
        with pytest.raises(OptionError, match=match):
            build_rowgroup_index(store, indexers=given_indexers)  # type: ignore[arg-type]
    assert not (store / INDEX_NAME).exists()
    with pytest.warns(DeprecationWarning, match="hdfs_driver"):
        build_rowgroup_index(str(store) + "/", None, [SingleFieldIndexer("a", "id")], "libhdfs3")


def test_an_index_is_written_at_once_or_not_at_all(store: Path) -> None:
    build_rowgroup_index(store, indexers=[SingleFieldIndexer("a", "id")])
    before = (store / INDEX_NAME).read_bytes()
    damaged = sorted(store.glob("*/*.parquet"))[1]
    content = bytearray(damaged.read_bytes())
    content[100:2000] = bytes(1900)
    damaged.write_bytes(content)
    with pytest.raises(DatasetError):
        build_rowgroup_index(store, indexers=[SingleFieldIndexer("a", "id"), SingleFieldIndexer("b", "name")])
    assert (store / INDEX_NAME).read_bytes() == before
    assert sorted(path.name for path in store.iterdir() if "index" in path.name) == [INDEX_NAME]


# ------------------------------------------------------- petastorm's pickles


@pytest.mark.parametrize("version", ["0.4.3", "0.7.0"])
def test_indexes_of_old_versions(version: str) -> None:
    """Pickled by Python 2, with NumPy's byte strings for texts."""
    path = GOLDEN / "petastorm-legacy" / version
    stored = tps.open_dataset(path)
    assert chosen(path, SingleIndexSelector("sensor_name", ["test_sensor"])) == list(range(len(stored.row_groups)))
    for number in (0, 55, 99):
        (group,) = chosen(path, SingleIndexSelector("id", [number]))
        place = stored.row_groups[group]
        with pq.ParquetFile(path / place.file) as file:
            assert number in file.read_row_group(place.ordinal, ["id"])["id"].to_pylist()


class Evil:
    def __reduce__(self) -> Any:
        return os.system, ("touch /tmp/never",)


@pytest.mark.parametrize(
    "pickled",
    [
        pickle.dumps({"a": Evil()}),
        pickle.dumps({"a": np.arange(3)}),
        pickle.dumps({"a": defaultdict(list)}),
        pickle.dumps({"a": slice(1)}),
    ],
)
def test_a_pickle_of_anything_else_is_refused(pickled: bytes) -> None:
    """uber/petastorm#741: what a dataset's metadata pickled was run."""
    with pytest.raises((UnsafeDataError, SchemaError)):
        read_pickled_indexes(pickled)


def test_a_damaged_decimal_is_an_error_of_ours() -> None:
    with pq.ParquetFile(INDEXED / "_common_metadata", thrift_string_size_limit=2**31 - 1) as file:
        raw = file.metadata.metadata[INDEX_KEY]
    assert b"0.2500" in raw
    with pytest.raises(SchemaError, match="damaged"):
        read_pickled_indexes(raw.replace(b"0.2500", b"0.25.0"))


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_damaged_pickle_is_an_error_of_ours(data: st.DataObject) -> None:
    with pq.ParquetFile(INDEXED / "_common_metadata", thrift_string_size_limit=2**31 - 1) as file:
        raw = bytearray(file.metadata.metadata[INDEX_KEY])
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(UnsafeDataError, SchemaError):
        read_pickled_indexes(bytes(raw[: data.draw(st.integers(0, len(raw)))]))
