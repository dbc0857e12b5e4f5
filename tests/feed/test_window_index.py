"""The index pass that finds windows: what it reads, keeps and refuses."""

from __future__ import annotations

import datetime as dt
import os
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfpetastorm.errors import DatasetWarning, NullValueError, UnsortedDataError
from tfpetastorm.feed.skip import SkipLedger
from tfpetastorm.feed.window_index import index_windows
from tfpetastorm.plan.ngram import Window
from tfpetastorm.plan.split import Split
from tfpetastorm.plan.tasks import slice_row_groups
from tfpetastorm.pool.options import PoolOptions
from tfpetastorm.read.fetch import Source
from tfpetastorm.read.nulls import NullPolicy
from tfpetastorm.read.predicate import predicate_of
from tfpetastorm.read.runs import runs_of
from tfpetastorm.read.spec import ReadSpec
from tfpetastorm.read.task import TaskReader
from tfpetastorm.schema.columns import Column, Text
from tfpetastorm.schema.field import UnischemaField
from tfpetastorm.storage.opening import open_dataset

FETCHED = "fetched"


class Indexed:
    """An index pass over a folder, and what it took."""

    def __init__(
        self, url, window, *, where=None, split=None, skip=False, keep=None, slice_bytes=2**26, sidecar="auto"
    ):
        self.stored = open_dataset(url, sidecar=sidecar)
        schema = self.stored.schema
        predicate = predicate_of(where, list(schema.fields), self.stored.filter_schema)
        inventory = self.stored.inventory
        source = Source(self.stored.filesystem, inventory, self.stored.column_paths, self.stored.partition_fields)
        policy = NullPolicy("error", list(schema))
        output = tuple(policy.fields_after(list(schema)))
        filters = self.stored.filter_schema
        spec = ReadSpec(source, schema, tuple(schema.fields), policy, output, filters, predicate, split, skip=skip)
        rows = inventory.row_group_rows
        kept = np.ones(len(rows), bool) if keep is None else np.array(keep)
        tasks = slice_row_groups(rows, kept, np.ones(len(rows)), slice_bytes)
        reader = TaskReader(spec)
        self.tasks_read = 0
        probe = reader.probe

        def counted(*arguments):
            self.tasks_read += 1
            return probe(*arguments)

        reader.probe = counted
        self.ledger = SkipLedger(None)
        wanted = window.resolve(schema)
        self.index = index_windows(self.stored, spec, reader, PoolOptions.of("thread"), tasks, self.ledger, wanted)
        self.starts = list(self.index.starts(np.arange(self.index.total)))


def write(folder, table, sizes):
    """Row groups of these sizes, a file for each list; rows left over are dropped."""
    folder.mkdir(exist_ok=True)
    at = 0
    for i, groups in enumerate(sizes):
        with pq.ParquetWriter(folder / f"part-{i:03}.parquet", table.schema) as writer:
            for size in groups:
                writer.write_table(table.slice(at, size), row_group_size=max(size, 1))
                at += size


@pytest.fixture
def drives(tmp_path):
    """20 rows in two files: three drives of 8, 5 and 7 rows; time begins anew in each; one gap."""
    t = np.concatenate([np.arange(8), np.arange(5), [0, 1, 2, 10, 11, 12, 13]])
    table = pa.table(
        {
            "drive": ["a"] * 8 + ["b"] * 5 + ["c"] * 7,
            "t": t,
            "at": t.astype("M8[s]").astype("M8[us]"),
            "id": np.arange(20),
        }
    )
    write(tmp_path / "drives", table, [[3, 4], [0, 5, 8]])
    return tmp_path / "drives"


SECOND = dt.timedelta(seconds=1)


@pytest.mark.parametrize("slice_bytes", [1, 2, 2**26])
def test_sequences_gaps_and_filters_part_windows_and_files_do_not(drives, slice_bytes):
    def starts(window, **options):
        return Indexed(drives, window, slice_bytes=slice_bytes, **options).starts

    drive = {"sequence_field": "drive"}
    at = {"timestamp_field": "at", "delta_threshold": SECOND}
    assert starts(Window(18)) == [0, 1, 2]
    assert starts(Window(5, **drive)) == [0, 1, 2, 3, 8, 13, 14, 15]
    assert starts(Window(4, **drive, **at)) == [0, 1, 2, 3, 4, 8, 9, 16]
    assert starts(Window(4, 3, **drive, **at)) == [0, 3, 8, 16]
    assert starts(Window(3, **drive, **at), where=[("id", "!=", 4)]) == [0, 1, 5, 8, 9, 10, 13, 16, 17]
    assert starts(Window(2), where=[("id", "in", [0, 1, 7, 8, 19])]) == [0, 7]


