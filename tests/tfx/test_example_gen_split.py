"""Splitting rows by hash buckets: which split a row goes to, and what the splits then hold."""

from __future__ import annotations

import datetime as dt
import hashlib
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

import tfpetastorm as tps
from tests.tfx.generating import buckets, files_of, generate, splits, table_of
from tests.tfx.kinds import SCHEMA, make_rows
from tfpetastorm.errors import DatasetError, DatasetWarning, Place
from tfpetastorm.schema.codecs import encode_column
from tfpetastorm.tfx.example_gen.hashing import cell_hashes, row_hashes
from tfpetastorm.tfx.example_gen.splitting import Buckets

Field = tps.UnischemaField

CELLS = {
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.int8(): st.integers(-128, 127),
    pa.uint64(): st.integers(0, 2**64 - 1),
    pa.bool_(): st.booleans(),
    pa.float32(): st.floats(width=32, allow_nan=False),
    pa.string(): st.text(max_size=4),
    pa.binary(): st.binary(max_size=4),
    pa.decimal128(9, 2): st.integers(-999, 999).map(lambda n: Decimal(n) / 100),
    pa.date32(): st.dates(),
    pa.timestamp("us"): st.datetimes(dt.datetime(1970, 1, 1), dt.datetime(2100, 1, 1)),
    pa.list_(pa.int16()): st.lists(st.integers(-9, 9), max_size=3),
    pa.list_(pa.list_(pa.string())): st.lists(st.lists(st.text(max_size=2), max_size=2), max_size=2),
    pa.list_(pa.float32(), 2): st.lists(st.floats(-2, 2, width=16), min_size=2, max_size=2),
    pa.struct([("a", pa.int8()), ("b", pa.string())]): st.fixed_dictionaries(
        {"a": st.integers(-3, 3), "b": st.text(max_size=2)}
    ),
}


@st.composite
def columns(draw: st.DrawFn) -> pa.Array:
    kind = draw(st.sampled_from(list(CELLS)))
    return pa.array(draw(st.lists(st.none() | CELLS[kind], max_size=12)), kind)


@given(columns(), st.data())
def test_a_cells_hash_depends_on_nothing_but_its_value(column: pa.Array, data: st.DataObject) -> None:
    hashes = cell_hashes(column)
    assert hashes.dtype == np.uint64
    for at in range(len(column)):
        assert cell_hashes(column.slice(at, 1)) == hashes[at]
    order = data.draw(st.permutations(range(len(column))))
    np.testing.assert_array_equal(cell_hashes(column.take(pa.array(order, pa.int64()))), hashes[order])


@given(columns())
def test_hashes_differ_where_values_do(column: pa.Array) -> None:
    found: dict[int, Any] = {}
    for value, number in zip(column.to_pylist(), cell_hashes(column).tolist(), strict=True):
        assert found.setdefault(number, value) == value


@given(st.lists(st.none() | st.integers(-128, 127)))
def test_hashes_are_those_of_the_same_values_in_other_types(values: list[int | None]) -> None:
    narrow = pa.array(values, pa.int8())
    lists = pa.array([None if one is None else [one, 1] for one in values], pa.list_(pa.int8()))
    texts = pa.array([None if one is None else str(one) for one in values], pa.string())
    same = [
        (narrow, [narrow.cast(pa.int64())]),
        (narrow.cast(pa.float32()), [narrow.cast(pa.float64())]),
        (lists, [lists.cast(pa.large_list(pa.int64()))]),
        (texts, [texts.cast(pa.large_string()), texts.cast(pa.binary()), texts.dictionary_encode()]),
    ]
    for one, others in same:
        for other in others:
            np.testing.assert_array_equal(cell_hashes(one), cell_hashes(other))


def test_fixed_lists_hash_as_lists_do_and_what_nulls_hide_does_not_count() -> None:
    values = pa.array([1.0, 2.0, 7.0, 8.0, 3.0, 4.0], pa.float32())
    fixed = pa.FixedSizeListArray.from_arrays(values, 2)
    hidden = pa.Array.from_buffers(
        fixed.type, 3, [pa.array([True, False, True]).buffers()[1]], null_count=1, children=[values]
    )
    plain = pa.array([[1.0, 2.0], None, [3.0, 4.0]], pa.list_(pa.float32()))
    np.testing.assert_array_equal(cell_hashes(hidden), cell_hashes(plain))


