"""`NGram` and `Window` on their own: what they accept, and what they become on a schema."""

from __future__ import annotations

import datetime as dt
import math
import pickle
import re
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfpetastorm.errors import OptionError
from tfpetastorm.plan.ngram import NGram, Window
from tfpetastorm.schema.codecs import NdarrayCodec
from tfpetastorm.schema.field import UnischemaField
from tfpetastorm.schema.unischema import Unischema

SCHEMA = Unischema(
    "Drive",
    [
        UnischemaField("speed", np.float32),
        UnischemaField("t", np.int64),
        UnischemaField("at", np.dtype("datetime64[us]")),
        UnischemaField("day", dt.date),
        UnischemaField("fast", np.bool_),
        UnischemaField("price", Decimal),
        UnischemaField("drive", np.str_),
        UnischemaField("lidar", np.float32, (None, 4), NdarrayCodec()),
        UnischemaField("lidar_2", np.float32, (None, 4), NdarrayCodec()),
    ],
)


def test_an_ngram_on_a_schema():
    ngram = NGram(
        {np.int64(3): ["t"], -1: ["speed", re.compile("lidar.*")], 0: [SCHEMA.fields["drive"], "t"]},
        200.9,
        "t",
        sequence_field=SCHEMA.fields["drive"],
        stride=np.int32(2),
    )
    assert ngram.length == 5
    found = ngram.resolve(SCHEMA)
    assert (found.length, found.stride, found.overlap, found.threshold) == (5, 2, True, 200)
    assert (found.timestamp, found.sequence, found.first) == ("t", "drive", -1)
    assert found.fields == {-1: ("speed", "lidar", "lidar_2"), 0: ("t", "drive"), 3: ("t",)}
    assert list(found.fields) == [-1, 0, 3]
    assert found.names == ("speed", "t", "drive", "lidar", "lidar_2")


def test_a_window_on_a_schema():
    found = Window(np.int16(4), 2, timestamp_field="at", delta_threshold=dt.timedelta(seconds=1)).resolve(SCHEMA)
    assert (found.length, found.stride, found.overlap, found.threshold) == (4, 2, True, 1_000_000)
    assert (found.timestamp, found.sequence, found.fields, found.names, found.first) == ("at", None, None, None, 0)
    assert Window(4, fields=["t", "lid.*"]).resolve(SCHEMA).names == ("t", "lidar", "lidar_2")


def test_they_are_values():
    one = NGram({0: "t"}, 5, "t", False, sequence_field="drive")
    assert one == NGram({0: ["t"]}, 5, "t", False, sequence_field="drive")
    assert pickle.loads(pickle.dumps(one)) == one
    assert {one, NGram({0: ["t"]}, 5, "t", False, sequence_field="drive")} == {one}
    assert pickle.loads(pickle.dumps(Window(3, 2, fields=["t"]))) == Window(3, 2, fields=["t"])


