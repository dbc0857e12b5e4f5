"""The disk cache: what is found is what would have been read, bit by bit, or nothing."""

from __future__ import annotations

import contextlib
import importlib
import os
import secrets
import shutil
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tfpetastorm as tps
from tests.read.helpers import results_of, same, spec_of, tasks_of
from tests.schema.strategies import columns, fields
from tfpetastorm.errors import DamagedDataError, DatasetWarning, OptionError
from tfpetastorm.plan.split import Split
from tfpetastorm.plan.tasks import ReadTask
from tfpetastorm.read.cache import DiskCache
from tfpetastorm.read.naming import field_name
from tfpetastorm.read.nulls import Nulls
from tfpetastorm.read.task import TaskReader
from tfpetastorm.read.transform_spec import TransformSpec
from tfpetastorm.schema.rows import cells_of

MB = 1 << 20
ROWS = 60


@pytest.fixture
def url(tmp_path):
    rng = np.random.default_rng(3)
    schema = tps.Unischema(
        "S",
        [
            tps.UnischemaField("id", np.int64),
            tps.UnischemaField("image", np.uint8, (8, 9, 3), tps.CompressedImageCodec("png")),
            tps.UnischemaField("points", np.float32, (None, 2), tps.NdarrayCodec()),
            tps.UnischemaField("word", np.str_, (), None, True),
            tps.UnischemaField("price", Decimal, (), tps.ScalarCodec("decimal128(10, 2)"), True),
            tps.UnischemaField("wide", np.float32, (), tps.ScalarCodec("float64")),
        ],
    )
    folder = tmp_path / "data"
    with tps.DatasetWriter(folder, schema, row_group_rows=20) as writer:
        for i in range(ROWS):
            writer.write(
                {
                    "id": i,
                    "image": rng.integers(0, 255, (8, 9, 3), np.uint8),
                    "points": rng.random((i % 4, 2), np.float32),
                    "word": None if i % 5 == 2 else f"word {i % 7}",
                    "price": None if i % 6 == 1 else Decimal(i) / 4,
                    "wide": np.float32(i / 3),
                }
            )
    return folder


def all_rows(spec):
    """Rows, and how often the cache had them."""
    rows, hits, misses = [], 0, 0
    for result in results_of(spec):
        cells = {field.name: cells_of(field, result.columns[field.name]) for field in spec.output}
        rows += [{name: cells[name][i] for name in cells} for i in range(result.rows)]
        hits += result.counts.cache_hits
        misses += result.counts.cache_misses
    return rows, hits, misses