def test_zeros_have_one_hash_and_so_has_nan() -> None:
    numbers = np.array([0.0, -0.0, np.nan, -np.nan, 1.0])
    hashes = cell_hashes(pa.array(numbers, from_pandas=False))
    assert hashes[0] == hashes[1]
    assert hashes[2] == hashes[3]
    assert len(set(hashes.tolist())) == 3


def test_a_rows_hash_takes_every_column_by_its_name() -> None:
    one, two = pa.array([1, 2, 2]), pa.array(["x", "x", None])
    hashes = row_hashes({"one": one, "two": two}, 3)
    assert len(set(hashes.tolist())) == 3
    np.testing.assert_array_equal(row_hashes({"two": two, "one": one}, 3), hashes)
    assert set(row_hashes({"uno": one, "two": two}, 3).tolist()).isdisjoint(hashes.tolist())


def test_hashes_stay_what_they_are() -> None:
    """Were they others in a later release, rows would change their splits."""
    found = row_hashes(
        {
            "number": pa.array([1, None], pa.int32()),
            "real": pa.array([0.5, -2.0], pa.float32()),
            "text": pa.array(["a", "é"]),
            "list": pa.array([[1, 2], []], pa.list_(pa.int16())),
            "when": pa.array([dt.date(2020, 1, 1), None]),
        },
        2,
    )
    assert found.tolist() == GOLDEN


GOLDEN = [13047038029417707074, 10333859420475719785]


@pytest.mark.parametrize(
    ("field", "values", "feature"),
    [
        (Field("key", np.int16), [0, 1, -1, 300], "int64"),
        (Field("key", np.uint64), [0, 2**63 - 1], "int64"),
        (Field("key", np.bool_), [True, False], "int64"),
        (Field("key", np.str_), ["", "a", "日本", "x" * 300], "bytes"),
        (Field("key", np.bytes_), [b"", b"\xff\x00"], "bytes"),
        (Field("key", dt.date), [dt.date(1969, 12, 31), dt.date(2020, 1, 1)], "int64"),
    ],
)
def test_a_field_decides_as_it_does_in_tfx(field: Field, values: list[Any], feature: str) -> None:
    """The same values, the same buckets: data may move from tf.Examples to here."""
    from tfx.components.example_gen.base_example_gen_executor import _PartitionFn

    numbers = [int(one.astype(int)) if isinstance(one, np.datetime64) else one for one in values]
    if feature == "int64":
        days = [(one - dt.date(1970, 1, 1)).days if isinstance(one, dt.date) else int(one) for one in numbers]
        features = [tf.train.Feature(int64_list=tf.train.Int64List(value=[one])) for one in days]
    else:
        raw = [one if isinstance(one, bytes) else one.encode() for one in values]
        features = [tf.train.Feature(bytes_list=tf.train.BytesList(value=[one])) for one in raw]
    examples = [tf.train.Example(features=tf.train.Features(feature={"key": one})) for one in features]
    config = buckets("key", a=7, b=90, c=3).split_config
    theirs = [_PartitionFn(one, 3, [7, 97, 100], config) for one in examples]
    ours = Buckets((("a", 7), ("b", 90), ("c", 3)), "key")
    schema = tps.Unischema("S", [field])
    stored = encode_column(field, values)
    assert ours.of(schema, {"key": stored}, len(values), Place()).tolist() == theirs


def digest_of(table: pa.Table) -> list[str]:
    return sorted(hashlib.sha256(repr(row).encode()).hexdigest() for row in table.to_pylist())


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kinds") / "data"
    with tps.DatasetWriter(folder, SCHEMA, row_group_rows=7, file_rows=40, petastorm_compatible=False) as writer:
        for row in make_rows(120):
            writer.write(row)
    return folder


