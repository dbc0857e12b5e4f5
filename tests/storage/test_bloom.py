"""Row groups that bloom filters show to be without a value are pruned; filters that are wrong are not believed."""

from __future__ import annotations

import datetime as dt
import functools
import shutil
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tfpetastorm as tps
from tests.storage.helpers import GOLDEN
from tfpetastorm.storage.bloom import prune_by_bloom
from tfpetastorm.storage.dataset import StoredDataset
from tfpetastorm.storage.lookups import All, Either, Lookup, lookups_of
from tfpetastorm.storage.statistics import prune
from tfpetastorm.storage.thrift import bloom_header, bloom_places
from tfpetastorm.storage.where import to_expression

#: 4 row groups of 50 rows in random order, so that statistics overlap; every column has a filter. Written by Spark.
SPARK = GOLDEN / "bloom" / "spark.parquet"
FIELDS = ("id", "key", "x", "raw", "day", "small", "price")


@pytest.fixture(scope="module")
def dataset() -> StoredDataset:
    return tps.open_dataset(SPARK)


@pytest.fixture(scope="module")
def groups() -> list[dict[str, list[Any]]]:
    with pq.ParquetFile(SPARK) as file:
        return [file.read_row_group(i).to_pydict() for i in range(file.num_row_groups)]


@pytest.mark.parametrize("name", FIELDS)
def test_a_value_that_is_there_keeps_its_row_group_and_few_others(dataset: Any, groups: Any, name: str) -> None:
    pairs = kept = 0
    for value in (value for group in groups for value in group[name][::3]):
        keep = prune(dataset, to_expression([(name, "=", value)], dataset.filter_schema))
        there = np.array([value in group[name] for group in groups])
        assert keep[there].all()
        pairs += len(keep) - int(there.sum())
        kept += int(keep.sum() - there.sum())
    assert kept <= pairs * 0.02


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("id", 8),
        ("key", "k1"),
        ("x", 0.125),
        ("raw", b"absent"),
        ("day", dt.date(2020, 1, 1) + dt.timedelta(days=1000)),
        ("small", 12),
        ("price", Decimal("0.26")),
    ],
)
def test_a_value_that_is_nowhere_prunes(dataset: Any, name: str, value: Any) -> None:
    read: list[int] = []
    keep = prune(dataset, to_expression([(name, "=", value)], dataset.filter_schema), read.append)
    assert keep.sum() <= 1
    # 128 bytes for the bits and a header of 16, or nothing where statistics decide.
    assert set(read) <= {144}


