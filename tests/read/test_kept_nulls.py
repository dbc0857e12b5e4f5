"""Nulls.KEEP: for readers, whose rows can say None."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.read.helpers import results_of, rows_of, spec_of
from tfpetastorm.errors import DamagedDataError, NullValueError, OptionError
from tfpetastorm.read.nulls import Nulls


@pytest.fixture
def url(tmp_path):
    table = pa.table({"n": pa.array([1, None, 3, None]), "s": ["a", None, None, "b"], "l": [[1], None, [], [2, 3]]})
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=3)
    return tmp_path


def test_kept_nulls_come_as_none_and_the_fields_stay_nullable(url):
    spec = spec_of(url)
    assert all(field.nullable for field in spec.output)
    rows = rows_of(spec)
    assert [row["n"] for row in rows] == [1, None, 3, None]
    assert [row["s"] for row in rows] == ["a", None, None, "b"]
    assert [None if row["l"] is None else row["l"].tolist() for row in rows] == [[1], None, [], [2, 3]]
    first = next(results_of(spec)).columns["n"]
    assert first.valid.tolist() == [True, False, True]


def test_one_field_may_keep_nulls_and_another_be_filled(url):
    spec = spec_of(url, fields=["n", "s"], nulls={"n": Nulls.KEEP, "s": "?"})
    assert [field.nullable for field in spec.output] == [True, False]
    assert [tuple(row.values()) for row in rows_of(spec)] == [(1, "a"), (None, "?"), (3, "?"), (None, "b")]


def test_nulls_for_which_nothing_was_chosen_are_an_error(url):
    with pytest.raises(NullValueError, match="'s'"):
        rows_of(spec_of(url, fields=["n", "s"], nulls={"n": Nulls.KEEP}))


def test_the_word_alone_is_no_treatment(url):
    with pytest.raises(OptionError, match="nulls"):
        spec_of(url, nulls="keep")


def test_text_that_is_not_utf8_is_damage_where_rows_are_for_python(tmp_path):
    bad = pa.array([b"a", b"\xff"]).cast(pa.binary()).view(pa.string())
    pq.write_table(pa.table([pa.array([1, 2]), bad], ["n", "s"]), tmp_path / "a.parquet")
    with pytest.raises(DamagedDataError, match="UTF-8"):
        rows_of(spec_of(tmp_path))
    assert [row["n"] for row in rows_of(spec_of(tmp_path, skip=True))] == [1]
