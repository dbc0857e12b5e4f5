"""TransformSpec on rows and frames: an identity where it does nothing, and checked where it does something."""

from __future__ import annotations

import datetime as dt
import io
import sys
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.read.helpers import rows_of, same, spec_of
from tests.schema.strategies import columns, fields
from tfpetastorm.errors import OptionError, SchemaError, TransformError
from tfpetastorm.read.transform_spec import TransformSpec, edit_field, transform_schema
from tfpetastorm.schema.codecs import decode_column, encode_column
from tfpetastorm.schema.columns import Column, Text
from tfpetastorm.schema.field import UnischemaField
from tfpetastorm.schema.rows import cells_of
from tfpetastorm.schema.unischema import Unischema

pd = pytest.importorskip("pandas")


def copied(given):
    """Every cell made anew, so that nothing can be taken for untouched."""
    if isinstance(given, dict):
        return {
            name: np.array(cell) if isinstance(cell, np.ndarray) else [*cell] if isinstance(cell, list) else cell
            for name, cell in given.items()
        }
    return pd.DataFrame({name: pd.Series(given[name].tolist(), dtype=given[name].dtype) for name in given})


def run(function, given, *, rows=True, edit=(), removed=None, selected=None):
    """What a TransformSpec makes of `given`, a list of (field, cells); as a dict of cells."""
    before = [field for field, _ in given]
    made = {field.name: decode_column(field, encode_column(field, cells), pytest.fail) for field, cells in given}
    spec = TransformSpec(function, list(edit), removed, selected)
    change = spec.for_rows() if rows else spec.for_frames()
    after = change.fields_after(before)
    out = change.apply(made, before, after, len(given[0][1]))
    assert list(out) == [field.name for field in after]
    return {field.name: cells_of(field, out[field.name]) for field in after}


@pytest.mark.parametrize("function", [lambda given: given, copied], ids=["same", "copied"])
@pytest.mark.parametrize("rows", [True, False], ids=["rows", "frames"])
@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_a_transform_that_does_nothing_is_the_identity(function, rows, data):
    chosen = data.draw(st.lists(fields(), min_size=1, max_size=3, unique_by=lambda field: field.name))
    cells = [data.draw(columns(field)) for field in chosen]
    count = min(map(len, cells))
    given = [(field, part[:count]) for field, part in zip(chosen, cells, strict=True)]
    found = run(function, given, rows=rows)
    for field, part in given:
        expected = cells_of(field, decode_column(field, encode_column(field, part), pytest.fail))
        assert all(same(one, other) for one, other in zip(found[field.name], expected, strict=True)), (
            found[field.name],
            expected,
        )


N = UnischemaField("n", np.int64, (), None, True)
BIG = [2**63 - 1, None, -(2**53) - 1]


@pytest.mark.parametrize("rows", [True, False])
def test_integers_with_nulls_are_exact(rows):
    """petastorm's frames turned them into float64."""
    assert run(copied, [(N, BIG)], rows=rows)["n"] == BIG


def test_a_frame_has_nulls_as_petastorm_gives_them():
    frames = []
    given = [
        (N, [1, None]),
        (UnischemaField("f", np.float32, (), None, True), [0.5, None]),
        (UnischemaField("b", np.bool_, (), None, True), [True, None]),
        (UnischemaField("s", np.str_, (), None, True), ["a", None]),
        (UnischemaField("t", "datetime64[us]", (), None, True), [np.datetime64(5, "us"), None]),
        (UnischemaField("d", dt.date, (), None, True), [dt.date(2020, 1, 2), None]),
        (UnischemaField("p", Decimal, (), None, True), [Decimal(1), None]),
        (UnischemaField("m", np.int8, (2,), None, True), [np.array([1, 2], np.int8), None]),
    ]
    run(lambda frame: (frames.append(frame), frame)[1], given, rows=False)
    dtypes = ["float64", "float32", "object", "object", "datetime64[us]", "object", "object", "object"]
    assert [str(dtype) for dtype in frames[0].dtypes] == dtypes
    assert frames[0].isna().to_numpy().tolist() == [[False] * 8, [True] * 8]
    assert [type(frames[0][name][0]) for name in "sdpm"] == [str, dt.date, Decimal, np.ndarray]


def test_text_in_a_frame_may_become_longer():
    def edit(frame):
        frame["w"][0][0] = "longer"
        return frame

    assert run(edit, [(UnischemaField("w", np.str_, (None,)), [["a"], []])], rows=False)["w"][0].tolist() == ["longer"]