def test_each_option_has_its_part_in_the_key():
    t = {"timestamp_field": "t"}
    several = [
        NGram({0: "t", 1: "t"}),
        NGram({0: "t", 1: "speed"}),
        NGram({0: "t", 2: "t"}),
        NGram({-1: "t", 0: "t"}),
        NGram({0: "t", 1: "t"}, **t),
        NGram({0: "t", 1: "t"}, 5, **t),
        NGram({0: "t", 1: "t"}, 6, **t),
        NGram({0: "t", 1: "t"}, timestamp_overlap=False, **t),
        NGram({0: "t", 1: "t"}, timestamp_field="at"),
        NGram({0: "t", 1: "t"}, sequence_field="t"),
        NGram({0: "t", 1: "t"}, stride=2),
        Window(2),
        Window(2, 2),
        Window(3),
        Window(2, fields="t"),
        Window(2, fields=["t", "speed"]),
        Window(2, sequence_field="t"),
        Window(2, **t),
    ]
    assert len({one.resolve(SCHEMA).key for one in several}) == len(several)
    # The fields that come out do not decide which windows there are.
    assert NGram({0: "t", 1: "t"}).resolve(SCHEMA).index_key == Window(2).resolve(SCHEMA).index_key
    assert len({one.resolve(SCHEMA).index_key for one in several}) == 9


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NGram({}), "mapping from offsets.*found {}"),
        (lambda: NGram(["t"]), r"mapping from offsets.*found \['t'\]"),
        (lambda: NGram({0.5: ["t"]}), "offset is a whole number, not 0.5"),
        (lambda: NGram({True: ["t"]}), "offset is a whole number, not True"),
        (lambda: NGram({0: []}), r"offset 0.*found \[\].*Leave an offset out"),
        (lambda: NGram({0: [3]}), r"offset 0.*expected names.*found \[3\]"),
        (lambda: NGram({0: 3}), "offset 0.*found 3"),
        (lambda: NGram({0: ["t"]}, 5), "delta_threshold needs timestamp_field"),
        (lambda: NGram({0: ["t"]}, timestamp_overlap=False), "timestamp_overlap=False needs timestamp_field"),
        (lambda: NGram({0: ["t"]}, None, "t", 0), "True or False, not 0"),
        (lambda: NGram({0: ["t"]}, None, "t", False, stride=2), "can't be combined"),
        (lambda: NGram({0: ["t"]}, None, 7), "Not a timestamp_field.*found 7"),
        (lambda: NGram({0: ["t"]}, sequence_field=7), "Not a sequence_field.*found 7"),
        (lambda: NGram({0: ["t"]}, stride=0), "stride is a whole number of at least 1, not 0"),
        (lambda: NGram({0: ["t"]}, -1, "t"), "negative.*found -1"),
        (lambda: NGram({0: ["t"]}, "5", "t"), "Not a delta_threshold.*found '5'"),
        (lambda: NGram({0: ["t"]}, True, "t"), "Not a delta_threshold.*found True"),
        (lambda: NGram({0: ["t"]}, math.nan, "t"), "not finite"),
        (lambda: NGram({0: ["t"]}, np.float32("inf"), "t"), "not finite"),
        (lambda: NGram({0: ["t"]}, np.timedelta64(1, "M"), "at"), "no fixed length.*Months"),
        (lambda: NGram({0: ["t"]}, np.timedelta64("NaT", "s"), "at"), "no fixed length"),
        (lambda: NGram({0: ["t"]}, np.timedelta64(5), "at"), "no fixed length"),
        (lambda: NGram({0: ["t"]}, dt.timedelta(seconds=-1), "at"), "negative"),
        (lambda: Window(0), "length is a whole number of at least 1, not 0"),
        (lambda: Window(2.0), "length is a whole number, not 2.0"),
        (lambda: Window(2, 0), "stride"),
        (lambda: Window(2, fields=[]), "Window: not a choice"),
        (lambda: Window(2, delta_threshold=5), "needs timestamp_field"),
    ],
)
def test_what_can_not_work_is_refused(make, message):
    with pytest.raises(OptionError, match=message):
        make()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (NGram({0: ["t"], 1: ["sped"]}), "offset 1.*'sped'.*Did you mean 'speed'"),
        (Window(2, fields=["x.*"]), "Window.*'x"),
        (Window(2, timestamp_field="tt"), r"timestamp_field names no field.*\['t'.*found 'tt'"),
        (Window(2, sequence_field="t.*"), "sequence_field names no field"),
        (Window(2, timestamp_field="drive"), "can't be ordered.*field 'drive'"),
        (Window(2, timestamp_field="price"), "can't be ordered"),
        (Window(2, timestamp_field="fast"), "can't be ordered"),
        (Window(2, timestamp_field="lidar"), "can't be ordered"),
        (Window(2, sequence_field="lidar"), "several values a row"),
        (Window(2, timestamp_field="t", delta_threshold=dt.timedelta(1)), "field 't'.*expected a number.*int64"),
        (Window(2, timestamp_field="at", delta_threshold=5), "field 'at'.*timedelta.*found 5.*no unit"),
        (Window(2, timestamp_field="day", delta_threshold=1.5), "field 'day'.*timedelta"),
        (Window(2, timestamp_field="speed", delta_threshold=10**400), "beyond the range of floats"),
    ],
)
def test_what_does_not_fit_the_schema_is_refused(given, message):
    with pytest.raises(OptionError, match=message):
        given.resolve(SCHEMA)


def test_a_transform_changes_neither_timestamps_nor_sequences():
    changed = Unischema("Drive", [UnischemaField("t", np.float32), UnischemaField("new", np.int64)])
    for make in (lambda **options: Window(2, **options), lambda **options: NGram({0: "new"}, **options)):
        found = make(timestamp_field="t", delta_threshold=1.5, sequence_field="drive").resolve(changed, SCHEMA)
        assert found.threshold == 1
        with pytest.raises(OptionError, match="names no field"):
            make(timestamp_field="new").resolve(changed, SCHEMA)


@given(
    st.sampled_from(["s", "ms", "us", "ns", "D"]),
    st.one_of(
        st.timedeltas(min_value=dt.timedelta(0)),
        st.builds(
            np.timedelta64,
            st.integers(0, 2**62),
            st.sampled_from(["W", "D", "h", "m", "s", "ms", "us", "ns", "ps", "fs", "as"]),
        ),
    ),
)
def test_durations_are_turned_exactly_into_the_fields_unit(unit, duration):
    """A whole number of units is at most the result just where it is at most the duration."""
    field = UnischemaField("at", dt.date if unit == "D" else np.dtype(f"datetime64[{unit}]"))
    found = Window(2, timestamp_field="at", delta_threshold=duration).resolve(Unischema("S", [field])).threshold
    seconds = {"W": 604800, "D": 86400, "h": 3600, "m": 60, "s": 1}
    seconds |= {name: Fraction(1, 1000**power) for power, name in enumerate(["ms", "us", "ns", "ps", "fs", "as"], 1)}
    if isinstance(duration, dt.timedelta):
        exact = Fraction(duration // dt.timedelta(microseconds=1), 10**6)
    else:
        exact = Fraction(int(duration.astype(np.int64))) * seconds[np.datetime_data(duration.dtype)[0]]
    assert isinstance(found, int)
    assert found * seconds[unit] <= exact < (found + 1) * seconds[unit]


def test_thresholds_of_fields_of_whole_numbers_are_rounded_down():
    assert Window(2, timestamp_field="t", delta_threshold=2.999).resolve(SCHEMA).threshold == 2
    assert Window(2, timestamp_field="t", delta_threshold=np.int8(7)).resolve(SCHEMA).threshold == 7
    kept = Window(2, timestamp_field="speed", delta_threshold=2.999).resolve(SCHEMA).threshold
    assert isinstance(kept, float)
    assert kept == 2.999
