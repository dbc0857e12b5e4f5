"""Dates that arrays in codecs may hold and int32 days may not: NaT, and years beyond five million."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import tfpetastorm as tps


def days_of(folder: Path, *given: object) -> tf.data.Dataset:
    schema = tps.Unischema("Days", [tps.UnischemaField("day", "datetime64[D]", (None,), tps.NdarrayCodec())])
    with tps.DatasetWriter(folder, schema) as writer:
        for days in given:
            writer.write({"day": np.array(days, "datetime64[D]")})
    return tps.make_dataset(folder, batch_size=5)


def test_nat_is_the_least_number_as_it_is_in_numpy(tmp_path: Path) -> None:
    (batch,) = days_of(tmp_path / "d", ["2026-11-23", "NaT"], [], [2**31 - 1, 1 - 2**31, -1])
    assert batch["day"].to_list() == [[20780, tf.int32.min], [], [2**31 - 1, 1 - 2**31, -1]]


@pytest.mark.parametrize("day", [2**31, -(2**31), 2**40])
def test_a_day_beyond_int32_is_named(tmp_path: Path, day: int) -> None:
    with pytest.raises(tf.errors.OpError, match=r"no number of days in int32.*\(field 'day'\)"):
        list(days_of(tmp_path / "d", [0], [day]))