def assert_same(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert list(one) == list(other)
        assert all(same(one[name], other[name]) for name in one), (one, other)


def speak(row):
    return {"text": np.str_(f"{row['word']}/{row['price']}"), "mean": np.float64(row["image"].mean())}


def double(columns):
    return {**columns, "id": columns["id"] * 2}


TALK = TransformSpec(
    speak, [("text", np.str_, (), False), ("mean", np.float64, (), False)], selected_fields=["mean", "text"]
)
OPTIONS = {
    "all": {},
    "fields": {"fields": ["image", "id"]},
    "tuples": {"where": [("id", ">", 25), ("word", "!=", "word 3")]},
    "expression of a wider type": {"where": pc.field("wide") > 3.3, "fields": ["word"]},
    "function": {"where": lambda image, word: np.array([w != "word 1" for w in word]) & (image[:, 0, 0, 0] > 90)},
    "rows": {"transform": TALK.for_rows()},
    "rows and where": {"transform": TALK.for_rows(), "where": [("id", "<", 33)]},
    "columns": {"transform": double, "fields": ["id", "image"], "nulls": "error"},
    "filled": {"nulls": {"word": "none", "price": Decimal(0)}},
    "masked": {"nulls": Nulls.MASK},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_what_the_cache_gives_is_what_is_read(url, tmp_path, name):
    expected, _, misses = all_rows(spec_of(url, **OPTIONS[name]))
    assert misses == 0
    cache = DiskCache(tmp_path / "cache")
    first, hits, misses = all_rows(spec_of(url, **OPTIONS[name], cache=cache))
    assert (hits, misses) == (0, 3)
    assert_same(first, expected)
    # Another process, and later: nothing of the files' content is needed.
    again = replace(spec_of(url, **OPTIONS[name]), cache=DiskCache(tmp_path / "cache"))
    _hide(url)
    second, hits, misses = all_rows(again)
    assert (hits, misses) == (3, 0)
    assert_same(second, expected)


def _hide(url):
    """Makes the content unreadable, in files of the same size and time."""
    for path in url.rglob("*.parquet"):
        status = path.stat()
        path.write_bytes(b"x" * status.st_size)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_a_hit_equals_a_miss_for_every_schema(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("any")
    chosen = data.draw(st.lists(fields(), min_size=1, max_size=3, unique_by=lambda field: field.name))
    cells = [data.draw(columns(field)) for field in chosen]
    count = min(map(len, cells))
    with tps.DatasetWriter(folder / "data", tps.Unischema("S", chosen), row_group_rows=2) as writer:
        for i in range(count):
            writer.write({field.name: part[i] for field, part in zip(chosen, cells, strict=True)})
    if not count:
        return
    expected, _, _ = all_rows(spec_of(folder / "data"))
    cache = DiskCache(folder / "cache")
    first, _, misses = all_rows(spec_of(folder / "data", cache=cache))
    second, hits, _ = all_rows(spec_of(folder / "data", cache=cache))
    assert misses == hits == -(-count // 2)
    assert_same(first, expected)
    assert_same(second, expected)
    shutil.rmtree(folder)


@pytest.mark.parametrize("split", [Split("a", {"a": 0.5}), Split("a", {"a": 0.5}, by="id")])
def test_a_split_is_applied_after_the_cache(url, tmp_path, split):
    expected, _, _ = all_rows(replace(spec_of(url), split=split))
    assert 0 < len(expected) < ROWS
    spec = replace(spec_of(url), split=split, cache=DiskCache(tmp_path / "cache"))
    assert_same(all_rows(spec)[0], expected)
    second, hits, _ = all_rows(spec)
    assert hits == 3
    assert_same(second, expected)


def test_different_filters_share_what_was_decoded(url, tmp_path):
    """petastorm refuses a cache beside a predicate."""
    cache = DiskCache(tmp_path / "cache")

    def spec(where):
        return spec_of(url, where=where, cache=cache)

    few = all_rows(spec([("id", "<", 5)]))
    many = all_rows(spec([("id", "<", 50)]))
    assert (len(few[0]), few[1:]) == (5, (0, 3))
    assert (len(many[0]), many[1:]) == (50, (3, 0))
    assert len(cache) == 3
    assert len(all_rows(spec(tps.ColumnPredicate(["id"], lambda ids: ids % 2 == 0)))[0]) == 30


def test_what_a_filter_writes_does_not_come_out(url, tmp_path):
    def few(numbers):
        numbers += 1000
        return numbers < 1005

    cache = DiskCache(tmp_path / "cache")
    for _ in range(2):
        rows = all_rows(spec_of(url, where=tps.ColumnPredicate(["id"], few), fields=["id", "word"], cache=cache))[0]
        assert [row["id"] for row in rows] == [0, 1, 2, 3, 4]


def test_some_rows_of_a_task_are_taken_after_the_cache(url, tmp_path):
    spec = spec_of(url, cache=DiskCache(tmp_path / "cache"))
    reader = TaskReader(spec)
    reader.run(ReadTask(1, 0, 20))
    result = reader.run(ReadTask(1, 0, 20, np.array([3, 7])))
    assert result.counts.cache_hits == 1
    assert result.columns["id"].values.tolist() == [23, 27]
    reader.close()


# ---------------------------------------------------------------------- the key


def counted(spec):
    return all_rows(spec)[1:]


def test_another_file_is_another_key(url, tmp_path):
    """petastorm's key had the path and row group alone: a file that was written anew came from the cache."""
    cache = DiskCache(tmp_path / "cache")
    assert counted(spec_of(url, fields=["id"], cache=cache)) == (0, 3)
    other = tmp_path / "other"
    shutil.copytree(url, other)
    assert counted(spec_of(other, fields=["id"], cache=cache)) == (0, 3)
    path = next(url.rglob("*.parquet"))
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert counted(spec_of(url, fields=["id"], cache=cache)) == (0, 3)
    assert counted(spec_of(url, fields=["id"], cache=cache)) == (3, 0)


def test_other_fields_dtypes_shapes_and_codecs_are_other_keys(url, tmp_path):
    """petastorm's key ignored these: two readers of one cache got each other's rows."""
    cache = DiskCache(tmp_path / "cache")
    spec = spec_of(url, fields=["points", "id"], cache=cache)
    assert counted(spec) == (0, 3)
    assert counted(spec_of(url, fields=["id"], cache=cache)) == (0, 3)
    for field in (
        tps.UnischemaField("points", np.float32, (None, None), tps.NdarrayCodec()),
        tps.UnischemaField("points", np.float32, (None, 2), tps.CompressedNdarrayCodec()),
        tps.UnischemaField("points", np.float64, (None, 2), tps.NdarrayCodec()),
    ):
        changed = tps.Unischema("S", [field if one.name == field.name else one for one in spec.schema])
        other = TaskReader(replace(spec, schema=changed))
        with contextlib.suppress(DamagedDataError):
            assert other.run(ReadTask(0, 0, 20)).counts.cache_hits == 0
        other.close()
    assert counted(spec) == (3, 0)


def test_another_transform_is_another_key(url, tmp_path):
    cache = DiskCache(tmp_path / "cache")

    def spec(factor, dtype=np.int64, rows=True):
        change = TransformSpec(lambda row: {"id": row["id"] * factor}, [("id", dtype, (), False)])
        return spec_of(url, fields=["id"], transform=change.for_rows() if rows else change.for_frames(), cache=cache)

    assert counted(spec(2)) == (0, 3)
    assert counted(spec(2)) == (3, 0)
    assert counted(spec(3)) == (0, 3)
    assert counted(spec(2, np.int32)) == (0, 3)
    assert counted(replace(spec(2), transform=None, output=spec_of(url, fields=["id"]).output)) == (0, 3)
    assert all_rows(spec(2))[0][10] == {"id": 20}


def test_an_edited_function_of_a_module_is_another_key(url, tmp_path, monkeypatch):
    """By name it would be the same."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    cache = DiskCache(tmp_path / "cache")
    found = []
    for factor in (2, 2, 3):
        body = f"def helper(x):\n    return x * {factor}\n\ndef change(row):\n    return {{'id': helper(row['id'])}}\n"
        (tmp_path / "my_transform.py").write_text(body)
        sys.modules.pop("my_transform", None)
        importlib.invalidate_caches()
        module = importlib.import_module("my_transform")
        rows, hits, _ = all_rows(
            spec_of(url, fields=["id"], transform=TransformSpec(module.change).for_rows(), cache=cache)
        )
        found.append((rows[5]["id"], hits))
    sys.modules.pop("my_transform")
    assert found == [(10, 0), (10, 3), (15, 0)]


def test_a_transform_that_cannot_be_named_is_applied_after_the_cache(url, tmp_path):
    lock = threading.Lock()
    seen = []

    def change(row):
        with lock:
            seen.append(1)
        return row

    cache = DiskCache(tmp_path / "cache")
    transform = TransformSpec(change).for_rows()
    assert counted(spec_of(url, fields=["id"], transform=transform, cache=cache)) == (0, 3)
    assert counted(spec_of(url, fields=["id"], transform=transform, cache=cache)) == (3, 0)
    assert len(seen) == 2 * ROWS


def test_a_transform_that_draws_is_applied_after_the_cache_where_asked(url, tmp_path):
    change = TransformSpec(lambda row: {"id": secrets.randbits(60)}).for_rows()

    def rows(cache):
        return [row["id"] for row in all_rows(spec_of(url, fields=["id"], transform=change, cache=cache))[0]]

    fresh = DiskCache(tmp_path / "a", transformed=False)
    assert rows(fresh) != rows(fresh)
    frozen = DiskCache(tmp_path / "b")
    assert rows(frozen) == rows(frozen)


def test_names_are_the_same_in_every_process(url, tmp_path):
    program = textwrap.dedent(
        f"""
        import numpy as np
        from tests.read.test_cache import all_rows, TALK
        from tests.read.helpers import spec_of
        from tfpetastorm.read.cache import DiskCache
        from tfpetastorm.read.transform_spec import TransformSpec
        limit = 10
        class Odd:
            def __call__(self, frame):
                return frame[["id"]] + len({{"a", "b", "c"}}) + limit
        cache = DiskCache({str(tmp_path / "c")!r})
        spec = spec_of({str(url)!r}, fields=["id"], transform=TransformSpec(Odd()), cache=cache)
        print(all_rows(spec)[1:])
        print(all_rows(spec_of({str(url)!r}, transform=TALK.for_rows(), cache=cache))[1:])
        """
    )
    told = [
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60).stdout
        for _ in range(2)
    ]
    assert told == ["(0, 3)\n(0, 3)\n", "(3, 0)\n(3, 0)\n"]


# ---------------------------------------------------------------------- damage


def test_a_damaged_entry_is_read_anew(url, tmp_path):
    cache = DiskCache(tmp_path / "cache")
    expected = all_rows(spec_of(url, cache=cache))[0]
    for number, path in enumerate(sorted(cache.store._entries.iterdir())):
        raw = bytearray(path.read_bytes())
        raw[[100, len(raw) // 2, -1][number]] ^= 1
        path.write_bytes(raw[: len(raw) - number])
    rows, hits, misses = all_rows(spec_of(url, cache=cache))
    assert (hits, misses) == (0, 3)
    assert_same(rows, expected)
    assert counted(spec_of(url, cache=cache)) == (3, 0)


@pytest.fixture
def damaged(tmp_path):
    """Pictures of which the seventh is none."""
    picture = tps.UnischemaField("image", np.uint8, (2, 2), tps.CompressedImageCodec("png"))
    folder = tmp_path / "damaged"
    schema = tps.Unischema("S", [tps.UnischemaField("id", np.int64), picture])
    with tps.DatasetWriter(folder, schema, row_group_rows=10) as writer:
        for i in range(10):
            writer.write({"id": i, "image": np.full((2, 2), i, np.uint8)})
    (path,) = folder.rglob("*.parquet")
    table = pq.read_table(path)
    cells = table["image"].to_pylist()
    cells[7] = b"no picture"
    at = table.schema.get_field_index("image")
    pq.write_table(table.set_column(at, table.schema.field(at), pa.array(cells, table.schema.field(at).type)), path)
    return folder


def test_damaged_rows_are_told_each_time_and_not_cached(damaged, tmp_path):
    cache = DiskCache(tmp_path / "cache")
    for _ in range(2):
        with pytest.raises(DamagedDataError, match="row 7"):
            all_rows(spec_of(damaged, cache=cache))
        (result,) = results_of(spec_of(damaged, cache=cache, skip=True))
        assert (result.rows, len(result.damage), result.kept.tolist()) == (9, 1, [0, 1, 2, 3, 4, 5, 6, 8, 9])
    assert len(cache) == 0


def test_a_damaged_row_that_a_filter_leaves_out_does_no_harm(damaged, tmp_path):
    spec = spec_of(damaged, where=[("id", "!=", 7)], cache=DiskCache(tmp_path / "cache"))
    for _ in range(2):
        assert len(all_rows(spec)[0]) == 9
        (result,) = results_of(replace(spec, skip=True))
        assert (result.rows, result.damage) == (9, ())


def test_a_file_that_was_replaced_while_it_was_read_is_not_cached(url, tmp_path):
    cache = DiskCache(tmp_path / "cache")
    spec = spec_of(url, fields=["id"], cache=cache)
    for path in url.rglob("*.parquet"):
        os.utime(path)
    assert counted(spec) == (0, 3)
    assert len(cache) == 0


def test_a_full_disk_is_told_once_and_reading_goes_on(url, tmp_path, monkeypatch):
    cache = DiskCache(tmp_path / "cache")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tfpetastorm.read.store._write", full)
    with pytest.warns(DatasetWarning, match=r"can't be written to.*No space left") as told:
        assert len(all_rows(spec_of(url, cache=cache))[0]) == ROWS
    assert len(told) == 1
    assert int((cache.store.folder / "lock").read_text()) == 0


def test_malformed_options_are_refused(tmp_path):
    for arguments in [("",), (3,), ("s3://bucket/x",), (tmp_path, 0), (tmp_path, True), (tmp_path, 5, "mru")]:
        with pytest.raises(OptionError, match="cache"):
            DiskCache(*arguments)
    with pytest.raises(OptionError, match="cache takes"):
        DiskCache.of(3)
    assert repr(DiskCache("/tmp/x", 5)) == "DiskCache('/tmp/x', size_limit_bytes=5, policy='lru')"


def test_codes_of_users_own_codecs_are_in_the_key(tmp_path):
    class Shift(tps.Codec):
        codec_name = "shift"
        by = 1

        def arrow_type(self, field):
            return pa.binary()

        def encode(self, field, value):
            return bytes([int(value)])

        def decode_cell(self, field, data, limits):
            return np.uint8(bytes(data)[0] + self.by)

    field = tps.UnischemaField("x", np.uint8, (), Shift())
    before = field_name(field)
    Shift.by = 2
    assert field_name(field) != before


# ---------------------------------------------------------------------- datasets


def images_of(dataset):
    return [batch["image"].numpy().tobytes() for batch in dataset]


@pytest.mark.parametrize("pool", ["thread", "process", "inline"])
def test_a_dataset_has_the_same_elements_from_the_cache(url, tmp_path, pool):
    options = {"fields": ["id", "image"], "batch_size": 7, "seed": 3, "where": [("id", ">", 3)]}
    options["shuffle"] = tps.Shuffle(block_rows=40)
    expected = images_of(tps.make_dataset(url, epochs=2, **options))
    dataset = tps.make_dataset(url, epochs=2, pool=pool, cache=tmp_path / "cache", **options)
    assert images_of(dataset) == expected
    counts = tps.stats(dataset).counts
    assert counts.cache_misses > 0
    assert counts.cache_hits > 0
    tps.close(dataset)
    again = tps.make_dataset(url, epochs=2, pool=pool, cache=DiskCache(tmp_path / "cache"), **options)
    assert images_of(again) == expected
    counts = tps.stats(again).counts
    assert (counts.cache_misses, counts.cells) == (0, 0)
    tps.close(again)


def test_a_dataset_takes_a_transform_spec(url):
    def shrink(frame):
        frame["small"] = [image[::2, ::3] for image in frame["image"]]
        return frame.drop(columns="image")

    change = TransformSpec(shrink, [("small", np.uint8, (4, 3, 3), False)], ["image"])
    plain = next(iter(tps.make_dataset(url, fields=["id", "image"], batch_size=ROWS)))
    (found,) = list(tps.make_dataset(url, fields=["id", "image"], transform=change, batch_size=ROWS))
    np.testing.assert_array_equal(found["small"], plain["image"][:, ::2, ::3])
    nullable = TransformSpec(shrink, [("small", np.uint8, (4, 3, 3), True)], ["image"])
    with pytest.raises(OptionError, match="nullable"):
        tps.make_dataset(url, fields=["id", "image"], transform=nullable)
    with pytest.raises(OptionError, match="nullable"):
        tps.make_dataset(url, fields=["word"], nulls=Nulls.KEEP)


def test_an_entry_may_go_while_it_is_used(url, tmp_path):
    cache = DiskCache(tmp_path / "cache")
    spec = spec_of(url, cache=cache)
    expected = all_rows(spec)[0]
    held = list(results_of(spec))
    cache.clear()
    assert len(cache) == 0
    names = [field.name for field in spec.output]
    cells = {
        name: [cell for result in held for cell in cells_of(spec.output[i], result.columns[name])]
        for i, name in enumerate(names)
    }
    assert_same([{name: cells[name][i] for name in names} for i in range(ROWS)], expected)


def test_processes_on_one_cache_and_a_bound(url, tmp_path):
    """Entries come and go under three readers; what each reads is right."""
    program = textwrap.dedent(
        f"""
        from tests.read.test_cache import all_rows, assert_same
        from tests.read.helpers import spec_of
        from tfpetastorm.read.cache import DiskCache
        expected = all_rows(spec_of({str(url)!r}))[0]
        for limit in (10_000_000, 30_000, 30_000):
            assert_same(all_rows(spec_of({str(url)!r}, cache=DiskCache({str(tmp_path / "c")!r}, limit)))[0], expected)
        """
    )
    children = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(3)]
    assert [child.wait(100) for child in children] == [0] * 3
    assert DiskCache(tmp_path / "c").nbytes < 40_000


def test_a_hit_is_far_cheaper_than_decoding(tmp_path):
    rng = np.random.default_rng(0)
    schema = tps.Unischema("S", [tps.UnischemaField("image", np.uint8, (128, 128, 3), tps.CompressedImageCodec("png"))])
    with tps.DatasetWriter(tmp_path / "data", schema, row_group_rows=200) as writer:
        for _ in range(200):
            writer.write({"image": rng.integers(0, 64, (128, 128, 3), np.uint8)})
    spec = spec_of(tmp_path / "data", cache=DiskCache(tmp_path / "cache"))
    seconds = []
    for _ in range(4):
        started = time.perf_counter()
        assert sum(int(result.columns["image"].values[:, 0].sum()) for result in results_of(spec)) > 0
        seconds.append(time.perf_counter() - started)
    assert min(seconds[1:]) < seconds[0] / 3
    assert tasks_of(spec)
