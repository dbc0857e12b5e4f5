"""petastorm's cache classes: values kept without pickle."""

from __future__ import annotations

import datetime as dt
import pickle
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tests.read.helpers import same
from tfpetastorm.errors import EncodeError
from tfpetastorm.petastorm.cache import CacheBase, NullCache
from tfpetastorm.petastorm.local_disk_cache import LocalDiskCache
from tfpetastorm.read.cache import Kept
from tfpetastorm.read.layout import Layout
from tfpetastorm.read.values import from_json, to_json

MB = 1 << 20

plain = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(),
    st.binary(),
    st.decimals(allow_nan=False),
    st.dates(),
    st.datetimes(),
    hnp.arrays(hnp.scalar_dtypes(), hnp.array_shapes(min_dims=0, min_side=0)),
)
values = st.recursive(
    plain,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.one_of(st.text(), st.integers()), inner, max_size=3),
    ),
    max_leaves=8,
)


def alike(one, other):
    if isinstance(one, dict):
        return list(one) == list(other) and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return type(one) is type(other) and len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, float):
        return repr(one) == repr(other)
    return same(one, other)


@given(values)
def test_plain_values_come_back_as_they_were(value):
    layout = Layout()
    node = to_json(value, layout)
    buffer = b"".join(layout.buffers)
    assert alike(value, from_json(node, buffer, 0))


@pytest.mark.parametrize(
    "value",
    [
        {"a": np.arange(6).reshape(2, 3), "b": ["x", None, Decimal("1.50")], 3: (dt.date(2020, 1, 2), b"\0")},
        np.array(["a", None, Decimal(1)], object),
        np.float32(0.5),
    ],
)
def test_what_was_cached_is_given_again(tmp_path, value):
    cache = LocalDiskCache(tmp_path, MB, 4)
    cache.get("key", lambda: value)
    found = LocalDiskCache(tmp_path, MB, 4).get("key", pytest.fail)
    assert alike(value, found) or same(value, found)


def test_arrow_tables_are_cached(tmp_path):
    cache = LocalDiskCache(tmp_path, MB, 4)
    table = pa.table({"a": [1, None], "b": ["x", "y"]})
    for _ in range(2):
        assert cache.get("table", lambda: table).equals(table)
        assert cache.get("batch", lambda: table.to_batches()[0]).equals(table.to_batches()[0])
    assert cache.get("table", pytest.fail).equals(table)


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("unpickled",))


def test_nothing_is_pickled(tmp_path):
    cache = LocalDiskCache(tmp_path, MB, 4)
    for value in (Bomb(), [Bomb()], {"a": {1}}, np.zeros(2, [("a", "i4")])):
        with pytest.raises(EncodeError, match="nothing is pickled"):
            cache.get("bomb", lambda value=value: value)
    cache.get("key", lambda: 1)
    (entry,) = cache.disk.store._entries.iterdir()
    entry.write_bytes(pickle.dumps(Bomb()))
    assert cache.get("key", lambda: 2) == 2


def test_none_is_not_kept(tmp_path):
    cache = LocalDiskCache(tmp_path, MB, 4)
    assert cache.get("key", lambda: None) is None
    assert cache.get("key", lambda: 3) == 3


def test_eviction(tmp_path):
    for policy, kept in [("none", 0), ("least-recently-stored", 9), ("least-recently-used", 9)]:
        cache = LocalDiskCache(tmp_path / policy, MB, 4, eviction_policy=policy)
        for i in range(10):
            cache.get(str(i), lambda i=i: np.full(200_000, i, np.uint8))
        assert (cache.get(str(kept), pytest.fail) == kept).all()
        assert cache.disk.nbytes <= MB


def test_settings_without_a_meaning_are_told(tmp_path):
    with pytest.warns(DeprecationWarning, match="ignored: disk_pickle_protocol, timeout"):
        LocalDiskCache(tmp_path, MB, 4, timeout=3, disk_pickle_protocol=5)
    for arguments in [(None, MB, 4), (tmp_path, None, 4), (tmp_path, 1000, 500)]:
        with pytest.raises(ValueError, match=r"lacks an option|needs to hold"):
            LocalDiskCache(*arguments)


def test_cleanup_leaves_what_is_not_its_own(tmp_path):
    """petastorm removed the whole folder, whatever else was in it."""
    (tmp_path / "thesis.tex").write_text("years of work")
    cache = LocalDiskCache(tmp_path, MB, 4)
    cache.get("key", lambda: 1)
    cache.cleanup()
    cache.cleanup()
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    kept = LocalDiskCache(tmp_path / "kept", MB, 4, cleanup=False)
    kept.get("key", lambda: 1)
    kept.cleanup()
    assert kept.get("key", pytest.fail) == 1


def test_what_is_still_under_way_keeps_nothing_after_cleanup(tmp_path):
    """Workers that had read ahead made the folder anew."""
    cache = LocalDiskCache(tmp_path / "cache", MB, 4)
    cache.get("key", lambda: 1)
    cache.cleanup()
    assert [cache.get(key, lambda: 2) for key in ("key", "other")] == [2, 2]
    assert not cache.disk.keep("task", Kept(0, {}, {}))
    assert not (tmp_path / "cache").exists()


def test_no_cache():
    assert issubclass(LocalDiskCache, CacheBase)
    assert [NullCache().get("key", lambda i=i: i) for i in range(2)] == [0, 1]
