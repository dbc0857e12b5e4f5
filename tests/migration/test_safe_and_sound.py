"""What petastorm got wrong with schemas and metadata, by the numbers of its issues: uber/petastorm#…"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import tfpetastorm as tps
from tfpetastorm.codecs import NdarrayCodec, ScalarCodec
from tfpetastorm.errors import OptionError, PetastormMetadataError, SchemaError, TfpetastormError, UnsafeDataError
from tfpetastorm.etl.dataset_metadata import (
    get_schema,
    get_schema_from_dataset_url,
    infer_or_load_unischema,
    load_row_groups,
)
from tfpetastorm.etl.legacy import RestrictedUnpickler, depickle_legacy_package_name_compatible, restricted_loads
from tfpetastorm.schema.petastorm_format import write_pickled_schema
from tfpetastorm.storage.metadata import PETASTORM_FILES_KEY, PETASTORM_UNISCHEMA_KEY, common_metadata_bytes
from tfpetastorm.unischema import Unischema, UnischemaField, match_unischema_fields
from tfpetastorm.utils import DecodeFieldError, add_to_dataset_metadata, decode_row


class Call:
    """Pickles to a call of a function: what an attacker puts in a schema's place."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def petastorm_dataset(path: Path, pickled: bytes) -> str:
    """A dataset with petastorm's metadata only, and this in the place of its schema. Its URL."""
    path.mkdir()
    table = pa.table({"id": pa.array([1, 2, 3], pa.int64())})
    pq.write_table(table, path / "part.parquet")
    pairs = {PETASTORM_UNISCHEMA_KEY: pickled, PETASTORM_FILES_KEY: b'{"part.parquet": 1}'}
    (path / "_common_metadata").write_bytes(common_metadata_bytes(table.schema, pairs))
    return path.as_uri()


def rows(url: str, make: Callable[..., Any] = tps.make_reader) -> list[Any]:
    with make(url, reader_pool_type="dummy") as reader:
        return list(reader)


ENTRIES: dict[str, Callable[[str, bytes], Any]] = {
    "make_reader": lambda url, pickled: rows(url),
    "make_batch_reader": lambda url, pickled: rows(url, tps.make_batch_reader),
    "make_dataset": lambda url, pickled: list(tps.make_dataset(url, batch_size=1)),
    "open_dataset": lambda url, pickled: tps.open_dataset(url),
    "copy_dataset": lambda url, pickled: tps.copy_dataset(url, url + "-copy"),
    "DatasetWriter": lambda url, pickled: tps.DatasetWriter(url, None, mode="append"),
    "get_schema_from_dataset_url": lambda url, pickled: get_schema_from_dataset_url(url),
    "get_schema": lambda url, pickled: get_schema(url),
    "infer_or_load_unischema": lambda url, pickled: infer_or_load_unischema(url),
    "load_row_groups": lambda url, pickled: load_row_groups(url),
    "restricted_loads": lambda url, pickled: restricted_loads(pickled),
    "depickle_legacy_package_name_compatible": lambda url, pickled: depickle_legacy_package_name_compatible(pickled),
    "RestrictedUnpickler": lambda url, pickled: RestrictedUnpickler(io.BytesIO(pickled)).load(),
}


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("function", [exec, eval], ids=["exec", "eval"])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_741_no_entry_runs_what_a_schema_asks_for(
    entry: str, function: Callable[..., Any], protocol: int, tmp_path: Path
) -> None:
    """petastorm's RestrictedUnpickler let builtins.eval through."""
    marker = tmp_path / "ran"
    pickled = pickle.dumps(Call(function, f"__import__('pathlib').Path({str(marker)!r}).touch()"), protocol)
    url = petastorm_dataset(tmp_path / "data", pickled)
    with pytest.raises(UnsafeDataError):
        ENTRIES[entry](url, pickled)
    assert not marker.exists()


def test_741_nor_what_a_field_or_a_codec_asks_for(tmp_path: Path) -> None:
    schema = Unischema("S", [UnischemaField("id", np.int64, ())])
    good = write_pickled_schema(schema)
    assert restricted_loads(good) == schema
    with pytest.raises(TfpetastormError):
        restricted_loads(good.replace(b"cnumpy\nint64", b"cos\nsystem"))


def test_515_metadata_is_replaced_in_one_step(tmp_path: Path) -> None:
    """An interrupted write left petastorm's datasets with damaged metadata."""
    schema = Unischema("S", [UnischemaField("id", np.int64, ())])
    with tps.DatasetWriter(tmp_path / "d", schema) as writer:
        writer.write({"id": 1})
    before = (tmp_path / "d" / "_common_metadata").read_bytes()
    with tps.DatasetWriter(tmp_path / "d", schema, mode="append") as writer:
        writer.write({"id": 2})
        # Until all is written, nothing that readers look at has changed.
        assert (tmp_path / "d" / "_common_metadata").read_bytes() == before
    add_to_dataset_metadata(tmp_path / "d", "mine", "value")
    assert tps.open_dataset(tmp_path / "d").num_rows == 2
    assert pq.read_metadata(tmp_path / "d" / "_common_metadata").metadata[b"mine"] == b"value"
    assert not [path for path in (tmp_path / "d").iterdir() if path.name.startswith(".")]


