"""Filters: their forms, their errors, and pruning that never loses a row."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tfpetastorm as tps
from tests.storage.helpers import GOLDEN
from tfpetastorm.errors import OptionError
from tfpetastorm.storage.statistics import prune
from tfpetastorm.storage.where import columns_of, to_expression

SCHEMA = pa.schema(
    [
        ("a", pa.int64()),
        ("ab", pa.float32()),
        ("s", pa.string()),
        ("x.y", pa.int32()),
        ("day", pa.date32()),
        ("price", pa.decimal128(10, 2)),
        ("at", pa.timestamp("us")),
        ("u", pa.uint8()),
        ("ok", pa.bool_()),
    ]
)
TABLE = pa.table(
    {
        "a": [1, 2, None, 4],
        "ab": [0.5, float("nan"), 1.5, None],
        "s": ["x", None, "y", "z"],
        "x.y": [1, 1, 2, None],
        "day": [dt.date(2020, 1, i) for i in range(1, 5)],
        "price": [Decimal("1.00"), Decimal("2.50"), None, Decimal("4.00")],
        "at": [dt.datetime(2020, 1, i) for i in range(1, 5)],
        "u": [0, 255, 3, 4],
        "ok": [True, False, True, None],
    },
    schema=SCHEMA,
)


def rows(where: Any) -> list[int]:
    picked = TABLE.append_column("row", pa.array(range(4))).filter(to_expression(where, SCHEMA))
    return picked.column("row").to_pylist()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ([("a", ">", 1)], [1, 3]),
        (("a", ">", 1), [1, 3]),
        ([("a", ">=", 1), ("s", "=", "x")], [0]),
        ([[("a", "==", 1)], [("s", "==", "y")]], [0, 2]),
        ([["a", "==", 1]], [0]),
        ([("a", "!=", 1)], [1, 3]),
        ([("a", "in", [1, 4, 9])], [0, 3]),
        ([("a", "in", {1, None})], [0, 2]),
        ([("a", "NOT  IN", [1])], [1, 2, 3]),
        ([("a", "not in", [1, None])], [1, 3]),
        ([("a", "=", None)], [2]),
        ([("a", "!=", None)], [0, 1, 3]),
        ([("a", "<", 2.5)], [0, 1]),
        ([("a", "<", np.float32(2.5))], [0, 1]),
        ([("s", "in", np.array(["x", "z"]))], [0, 3]),
        ([("s", "==", np.str_("x"))], [0]),
        ([("day", ">", "2020-01-02")], [2, 3]),
        ([("day", "in", ["2020-01-02", dt.date(2020, 1, 4)])], [1, 3]),
        ([("day", "in", ["2020-01-02"])], [1]),
        ([("at", "<=", "2020-01-02")], [0, 1]),
        ([("at", "<=", np.datetime64("2020-01-02"))], [0, 1]),
        ([("price", ">", 2)], [1, 3]),
        ([("price", "==", "2.5")], [1]),
        ([("price", "in", [1, Decimal("4")])], [0, 3]),
        ([("u", ">", 200)], [1]),
        ([("ok", "==", True)], [0, 2]),
        ([("x.y", "=", 1)], [0, 1]),
        (pc.field("a") + 1 > 2, [1, 3]),
    ],
)
def test_forms_of_filters(where: Any, expected: list[int]) -> None:
    assert rows(where) == expected


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ([("aa", ">", 1)], "'aa'.*Did you mean 'a'"),
        (pc.field("prise") > 1, "'prise'.*Did you mean 'price'"),
        ([("zzz", "=", 1)], "Fields: a, ab, s"),
        (pc.field("x", "y") > 1, r"nested.*'a\.b'"),
        ([("a", "~", 1)], "operator.*found ~"),
        ([("a", "in", 1)], "list"),
        ([("s", "in", "xyz")], "list"),
        ([("a", "<", None)], "None"),
        ([("a", "==", "one")], "expected int64, found 'one'"),
        ([("a", "in", ["one"])], "int64"),
        ([("a", "in", [1, "one"])], "int64"),
        ([("day", ">", "tomorrow")], "'day'.*date32"),
        ([("s", ">", 1)], "can't be applied|suit"),
        ([], "form"),
        ("a > 1", "form"),
        ([[]], "form"),
        ([("a", ">")], "form"),
        (None, "form"),
    ],
)
def test_filters_that_can_not_be(where: Any, said: str) -> None:
    with pytest.raises(OptionError, match=f"(?s){said}"):
        to_expression(where, SCHEMA)


def test_which_fields_a_filter_needs() -> None:
    assert columns_of((pc.field("ab") > 1) & (pc.field("x.y") < 2), SCHEMA) == ["ab", "x.y"]
    assert columns_of(pc.starts_with(pc.field("s"), "a"), SCHEMA) == ["s"]
    assert columns_of(pc.field("s").isin(["price", "day"]), SCHEMA) == ["s"]
    assert columns_of(pc.scalar(True), SCHEMA) == []


def test_many_alternatives() -> None:
    assert rows([[("a", "=", i)] for i in range(4, 1004)]) == [3]
    assert rows([("a", "in", range(4, 100_000))]) == [3]
    with pytest.raises(OptionError, match=r"1001 terms.*'in'"):
        to_expression([[("a", "=", i)] for i in range(1001)], SCHEMA)


def store(path: Path, groups: list[pa.Table]) -> Any:
    path.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(path / "x.parquet", groups[0].schema) as writer:
        for group in groups:
            writer.write_table(group)
    return tps.open_dataset(path)


def kept(dataset: Any, where: Any) -> list[int]:
    result = prune(dataset, to_expression(where, dataset.filter_schema))
    assert result.dtype == np.bool_
    return np.flatnonzero(result).tolist()


def test_pruning_by_statistics(tmp_path: Path) -> None:
    dataset = store(
        tmp_path,
        [
            pa.table({"a": pa.array([1, 2], pa.int32()), "s": ["a", "b"], "n": pa.array([None, None], pa.int64())}),
            pa.table({"a": pa.array([3, 9], pa.int32()), "s": ["c", None], "n": pa.array([1, None], pa.int64())}),
            pa.table({"a": pa.array([20, 30], pa.int32()), "s": ["x", "y"], "n": pa.array([5, 6], pa.int64())}),
        ],
    )
    assert kept(dataset, [("a", ">", 5)]) == [1, 2]
    assert kept(dataset, [("a", "=", 9)]) == [1]
    assert kept(dataset, [("s", "<", "c")]) == [0]
    assert kept(dataset, [("s", "=", "bb")]) == []
    assert kept(dataset, [("n", "<", 1)]) == []
    assert kept(dataset, [("n", "=", None)]) == [0, 1]
    assert kept(dataset, [("n", "!=", None)]) == [1, 2]
    assert kept(dataset, [("n", ">", 4)]) == [2]
    assert kept(dataset, [[("a", "<", 2)], [("s", "=", "x")]]) == [0, 2]
    assert kept(dataset, [("a", ">", 100)]) == []
    assert kept(dataset, pc.multiply(pc.field("a"), 2) > 100) == [0, 1, 2]
    assert kept(dataset, pc.scalar(True)) == [0, 1, 2]


def test_pruning_by_folders(tmp_path: Path) -> None:
    for day, count in ((1, 2), (2, 1), (3, 3)):
        path = tmp_path / f"day={day}" / "x.parquet"
        path.parent.mkdir()
        pq.write_table(pa.table({"id": list(range(count))}), path, row_group_size=1)
    dataset = tps.open_dataset(tmp_path)
    assert kept(dataset, [("day", ">=", 2)]) == [2, 3, 4, 5]
    assert kept(dataset, [("day", "in", [1, 2]), ("id", ">", 0)]) == [1]
    legacy = tps.open_dataset(GOLDEN / "petastorm-legacy/0.7.0")
    assert kept(legacy, [("partition_key", "in", ["p_2", "p_9"])]) == [2, 9]


def test_a_nan_may_pass_where_no_number_does(tmp_path: Path) -> None:
    ones = pa.table({"f": pa.array([1.0, float("nan")], pa.float32())})
    dataset = store(tmp_path, [ones])
    assert kept(dataset, [("f", "!=", 1)]) == [0]
    assert kept(dataset, ~(pc.field("f") < 2)) == [0]
    assert kept(dataset, pc.is_nan(pc.field("f"))) == [0]
    assert kept(dataset, pc.field("f").is_null(nan_is_null=True)) == [0]
    assert kept(dataset, [("f", ">", 2)]) == []


def test_a_column_that_older_files_lack(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": [1]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"id": [2], "new": [7]}), tmp_path / "b.parquet")
    dataset = tps.open_dataset(tmp_path)
    assert kept(dataset, [("new", ">", 0)]) == [1]
    assert kept(dataset, [("new", "=", None)]) == [0]


def test_unsigned_bytes_stored_as_signed_ones(tmp_path: Path) -> None:
    """Petastorm stores uint8 as Spark's ByteType on request: 200 lies in the file as -56."""
    schema = tps.Unischema("U", [tps.UnischemaField("u", np.uint8, (), tps.ScalarCodec("int16"))])
    with tps.DatasetWriter(tmp_path, schema) as writer:
        writer.write_batch({"u": np.array([100, 200], np.uint8)})
    file = tps.open_dataset(tmp_path).files[0].path
    pq.write_table(pa.table({"u": pa.array([100, -56], pa.int8())}), file)
    dataset = tps.open_dataset(tmp_path)
    assert kept(dataset, pc.field("u") == pa.scalar(200, pa.int16())) in ([0], [])
    assert kept(dataset, pc.field("u") == pa.scalar(100, pa.int16())) == [0]