def test_a_single_input_split_becomes_train_and_eval(kinds: Path, tmp_path: Path) -> None:
    from tfpetastorm.tfx import UnischemaExampleGen

    examples = generate(UnischemaExampleGen(str(kinds)), tmp_path / "out")
    assert examples.split_names == '["train", "eval"]'
    train, test = table_of(examples, "train"), table_of(examples, "eval")
    assert train.num_rows + test.num_rows == 120
    assert 60 < train.num_rows < 100
    # Cells are those that were stored, bit by bit, in columns of the same types.
    source = pq.read_table(kinds)
    assert digest_of(pa.concat_tables([train, test])) == digest_of(source)
    assert train.schema.remove_metadata() == source.schema.remove_metadata()
    # What is stored tells its schema by itself, and all of it is one dataset.
    whole = tps.open_dataset(str(tmp_path / "out"))
    assert (whole.num_rows, whole.schema) == (120, SCHEMA)
    footer = pq.read_metadata(files_of(examples, "eval")[0]).metadata
    assert tps.Unischema.from_json(footer[b"tfpetastorm.unischema.v1"].decode()) == SCHEMA
    # Row groups are about as large as they were, not what a split leaves of each.
    sizes = [group.rows for group in whole.row_groups]
    assert max(sizes) == 7
    assert len(sizes) <= 120 // 7 + 2 * 3 + 1


def test_splits_depend_on_rows_alone(kinds: Path, tmp_path: Path) -> None:
    """Neither on files nor on their order, nor on how rows lie in row groups."""
    from tfpetastorm.tfx import UnischemaExampleGen

    with tps.DatasetWriter(tmp_path / "other", SCHEMA, row_group_rows=50, petastorm_compatible=False) as writer:
        for row in reversed(make_rows(120)):
            writer.write(row)
    config = buckets(a=1, b=2, c=1)
    made = [
        generate(
            UnischemaExampleGen(str(source), input_config=splits(all="*"), output_config=config),
            tmp_path / f"out{number}",
        )
        for number, source in enumerate([kinds, tmp_path / "other"])
    ]
    for name in "abc":
        one, other = (digest_of(table_of(examples, name)) for examples in made)
        assert one == other
        assert 10 < len(one) < 90


def test_rows_are_split_by_a_field(kinds: Path, tmp_path: Path) -> None:
    from tfpetastorm.tfx import UnischemaExampleGen

    config = buckets("i8", a=1, b=1)
    examples = generate(
        UnischemaExampleGen(str(kinds), input_config=splits(all="*"), output_config=config), tmp_path / "out"
    )
    found = {name: set(table_of(examples, name)["i8"].to_pylist()) for name in "ab"}
    assert found["a"] | found["b"] == set(range(-3, 4))
    assert found["a"].isdisjoint(found["b"])


def test_a_field_that_can_not_decide_is_refused(kinds: Path, tmp_path: Path) -> None:
    from tfpetastorm.tfx import UnischemaExampleGen

    for name, error, message in [
        ("nobody", tps.TfpetastormError, r"partition_feature_name='nobody' is no field.*i8, i64"),
        ("f64", tps.TfpetastormError, r"can't be split by this field \(field 'f64'\)"),
        ("grid", tps.TfpetastormError, r"can't be split by this field \(field 'grid'\)"),
        ("i64", tps.TfpetastormError, r"null \(field 'i64', file .*, row group 0, row \d+\).*partition_feature_name"),
    ]:
        component = UnischemaExampleGen(str(kinds), input_config=splits(all="*"), output_config=buckets(name, a=1, b=1))
        with pytest.raises(error, match=message):
            generate(component, tmp_path / name)


def test_an_integer_that_no_tf_example_holds_is_named(tmp_path: Path) -> None:
    from tfpetastorm.tfx import UnischemaExampleGen

    (tmp_path / "data").mkdir()
    pq.write_table(pa.table({"id": pa.array([1, 2**63], pa.uint64())}), tmp_path / "data" / "x.parquet")
    component = UnischemaExampleGen(str(tmp_path / "data"), output_config=buckets("id", a=1, b=1))
    told = r"\(field 'id', file .*x\.parquet, row group 0, row 1\).*found 9223372036854775808\. Split by another field"
    with pytest.raises(tps.TfpetastormError, match=told):
        generate(component, tmp_path / "out")
    whole = generate(UnischemaExampleGen(str(tmp_path / "data")), tmp_path / "whole")
    assert sum(table_of(whole, split).num_rows for split in ("train", "eval")) == 2


