"""Cells without items keep what is known of their shape: in rows, in padded batches and in transforms."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

import tfpetastorm as tps


@pytest.fixture
def boxes(tmp_path):
    """Cells of shape (None, 3, None); those of the first half have no items, and one is null."""
    schema = tps.Unischema(
        "Boxes",
        [
            tps.UnischemaField("id", np.int64),
            tps.UnischemaField("box", np.float32, (None, 3, None), tps.NdarrayCodec(), nullable=True),
            tps.UnischemaField("word", np.str_, (None, None)),
        ],
    )
    path = tmp_path / "boxes"
    with tps.DatasetWriter(path, schema, row_group_rows=4) as writer:
        for i in range(8):
            cell = np.full((0 if i < 4 else i % 3, 3, 2), i, np.float32)
            words = np.full((i % 3, 2), "é", object)
            writer.write({"id": i, "box": None if i == 2 else cell, "word": words})
    return path


def test_rows_keep_the_sizes_that_the_schema_fixes(boxes):
    dataset = tps.make_dataset(boxes, nulls="mask")
    assert dataset.element_spec["box"] == tf.TensorSpec([None, 3, None], tf.float32)
    assert dataset.element_spec["word"] == tf.TensorSpec([None, None], tf.string)
    rows = list(dataset.as_numpy_iterator())
    assert [row["box"].shape for row in rows] == [(0, 3, 0)] * 4 + [(1, 3, 2), (2, 3, 2), (0, 3, 0), (1, 3, 2)]
    assert [row["word"].shape for row in rows[:4]] == [(0, 0), (1, 2), (2, 2), (0, 0)]


def test_padded_batches_keep_the_sizes_that_the_schema_fixes(boxes):
    dataset = tps.make_dataset(boxes, nulls="mask", ragged="pad", batch_size=4)
    assert dataset.element_spec["box"] == tf.TensorSpec([None, None, 3, None], tf.float32)
    assert [batch["box"].shape for batch in dataset] == [(4, 0, 3, 0), (4, 2, 3, 2)]
    sized = tps.make_dataset(boxes, nulls="mask", ragged={"box": 5}, batch_size=4)
    assert [batch["box"].shape for batch in sized] == [(4, 5, 3, 0), (4, 5, 3, 2)]


def test_a_transform_may_hand_on_copies_of_them(boxes):
    def copied(columns):
        assert [cell.shape for cell in columns["box"]] in (
            [(0, 3, 0)] * 4,
            [(1, 3, 2), (2, 3, 2), (0, 3, 0), (1, 3, 2)],
        )
        assert {cell.dtype for cell in columns["box"]} == {np.dtype(np.float32)}
        assert {cell.dtype for cell in columns["word"]} == {np.dtype(object)}
        return {name: np.array([*cells, None], object)[:-1] for name, cells in columns.items() if name != "id"} | {
            "id": columns["id"].copy(),
            "box_valid": columns["box_valid"],
        }

    for batch, other in zip(
        tps.make_dataset(boxes, nulls="mask", transform=copied, batch_size=3),
        tps.make_dataset(boxes, nulls="mask", batch_size=3),
        strict=True,
    ):
        for name in ("box", "word"):
            assert batch[name].to_list() == other[name].to_list()