def test_times_without_statistics_are_kept(tmp_path: Path) -> None:
    table = pa.table({"at": pa.array([dt.datetime(2020, 1, 1)], pa.timestamp("ns"))})
    pq.write_table(table, tmp_path / "x.parquet", use_deprecated_int96_timestamps=True)
    dataset = tps.open_dataset(tmp_path)
    statistics = dataset.row_groups[0].statistics("at")
    assert statistics is not None
    assert statistics.maximum is None
    assert kept(dataset, [("at", "=", "2020-01-01")]) == [0]


VALUES: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "i": (pa.int16(), st.integers(-5, 5)),
    "u": (pa.uint32(), st.integers(0, 5)),
    "f": (pa.float32(), st.one_of(st.sampled_from([float("nan"), float("inf"), -0.0]), st.integers(-3, 3).map(float))),
    "s": (pa.string(), st.text("ab\U0001f600", max_size=3)),
    "b": (pa.bool_(), st.booleans()),
    "d": (pa.date32(), st.dates(dt.date(2020, 1, 1), dt.date(2020, 1, 5))),
    "t": (pa.timestamp("ms"), st.datetimes(dt.datetime(2020, 1, 1), dt.datetime(2020, 1, 5)).map(
        lambda at: at.replace(microsecond=0))),
    "c": (pa.decimal128(9, 2), st.integers(-300, 300).map(lambda cents: Decimal(cents).scaleb(-2))),
}  # fmt: skip