def test_nothing_is_read_where_nothing_decides_and_row_groups_left_out_part_windows(drives):
    whole = Indexed(drives, Window(4))
    assert (whole.tasks_read, whole.index.total) == (0, 17)
    assert Indexed(drives, Window(4), split=Split("train", {"train": 1.0}, by="row_group")).tasks_read == 0
    parts = Indexed(drives, Window(2), keep=[True, False, True, True, True])
    # Rows are numbered over what is kept; the row group of none is no border.
    assert (parts.tasks_read, parts.starts) == (0, [0, 1, *range(3, 15)])
    assert Indexed(drives, Window(3), keep=[True, False, True, True, False], where=[("id", ">", 0)]).starts == [3, 4, 5]


def test_what_was_found_is_kept_until_the_files_or_the_question_change(drives):
    window = Window(4, sequence_field="drive", timestamp_field="t", delta_threshold=1)

    def index(window, **options):
        return Indexed(drives, window, sidecar="always", **options)

    first = index(window)
    assert first.tasks_read == 4
    again = index(window)
    assert (again.tasks_read, again.starts) == (0, first.starts)
    # Another choice of fields asks for the same windows.
    assert (
        index(Window(4, sequence_field="drive", timestamp_field="t", delta_threshold=1.9, fields=["id"])).tasks_read
        == 0
    )
    for other in (
        Window(3, sequence_field="drive", timestamp_field="t", delta_threshold=1),
        Window(4, 2, sequence_field="drive", timestamp_field="t", delta_threshold=1),
        Window(4, sequence_field="drive", timestamp_field="t", delta_threshold=2),
        Window(4, sequence_field="drive", timestamp_field="at", delta_threshold=SECOND),
        Window(4, sequence_field="drive"),
    ):
        assert index(other).tasks_read == 4
    assert index(window, where=[("id", "<", 18)]).tasks_read == 4
    assert index(window, where=lambda id: id < 18).tasks_read == 4  # noqa: A006
    assert index(window, where=lambda id: id < 18).tasks_read == 4  # noqa: A006
    file = drives / "part-000.parquet"
    before = file.stat().st_mtime_ns
    os.utime(file, ns=(before + 1, before + 1))
    assert index(window).tasks_read == 4


@pytest.mark.parametrize(
    ("window", "where", "reason"),
    [
        (Window(21), None, r"windows need 21 consecutive rows, and the longest run has 20\."),
        (Window(9, sequence_field="drive"), None, "9 consecutive rows of one 'drive', and the longest run has 8"),
        (Window(2), [("id", ">", 50)], "leave none of 20 rows"),
        (Window(2), lambda id: id % 2 == 0, "2 consecutive rows that all pass where= and split=.* has 1"),  # noqa: A006
        (
            Window(2, sequence_field="drive", timestamp_field="at", delta_threshold=SECOND / 2),
            None,
            "delta_threshold is 500000 us, and the smallest gap of 'at' is 1000000 us",
        ),
    ],
)
def test_no_windows_warn_and_say_why(drives, window, where, reason):
    with pytest.warns(DatasetWarning, match=f"drives has no windows: .*{reason}"):
        found = Indexed(drives, window, where=where, sidecar="always")
    assert found.index.total == 0
    with pytest.warns(DatasetWarning, match=reason):
        Indexed(drives, window, where=where, sidecar="always")