def test_a_row_has_values_as_petastorm_gives_them():
    seen = []
    given = [
        (N, [1, None]),
        (UnischemaField("s", np.str_), ["a", "b"]),
        (UnischemaField("w", np.str_, (None,)), [["x"], []]),
        (UnischemaField("p", Decimal), [Decimal(1), Decimal(2)]),
    ]
    run(lambda row: (seen.append(row), row)[1], given)
    assert [type(value) for value in seen[0].values()] == [np.int64, np.str_, np.ndarray, Decimal]
    assert seen[0]["w"].dtype == np.dtype("<U1")
    assert seen[1]["n"] is None


IMAGE = UnischemaField("image", np.uint8, (4, 6, 3))
IMAGES = list(np.random.default_rng(1).integers(0, 255, (3, 4, 6, 3), np.uint8))


@pytest.mark.parametrize("rows", [True, False])
def test_images_may_change_shape_and_dtype(rows):
    """petastorm #624: an image of another size."""

    def shrink(given):
        if rows:
            return {"image": given["image"][::2, ::2].astype(np.float32) / 2}
        given["image"] = [cell[::2, ::2].astype(np.float32) / 2 for cell in given["image"]]
        return given

    found = run(shrink, [(IMAGE, IMAGES)], rows=rows, edit=[edit_field("image", np.float32, (2, 3, 3))])
    expected = np.stack(IMAGES)[:, ::2, ::2].astype(np.float32) / 2
    np.testing.assert_array_equal(np.stack(found["image"]), expected)
    assert found["image"][0].dtype == np.float32


@pytest.mark.parametrize("rows", [True, False])
def test_arrays_may_become_ragged(rows):
    """petastorm's batch reader asked for constant shapes."""

    def cut(given):
        if rows:
            height = int(given["image"][0, 0, 0]) % 4
            return {"image": given["image"][:height]}
        return pd.DataFrame({"image": [cell[: int(cell[0, 0, 0]) % 4] for cell in given["image"]]})

    found = run(cut, [(IMAGE, IMAGES)], rows=rows, edit=[("image", np.uint8, (None, 6, 3), False)])
    for cell, image in zip(found["image"], IMAGES, strict=True):
        np.testing.assert_array_equal(cell, image[: int(image[0, 0, 0]) % 4])


def test_what_is_changed_in_place_comes_out():
    def edit(row):
        row["n"] += 1
        row["image"] *= 2
        row["w"][0] = "y"
        return row

    words = UnischemaField("w", np.str_, (None,))
    found = run(edit, [(UnischemaField("n", np.int64), [1, 2]), (IMAGE, IMAGES[:2]), (words, [["x"], ["z", "a"]])])
    assert found["n"] == [2, 3]
    np.testing.assert_array_equal(np.stack(found["image"]), np.stack(IMAGES[:2]) * 2)
    assert [cell.tolist() for cell in found["w"]] == [["y"], ["y", "a"]]


def test_columns_in_place_of_a_frame_come_out():
    def edit(frame):
        frame["n"] *= 2
        frame.loc[0, "s"] = None
        return frame

    given = [(UnischemaField("n", np.int64), [1, 2]), (UnischemaField("s", np.str_, (), None, True), ["a", "b"])]
    assert run(edit, given, rows=False) == {"n": [2, 4], "s": [None, "b"]}


def test_fields_are_removed_and_selected_without_a_function():
    given = [(UnischemaField(name, np.int64), [1, 2]) for name in "abc"]
    assert list(run(None, given, removed=["b"])) == ["a", "c"]
    assert list(run(None, given, selected=["c", "a"], rows=False)) == ["c", "a"]
    assert run(lambda row: row, given, removed=["b"]) == {"a": [1, 2], "c": [1, 2]}


def test_an_extension_dtype_comes_back():
    def edit(frame):
        return pd.DataFrame(
            {
                "n": pd.array([2**53 + 1, None], dtype="Int64"),
                "s": pd.array(["x", None], dtype="string"),
                "c": pd.Categorical(["u", "v"]),
                "t": pd.to_datetime(["2020-01-01T00:00:00+01:00", None], utc=True),
            }
        )

    edits = [
        edit_field("s", np.str_, (), True),
        edit_field("c", np.str_, ()),
        edit_field("t", "datetime64[us]", (), True),
    ]
    found = run(edit, [(N, [1, 2])], rows=False, edit=edits)
    assert found["n"] == [2**53 + 1, None]
    assert found["s"] == ["x", None]
    assert found["c"] == ["u", "v"]
    assert found["t"] == [np.datetime64("2019-12-31T23:00", "us"), None]


