"""NGram's methods as petastorm's programs call them."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from tfpetastorm.errors import OptionError, UnsortedDataError
from tfpetastorm.ngram import NGram
from tfpetastorm.unischema import Unischema, UnischemaField

SCHEMA = Unischema(
    "Drive",
    [
        UnischemaField("id", np.int64, ()),
        UnischemaField("id2", np.int64, ()),
        UnischemaField("speed", np.float32, ()),
    ],
)


def rows(*times: int) -> list[dict[str, float]]:
    return [{"id": time, "id2": -time, "speed": time / 2} for time in times]


def test_regular_expressions_become_fields() -> None:
    ngram = NGram({-1: ["^id.*"], 1: [SCHEMA.speed]}, 5, "^id$")
    assert ngram.get_field_names_at_timestep(-1) == ["^id.*"]
    ngram.resolve_regex_field_names(SCHEMA)
    assert ngram.fields[-1] == (SCHEMA.id, SCHEMA.id2)
    assert ngram.timestamp_field == SCHEMA.id
    assert ngram.length == 3
    assert [ngram.get_field_names_at_timestep(offset) for offset in (-1, 0, 1)] == [["id", "id2"], [], ["speed"]]
    assert ngram.get_field_names_at_all_timesteps() == [SCHEMA.id, SCHEMA.id2, SCHEMA.speed]
    assert list(ngram.get_schema_at_timestep(SCHEMA, 1).fields) == ["speed"]
    assert ngram.convert_fields(SCHEMA, ["id.*", SCHEMA.id]) == [SCHEMA.id, SCHEMA.id2]


@pytest.mark.parametrize(
    ("timestamp", "message"), [("id.*", "more than one field"), ("speeed", "names no field"), ("ID", "names no field")]
)
def test_a_timestamp_field_is_one(timestamp: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        NGram({0: ["id"]}, 5, timestamp).resolve_regex_field_names(SCHEMA)


def test_fields_are_lists() -> None:
    with pytest.raises(ValueError, match="a list for each offset"):
        NGram({0: "id"}, 5, "id")


def test_rows_become_ngrams() -> None:
    ngram = NGram({-1: ["id"], 0: ["id", "speed"]}, 4, "id")
    formed = ngram.form_ngram(rows(0, 3, 8, 10, 11, 20), SCHEMA)
    assert [(item[-1]["id"], item[0]["id"]) for item in formed] == [(0, 3), (8, 10), (10, 11)]
    named = ngram.make_namedtuple(SCHEMA, formed[0])
    assert named[-1] == (0,)
    assert named[0]._asdict() == {"id": 3, "speed": 1.5}


def test_rows_of_one_ngram_only() -> None:
    ngram = NGram({0: ["id"], 1: ["id"]}, 10, "id", timestamp_overlap=False)
    assert [item[0]["id"] for item in ngram.form_ngram(rows(0, 1, 2, 3, 4, 5), SCHEMA)] == [0, 2, 4]


def test_rows_out_of_order_are_refused() -> None:
    with pytest.raises(UnsortedDataError, match="'id'"):
        NGram({0: ["id"], 1: ["id"]}, 10, "id").form_ngram(rows(1, 0), SCHEMA)


def test_equal_by_what_they_ask_for() -> None:
    first = NGram({0: ["id", "speed"], 1: ["id"]}, 4, "id")
    assert first == NGram({1: ["id"], 0: ["speed", "id"]}, 4, "id") == pickle.loads(pickle.dumps(first))
    assert hash(first) == hash(copy.deepcopy(first))
    assert first != NGram({0: ["id", "speed"], 1: ["id"]}, 5, "id")
    assert first != NGram({0: ["id", "speed"], 2: ["id"]}, 4, "id")