def test_rows_out_of_order_are_named_by_file_row_group_and_row(drives):
    with pytest.raises(
        UnsortedDataError, match=r"field 't', file .*part-001.parquet, row group 1, row 1\).*7.*found 0"
    ):
        Indexed(drives, Window(2, timestamp_field="t"), slice_bytes=2)
    Indexed(drives, Window(2, timestamp_field="t"), where=[("drive", "=", "a")])
    table = pa.table({"s": [Decimal("1.50"), Decimal("1.5"), Decimal(2), Decimal("1.500")], "id": range(4)})
    folder = drives.parent / "back"
    write(folder, table, [[2], [2]])
    with pytest.raises(
        UnsortedDataError, match=r"Decimal\('1.500*'\).*field 's', file .*part-001.*row group 0, row 1\)"
    ):
        Indexed(folder, Window(2, sequence_field="s"))


@pytest.mark.parametrize("field", ["timestamp_field", "sequence_field"])
@pytest.mark.parametrize(
    "values", [pa.array([0, None, 2]), pa.array([0, float("nan"), 2]), pa.array([0, None, 2], pa.timestamp("us"))]
)
def test_nulls_are_named_unless_where_leaves_them_out(tmp_path, field, values):
    table = pa.table({"t": values, "id": range(3)})
    write(tmp_path / "nulls", table, [[3]])
    window = Window(1, **{field: "t"})
    with pytest.raises(NullValueError, match=rf"{field}=.*field 't', file .*part-000.parquet, row group 0, row 1\)"):
        Indexed(tmp_path / "nulls", window)
    assert Indexed(tmp_path / "nulls", window, where=[("id", "!=", 1)]).starts == [0, 2]


def test_damaged_rows_do_not_pass(drives):
    (drives / "part-000.parquet").read_bytes()
    file = drives / "part-001.parquet"
    offset = pq.ParquetFile(file).metadata.row_group(1).column(0).dictionary_page_offset
    data = bytearray(file.read_bytes())
    data[offset : offset + 8] = b"\xff" * 8
    file.write_bytes(data)
    window = Window(4, sequence_field="drive")
    found = Indexed(drives, window, skip=True, sidecar="always")
    assert found.starts == [0, 1, 2, 3, 13, 14, 15, 16]
    assert found.ledger.rows == 5
    assert Indexed(drives, window, skip=True, sidecar="always").tasks_read == 4


def test_the_field_may_be_in_folder_names(tmp_path):
    for drive in ("a", "b"):
        write(tmp_path / "hive", pa.table({"id": range(4)}), [])
        (tmp_path / "hive" / f"drive={drive}").mkdir()
        write(tmp_path / "hive" / f"drive={drive}", pa.table({"id": range(4)}), [[2, 2]])
    assert Indexed(tmp_path / "hive", Window(3, sequence_field="drive", timestamp_field="id")).starts == [0, 1, 4, 5]


text = st.sampled_from([b"", b"a", b"ab", b"b", b"\xff", b"\xfe"])


@given(st.lists(text, max_size=30), st.booleans(), st.randoms(use_true_random=False))
def test_runs_of_text(items, coded, random):
    """Of dictionaries too, whose items may repeat."""
    if coded:
        entries = [random.choice(items) for _ in range(4)] + items if items else [b"x"]
        codes = np.array([random.choice([k for k, e in enumerate(entries) if e == item]) for item in items], np.int32)
    else:
        entries, codes = items, None
    lead = b"zz"
    offsets = len(lead) + np.concatenate([[0], np.cumsum([len(item) for item in entries])]).astype(np.int64)
    column = Column(Text(offsets, np.frombuffer(lead + b"".join(entries), np.uint8), codes))
    for kind in (np.bytes_, np.str_):
        starts, values = runs_of(column, UnischemaField("s", kind))
        expected = [i for i in range(len(items)) if not i or items[i] != items[i - 1]]
        assert list(starts) == expected
        shown = [items[i] if kind is np.bytes_ else items[i].decode(errors="surrogateescape") for i in expected]
        assert list(values) == shown


@pytest.mark.parametrize("dtype", [np.int8, np.uint64, np.float32, np.bool_, "M8[D]", "M8[ns]"])
def test_runs_of_numbers(dtype):
    values = np.array([1, 1, 0, 0, 0, 1]).astype(dtype)
    starts, found = runs_of(Column(values), UnischemaField("s", dtype))
    assert list(starts) == [0, 2, 5]
    assert list(found) == list(values[[0, 2, 5]])
    assert runs_of(Column(values[:0]), UnischemaField("s", dtype))[1] == ()