def test_a_split_that_gets_no_rows_has_a_file_of_its_columns(tmp_path: Path) -> None:
    from tfpetastorm.tfx import UnischemaExampleGen

    schema = tps.Unischema("One", [Field("id", np.int64)])
    with tps.DatasetWriter(tmp_path / "data", schema) as writer:
        for _ in range(20):
            writer.write({"id": 3})  # equal rows stay together
    with pytest.warns(DatasetWarning, match="has no rows"):
        examples = generate(UnischemaExampleGen(str(tmp_path / "data")), tmp_path / "out")
    tables = [table_of(examples, name) for name in ("train", "eval")]
    assert sorted(table.num_rows for table in tables) == [0, 20]
    assert tables[0].schema.names == tables[1].schema.names == ["id"]


def test_large_files_are_taken_in_pieces(kinds: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tfpetastorm.tfx import UnischemaExampleGen
    from tfpetastorm.tfx.example_gen import rewriting

    monkeypatch.setattr(rewriting, "_PIECE_BYTES", 8000)
    examples = generate(UnischemaExampleGen(str(kinds)), tmp_path / "out")
    assert len(files_of(examples, "train")) > 3
    both = pa.concat_tables([table_of(examples, "train"), table_of(examples, "eval")])
    assert digest_of(both) == digest_of(pq.read_table(kinds))


def test_pieces_and_files_of_one_name_stay_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tfpetastorm.tfx import UnischemaExampleGen
    from tfpetastorm.tfx.example_gen import rewriting

    names = ["a.parquet", "a-of-2-00001.parquet", "A-2-of-2-00000.parquet"]
    (tmp_path / "data").mkdir()
    for number, name in enumerate(names):
        rows = range(10 * number, 10 * number + (8 if number == 0 else 2))
        pq.write_table(pa.table({"id": list(rows)}), tmp_path / "data" / name, row_group_size=4, use_dictionary=False)
    monkeypatch.setattr(
        rewriting, "_PIECE_BYTES", pq.read_metadata(tmp_path / "data" / names[0]).row_group(0).total_byte_size
    )
    examples = generate(UnischemaExampleGen(str(tmp_path / "data")), tmp_path / "out")
    found = [number for split in ("train", "eval") for number in table_of(examples, split)["id"].to_pylist()]
    assert sorted(found) == [*range(8), 10, 11, 20, 21]
    assert [path.name for path in files_of(examples, "train")] == [
        "A-2-of-2-00000.parquet",
        "a-3-of-2-00000.parquet",
        "a-3-of-2-00001.parquet",
        "a-of-2-00001.parquet",
    ]


def test_rows_are_written_over_nothing_else(kinds: Path, tmp_path: Path) -> None:
    """Done again, a piece leaves what it left before."""
    from tfpetastorm.read.fetch import Fetcher
    from tfpetastorm.tfx.example_gen.executor import _rewriting
    from tfpetastorm.tfx.example_gen.layout import Artifact
    from tfpetastorm.tfx.example_gen.matched import match
    from tfpetastorm.tfx.example_gen.opened import open_inputs
    from tfpetastorm.tfx.example_gen.options import Options
    from tfpetastorm.tfx.example_gen.rewriting import pieces_of

    inputs = open_inputs([match(str(kinds), "all", "*")])
    artifact = Artifact.at(str(tmp_path / "out"))
    artifact.clear(["all"])
    rewriting = _rewriting(inputs, artifact, None, Options("link", False, "error", None))
    piece = pieces_of(inputs, inputs.files["all"], "all")[0]
    fetcher = Fetcher(rewriting.sources[piece.dataset])
    for _ in range(2):
        assert rewriting.run(piece, fetcher) > 0
    target = tmp_path / "out" / "Split-all" / piece.name
    target.write_bytes(b"another's")
    with pytest.raises(DatasetError, match=rf"another file where rows should go \(file .*{piece.name}"):
        rewriting.run(piece, fetcher)
    fetcher.close()
    assert target.read_bytes() == b"another's"
    assert list((tmp_path / "out" / ".writing").iterdir()) == []