def test_nan_is_a_number_where_there_was_no_null():
    field = UnischemaField("f", np.float64, (), None, True)
    found = run(copied, [(field, [float("nan"), None, 1.0])], rows=False)["f"]
    assert np.isnan(found[0])
    assert found[1:] == [None, 1.0]


A = UnischemaField("a", np.int64)


@pytest.mark.parametrize("rows", [True, False])
@pytest.mark.parametrize(
    ("edit", "values", "row", "message"),
    [
        ((np.int32, ()), [1, 2.5], 1, r"expected int32, found float 2\.5"),
        ((np.int32, ()), [1, 2**40], 1, "expected int32, found int 1099511627776"),
        ((np.uint8, ()), [np.int64(1), np.int64(-1)], 1, r"expected uint8, found np\.int64\(-1\)|found -1"),
        ((np.uint64, ()), [2**64 - 1, -1], 1, "expected uint64, found int -1"),
        ((np.float32, ()), [1e300, 1.0], 0, "expected float32, found .*1e"),
        ((np.int32, ()), ["a", "b"], 0, "expected int32, found str 'a'"),
        ((np.bool_, ()), [True, 1], 1, "expected bool, found int 1"),
        ((np.str_, ()), ["a", 5], 1, "expected str, found int 5"),
        ((np.bytes_, ()), [b"a", "b"], 1, "expected bytes, found str 'b'"),
        ((Decimal, ()), [Decimal(1), 0.5], 1, "expected decimal, found float"),
        ((Decimal, ()), [Decimal(1), Decimal("NaN")], 1, "expected a finite Decimal"),
        (("datetime64[s]", ()), [np.datetime64(1500, "ms"), np.datetime64(0, "ms")], 0, "1970-01-01T00:00:01.500"),
        ((np.int32, (2,)), [np.zeros(2, np.int32), np.zeros(3, np.int32)], 1, r"\(2,\), found int32 of shape \(3,\)"),
        ((np.int32, (None, 2)), [np.zeros((5, 2), np.int32), np.zeros(2, np.int32)], 1, r"\(None, 2\), found .*\(2,\)"),
        ((np.uint8, (2,)), [np.zeros(2, np.uint8), np.array([0.5, 1.0])], 1, "expected uint8.*, found .*float64"),
        ((np.str_, (None,)), [np.array(["a"]), np.array([1])], 1, "expected items of str, found int 1"),
        ((np.int64, ()), [1, None], 1, "is null: .*not nullable"),
        ((np.str_, (None,)), [None, ["a"]], 0, "is null: .*not nullable"),
    ],
)
def test_output_that_is_not_what_is_declared_is_refused(rows, edit, values, row, message):
    """petastorm #297: what a transform returned was never checked."""

    def function(given):
        if rows:
            return {"x": values[int(given["a"])]}
        cells = np.empty(2, object)
        for i, value in enumerate(values):
            cells[i] = value
        return pd.DataFrame({"x": pd.Series(cells, dtype=object)})

    with pytest.raises(TransformError, match=f"Row {row} of field 'x'.*{message}.*edit_fields"):
        run(function, [(A, [0, 1])], rows=rows, edit=[edit_field("x", *edit)], removed=["a"])


@pytest.mark.parametrize("rows", [True, False])
def test_a_field_that_is_not_declared_is_refused(rows):
    def function(given):
        given["b"] = given["a"]
        return given

    with pytest.raises(TransformError, match=r"'b'.*not declared.*edit_fields"):
        run(function, [(A, [0, 1])], rows=rows)


@pytest.mark.parametrize("rows", [True, False])
def test_a_field_that_is_missing_is_refused(rows):
    def function(given):
        del given["a"]
        return given

    with pytest.raises(TransformError, match=r"lacks the fields.*'a'.*removed_fields"):
        run(function, [(A, [0, 1]), (N, [1, 2])], rows=rows)


def test_no_row_and_no_frame_are_refused():
    with pytest.raises(TransformError, match=r"row 0.*expected a dict.*NoneType"):
        run(lambda row: None, [(A, [0])])
    with pytest.raises(TransformError, match=r"DataFrame.*dict"):
        run(dict, [(A, [0])], rows=False)
    with pytest.raises(TransformError, match=r"another number of rows.*expected 2, found 1.*predicate"):
        run(lambda frame: frame[:1], [(A, [0, 1])], rows=False)
    with pytest.raises(TransformError, match="more than once"):
        run(lambda frame: pd.concat([frame, frame], axis=1), [(A, [0, 1])], rows=False)