@st.composite
def filters(draw: st.DrawFn) -> Any:
    def term() -> Any:
        name = draw(st.sampled_from(sorted(VALUES)))
        kind, values = VALUES[name]
        how = draw(st.sampled_from(["==", "!=", "<", ">", "<=", ">=", "in", "null"]))
        if how == "in":
            built = pc.field(name).isin(pa.array(draw(st.lists(st.one_of(st.none(), values), max_size=3)), kind))
        elif how == "null":
            built = pc.field(name).is_null(nan_is_null=draw(st.booleans()))
        else:
            value = pa.scalar(draw(values), kind)
            compare = {"==": "equal", "!=": "not_equal", "<": "less", ">": "greater", "<=": "less_equal"}
            built = getattr(pc, compare.get(how, "greater_equal"))(pc.field(name), value)
        return ~built if draw(st.booleans()) else built

    built = term()
    for _ in range(draw(st.integers(0, 3))):
        built = built & term() if draw(st.booleans()) else built | term()
    return ~built if draw(st.booleans()) else built


@given(
    st.lists(
        st.lists(
            st.fixed_dictionaries({n: st.one_of(st.none(), v) for n, (_, v) in VALUES.items()}), min_size=1, max_size=3
        ),
        min_size=1,
        max_size=5,
    ),
    st.lists(filters(), min_size=1, max_size=8),
)
def test_pruning_never_loses_a_row(tmp_path_factory: pytest.TempPathFactory, groups: Any, chosen: Any) -> None:
    schema = pa.schema([(name, kind) for name, (kind, _) in VALUES.items()])
    tables = [pa.Table.from_pylist(group, schema) for group in groups]
    dataset = store(tmp_path_factory.mktemp("prune"), tables)
    for expression in chosen:
        keep = prune(dataset, expression)
        for table, kept_ in zip(tables, keep, strict=True):
            assert kept_ or table.filter(expression).num_rows == 0, str(expression)


def test_long_lists_prune_too(tmp_path: Path) -> None:
    """pyarrow draws no conclusion from a list of more than 50 values."""
    table = pa.table(
        {"id": range(1000), "name": [f"n{i:04}" for i in range(1000)], "t": pa.array(range(1000), "date32")}
    )
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=10)
    dataset = tps.open_dataset(tmp_path)
    ids = [*range(200, 260), 983, 2000]
    days = [dt.date(1970, 1, 1) + dt.timedelta(days=i) for i in ids]
    for where in (("id", "in", ids), ("name", "in", [f"n{i:04}" for i in ids]), ("t", "in", days)):
        keep = prune(dataset, to_expression([where], dataset.filter_schema))
        assert np.flatnonzero(keep).tolist() == [20, 21, 22, 23, 24, 25, 98]
    both = to_expression([("id", "in", ids), ("name", "<", "n0250")], dataset.filter_schema)
    assert np.flatnonzero(prune(dataset, both)).tolist() == [20, 21, 22, 23, 24]
    assert prune(dataset, ~pc.field("id").isin(ids)).all()
    assert prune(dataset, pc.field("id").isin([float(i) for i in ids]) | (pc.field("id") > 990)).sum() >= 8