def test_what_filters_cost_is_told(dataset: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG", "tfpetastorm"):
        prune(dataset, pc.field("key") == "k301")
    assert "4 bloom filters, 576 bytes: 0 row groups of 4 left" in caplog.text


def test_statistics_alone_would_keep_these(dataset: Any) -> None:
    """So that the tests above are of bloom filters."""
    between = (pc.field("id") >= 701) & (pc.field("id") <= 701)
    assert prune(dataset, between).sum() >= 3
    assert prune(dataset, pc.field("id") == 701).sum() <= 1


def test_terms_within_and_or_and_lists(dataset: Any, groups: Any) -> None:
    (first,) = (i for i, group in enumerate(groups) if 700 in group["id"])
    (second,) = (i for i, group in enumerate(groups) if "k114" in group["key"])
    assert first != second

    def keep(expression: Any) -> list[int]:
        return np.flatnonzero(prune(dataset, expression)).tolist()

    one, other = pc.field("id") == 700, pc.field("key") == "k114"
    assert keep(one) == [first]
    assert keep(one | other) == sorted([first, second])
    assert keep(one & other) == []
    assert keep(one & (pc.field("x") > 0)) == [first]
    assert keep(~one) == [0, 1, 2, 3]
    assert keep(one | (pc.field("x") > 0)) == [0, 1, 2, 3]
    assert keep(pc.field("id").isin([700, *range(8, 600, 7)])) == [first]  # longer than pyarrow's text shows


def test_a_negation_or_a_null_is_never_looked_up() -> None:
    field = pc.field("a")
    for expression in (~(field == 1), field != 1, field.isin([1, None]), field.is_null(), field > 1, pc.scalar(True)):
        assert lookups_of(expression) is None, str(expression)
    assert lookups_of((field == 1) | (field > 3)) is None


def test_what_is_looked_up_shows_whatever_values_look_like() -> None:
    for text in ("end: 'equal'", "a'b", 'x"y', "\n-- schema metadata --\n", "é"):
        found = lookups_of(pc.field("a") == text)
        assert isinstance(found, Lookup)
        assert (found.field, found.values.to_pylist()) == ("a", [text])
    # A name that could be taken for something else is left alone.
    assert lookups_of(pc.field("a'\nend: 'equal") == 1) is None
    both = lookups_of((pc.field("a") == 1) & (pc.field("b").isin(["x", "y"]) | (pc.scalar(2) == pc.field("c"))))
    assert isinstance(both, All)
    assert isinstance(both.parts[1], Either)
    assert [part.field for part in both.parts[1].parts if isinstance(part, Lookup)] == ["b", "c"]


def test_own_parser_finds_what_pyarrow_tells(dataset: StoredDataset) -> None:
    places = bloom_places(dataset.footers[0].raw)
    assert sorted(places) == [(group, column) for group in range(4) for column in range(7)]
    chunk = dataset.file_metadata(0).row_group(2).column(3)
    if hasattr(chunk, "bloom_filter_offset"):
        for (group, column), (offset, _) in places.items():
            assert dataset.file_metadata(0).row_group(group).column(column).bloom_filter_offset == offset
    raw = SPARK.read_bytes()
    assert all(bloom_header(raw[offset : offset + 64])[0] == 128 for offset, _ in places.values())


@functools.cache
def footer() -> bytes:
    return tps.open_dataset(SPARK).footers[0].raw


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_damaged_footer_is_no_crash(data: st.DataObject) -> None:
    raw = bytearray(footer())
    for _ in range(data.draw(st.integers(1, 5))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    for place in bloom_places(bytes(raw[: data.draw(st.integers(0, len(raw)))])).items():
        assert len(place) == 2


@pytest.mark.parametrize("damage", ["zeros", "cut header", "other hash", "random"])
def test_a_damaged_filter_is_not_believed(tmp_path: Path, dataset: Any, groups: Any, damage: str) -> None:
    path = tmp_path / "damaged.parquet"
    shutil.copy(SPARK, path)
    content = bytearray(path.read_bytes())
    for offset, _ in bloom_places(dataset.footers[0].raw).values():
        size, start = bloom_header(bytes(content[offset : offset + 64]))
        bits = slice(offset + start, offset + start + size)
        if damage == "zeros":
            content[bits] = bytes(size)
        elif damage == "cut header":
            content[offset : offset + start] = bytes(start)
        elif damage == "other hash":
            content[offset : offset + start] = content[offset : offset + start].replace(
                b"\x1c\x00\x00", b"\x2c\x00\x00"
            )
        else:
            content[bits] = np.random.default_rng(0).integers(0, 256, size, np.uint8).tobytes()
    path.write_bytes(content)
    damaged = tps.open_dataset(path)
    for name in ("id", "key", "small", "day"):
        for group in groups:
            for value in group[name][:10]:
                expression = to_expression([(name, "=", value)], damaged.filter_schema)
                there = np.array([value in other[name] for other in groups])
                assert prune(damaged, expression)[there].all()


def test_rows_come_out_as_without_filters(dataset: Any, groups: Any) -> None:
    for value in ("k30", "k114"):
        rows = tps.make_dataset(SPARK, fields=["key"], where=[("key", "=", value)], batch_size=8)
        found = [key for batch in rows for key in batch["key"].numpy().tolist()]
        assert found == [key.encode() for group in groups for key in group["key"] if key == value]


_ARRAYS = {
    "i8": pa.int8(), "u8": pa.uint8(), "i16": pa.int16(), "i32": pa.int32(), "u32": pa.uint32(), "i64": pa.int64(),
    "u64": pa.uint64(), "f32": pa.float32(), "f64": pa.float64(), "s": pa.string(), "b": pa.binary(),
    "d": pa.decimal128(12, 3), "wide": pa.decimal128(30, 5), "day": pa.date32(), "ms": pa.timestamp("ms"),
    "us": pa.timestamp("us", "UTC"), "ns": pa.timestamp("ns"), "sec": pa.timestamp("s"), "flag": pa.bool_(),
}  # fmt: skip


def _values(kind: pa.DataType, random: np.random.Generator) -> pa.Array:
    ticks: Any = random.integers(-100, 100, 40)
    if pa.types.is_unsigned_integer(kind):
        ticks = np.abs(ticks).astype(np.uint64) + np.uint64(2**kind.bit_width - 200 if kind.bit_width > 8 else 0)
    if pa.types.is_decimal(kind):
        return pa.array([Decimal(int(tick)) / 8 for tick in ticks], kind)
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        return pa.array([f"v{tick}".encode() for tick in ticks], pa.binary()).cast(kind)
    if pa.types.is_floating(kind):
        floats = (ticks / 10).astype(f"f{kind.bit_width // 8}")
        floats[[3, 17]] = -0.0, 0.0
        return pa.array(floats)
    if pa.types.is_temporal(kind):
        return pa.array(ticks, pa.int64()).cast(pa.int32() if pa.types.is_date32(kind) else pa.int64()).cast(kind)
    return pa.array((ticks > 0) if pa.types.is_boolean(kind) else ticks.astype(kind.to_pandas_dtype()), kind)


@pytest.mark.skipif(
    "bloom_filter_options" not in (pq.write_table.__doc__ or ""), reason="this pyarrow writes no bloom filters"
)
def test_filters_of_every_type_that_pyarrow_writes(tmp_path: Path) -> None:
    """No value that is there is lost, of whatever type and sign; and most that are not are found out."""
    random = np.random.default_rng(1)
    table = pa.table({name: _values(kind, random) for name, kind in _ARRAYS.items()})
    options = {name: {"ndv": 60, "fpp": 0.01} for name in _ARRAYS if name != "flag"}
    pq.write_table(
        table, tmp_path / "a.parquet", row_group_size=10, bloom_filter_options=options, write_statistics=False
    )
    dataset = tps.open_dataset(tmp_path)
    looked_up = 0
    for name in _ARRAYS:
        for i in range(40):  # the zeros of floats among them, of either sign
            literal = table[name].combine_chunks().slice(i, 1)
            keep = np.ones(4, bool)
            kept = prune_by_bloom(dataset, Lookup(name, literal), keep)
            there = [pc.any(pc.equal(table[name].slice(g * 10, 10), literal[0])).as_py() for g in range(4)]
            assert kept[np.array(there)].all(), (name, literal)
            looked_up += int((~kept).sum())
    assert looked_up > 40 * len(_ARRAYS) * 4 * 0.4