@pytest.mark.parametrize("rows", [True, False])
def test_an_error_of_the_function_is_told_with_its_cause(rows):
    with pytest.raises(TransformError, match=r"KeyError.*nothing") as caught:
        run(lambda given: given["nothing"], [(A, [0])], rows=rows)
    assert isinstance(caught.value.__cause__, KeyError)


def test_widening_is_fine():
    edits = [edit_field("x", np.float32, ()), edit_field("y", np.int64, ()), edit_field("z", np.float32, (2, 3))]

    def function(row):
        return {"x": 1, "y": np.uint8(200), "z": np.ones((2, 3), np.float64, order="F")}

    found = run(function, [(A, [0, 1])], edit=edits, removed=["a"])
    assert found["x"] == [np.float32(1), np.float32(1)]
    assert found["y"] == [200, 200]
    assert found["z"][0].dtype == np.float32


def test_declarations_that_contradict_each_other_are_refused():
    with pytest.raises(ValueError, match="removed_fields or selected_fields"):
        TransformSpec(removed_fields=["a"], selected_fields=["b"])
    with pytest.raises(OptionError, match="both edits and removes"):
        TransformSpec(edit_fields=[("a", np.int8, (), False)], removed_fields=["a"])
    with pytest.raises(OptionError, match="edit_fields"):
        TransformSpec(edit_fields=["a"])
    with pytest.raises(SchemaError):
        TransformSpec(edit_fields=[("a", object, (), False)])
    with pytest.raises(OptionError, match="nothing computes"):
        TransformSpec(edit_fields=[("b", np.int8, (), False)]).for_rows().fields_after([A])
    with pytest.raises(OptionError, match="func"):
        TransformSpec(3)


def test_without_pandas_it_is_told_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(OptionError, match="pip install"):
        TransformSpec(lambda frame: frame).for_frames()
    given = [(UnischemaField(name, np.int64), [1, 2]) for name in "ab"]
    assert list(run(None, given, removed=["a"], rows=False)) == ["b"]
    assert run(lambda row: row, given) == {"a": [1, 2], "b": [1, 2]}


def test_the_schema_after():
    schema = Unischema("S", [UnischemaField(name, np.int32) for name in "abc"])
    edited = transform_schema(schema, TransformSpec(len, [UnischemaField("a", np.int8), ("d", np.str_, (), True)]))
    assert edited.schema_name == "S_transformed"
    assert [(field.name, field.nullable) for field in edited] == [("b", False), ("c", False), ("a", False), ("d", True)]
    with pytest.warns(UserWarning, match=r"not part of the schema.*x, y"):
        assert list(transform_schema(schema, TransformSpec(removed_fields=["y", "a", "x"])).fields) == ["b", "c"]
    with pytest.warns(UserWarning, match=r"not part of the schema.*x"):
        assert list(transform_schema(schema, TransformSpec(selected_fields=["c", "x", "a"])).fields) == ["c", "a"]


def test_a_million_numbers_pass_a_frame_without_objects():
    """Columns stay columns: no Python object a cell."""
    column = Column(np.arange(2_000_000))
    seen = []
    spec = TransformSpec(lambda frame: (seen.append(frame["a"].to_numpy()), frame)[1]).for_frames()
    out = spec.apply({"a": column}, [A], [A], 2_000_000)["a"].values
    assert np.shares_memory(seen[0], column.values)
    assert np.array_equal(out, np.arange(2_000_000))


def test_rows_of_a_dataset_with_nulls_and_a_place_in_the_error(tmp_path):
    file = io.BytesIO()
    pq.write_table(pa.table({"n": [1, None, 3]}), file)
    (tmp_path / "a.parquet").write_bytes(file.getvalue())
    double = TransformSpec(lambda row: {"n": None if row["n"] is None else row["n"] * 2})
    assert [row["n"] for row in rows_of(spec_of(tmp_path, transform=double.for_rows()))] == [2, None, 6]
    with pytest.raises(TransformError, match=r"row 1.*a\.parquet.*rows 0 to 2"):
        rows_of(spec_of(tmp_path, transform=TransformSpec(lambda row: {"n": row["n"] * 2}).for_rows()))


def test_text_cells_share_no_memory_with_what_was_read():
    column = Column(Text(np.array([0, 1]), np.frombuffer(b"a", np.uint8)))
    field = UnischemaField("s", np.str_)
    spec = TransformSpec(lambda row: {"s": row["s"] + "b"}).for_rows()
    assert cells_of(field, spec.apply({"s": column}, [field], [field], 1)["s"]) == ["ab"]