def test_515_what_says_which_rows_there_are_is_not_overwritten(tmp_path: Path) -> None:
    schema = Unischema("S", [UnischemaField("id", np.int64, ())])
    with tps.DatasetWriter(tmp_path / "d", schema) as writer:
        writer.write({"id": 1})
    with pytest.raises(OptionError, match="is written with its files only"):
        add_to_dataset_metadata(tmp_path / "d", PETASTORM_UNISCHEMA_KEY, b"x")


@pytest.mark.slow
def test_727_metadata_beyond_thrifts_default_limit_is_read(tmp_path: Path) -> None:
    """After building an index petastorm could not open its own metadata."""
    schema = Unischema("S", [UnischemaField("id", np.int64, ())])
    with tps.DatasetWriter(tmp_path / "d", schema) as writer:
        writer.write({"id": 1})
    add_to_dataset_metadata(tmp_path / "d", "large", b"x" * 101_000_000)
    with pytest.raises(OSError, match="size limit"):
        pq.read_metadata(tmp_path / "d" / "_common_metadata")
    assert tps.open_dataset(tmp_path / "d").schema == schema
    assert rows((tmp_path / "d").as_uri())[0].id == 1


@pytest.mark.parametrize(
    ("builtin", "dtype"), [("float", np.float64), ("int", np.int64), ("bool", np.bool_), ("str", np.str_)]
)
def test_523_schemas_with_pythons_own_types_are_read(builtin: str, dtype: Any, tmp_path: Path) -> None:
    """`np.float` was Python's float; petastorm refused the schemas that it had pickled itself."""
    pickled = write_pickled_schema(Unischema("S", [UnischemaField("id", np.int64, ())]))
    for module in (b"builtins", b"__builtin__"):
        found = restricted_loads(pickled.replace(b"cnumpy\nint64\n", b"c" + module + b"\n" + builtin.encode() + b"\n"))
        assert found.id == UnischemaField("id", dtype, ())


def test_a_dataset_without_a_schema_says_how_to_give_it_one(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": [1]}), tmp_path / "part.parquet")
    with pytest.raises(PetastormMetadataError, match="generate-metadata"):
        get_schema_from_dataset_url(tmp_path.as_uri())
    assert list(infer_or_load_unischema(tmp_path.as_uri()).fields) == ["id"]
    assert [group.rows for group in load_row_groups(tmp_path.as_uri())] == [1]


def test_decode_row_names_the_field_and_reads_no_pickles() -> None:
    schema = Unischema("S", [UnischemaField("x", np.int64, (2,), NdarrayCodec())])
    cell = io.BytesIO()
    np.save(cell, np.array([{}, {}], object), allow_pickle=True)
    with pytest.raises(DecodeFieldError, match="'x'"):
        decode_row({"x": cell.getvalue()}, schema)


def test_fields_that_match_come_in_the_schemas_order() -> None:
    """petastorm gave a set's order, another one in each process."""
    schema = Unischema("S", [UnischemaField(name, np.int8, ()) for name in "zyxabc"])
    assert [field.name for field in match_unischema_fields(schema, ["[a-c]", "[x-z]"])] == list("zyxabc")


class TestFields:
    """Fields of petastorm's module: unusable ones fail where they are used."""

    def test_a_type_that_no_field_can_hold(self, tmp_path: Path) -> None:
        schema = Unischema("S", [UnischemaField("x", object, ()), UnischemaField("id", np.int64, ())])
        assert schema.x.numpy_dtype is object
        with pytest.raises(SchemaError, match="'x'"):
            tps.DatasetWriter(tmp_path / "d", schema)

    def test_a_codec_that_can_not_hold_the_field(self, tmp_path: Path) -> None:
        schema = Unischema("S", [UnischemaField("x", np.int32, (), ScalarCodec("string"))])
        with pytest.raises(SchemaError, match="'x'"), tps.DatasetWriter(tmp_path / "d", schema) as writer:
            writer.write({"x": 1})

    def test_names_and_shapes_are_checked_at_once(self) -> None:
        with pytest.raises(SchemaError):
            UnischemaField("x", object, 3)
        with pytest.raises(SchemaError):
            UnischemaField("", object, ())
        with pytest.raises(SchemaError):
            UnischemaField("x", np.int8, (), NdarrayCodec)

    def test_they_compare_without_their_codec_and_schemas_with(self) -> None:
        plain, stored = UnischemaField("x", np.int8, ()), UnischemaField("x", np.int8, (), ScalarCodec("int16"))
        assert plain == stored == tps.UnischemaField("x", np.int8, ())
        assert len({plain, stored, tps.UnischemaField("x", np.int8, (), ScalarCodec("int16"))}) == 1
        assert Unischema("S", [plain]) != Unischema("S", [stored])

    def test_it_is_a_tuple_of_its_parts(self) -> None:
        name, dtype, shape, codec, nullable = UnischemaField("x", np.int8, (2,), None, True)
        assert (name, dtype, shape, codec, nullable) == ("x", np.int8, (2,), None, True)
        assert UnischemaField("x", np.int8, ())._replace(nullable=True).nullable
