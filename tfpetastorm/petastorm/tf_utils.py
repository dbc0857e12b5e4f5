"""`petastorm.tf_utils`: `make_petastorm_dataset`, and what its programs import beside it."""

from __future__ import annotations

import calendar
import warnings
from collections.abc import Iterator
from typing import Any, NoReturn

import numpy as np
import tensorflow as tf

from tfpetastorm.errors import ReplacedError, SchemaError
from tfpetastorm.plan.ngram import NGram
from tfpetastorm.schema.field import UnischemaField
from tfpetastorm.schema.unischema import Unischema
from tfpetastorm.tfdata.from_reader import graph_type, make_petastorm_dataset, plain_cell

__all__ = [
    "RANDOM_SHUFFLING_QUEUE_SIZE",
    "date_to_nsec_from_epoch",
    "make_namedtuple_tf_ngram",
    "make_petastorm_dataset",
    "tf_tensors",
]

#: The name of an operation of petastorm's shuffling queue; no graph has it any more.
RANDOM_SHUFFLING_QUEUE_SIZE = "random_shuffling_queue_size"


def tf_tensors(reader: Any, shuffling_queue_capacity: int = 0, min_after_dequeue: int = 0) -> NoReturn:
    """Replaced: TensorFlow 2 has no queues. Raises ReplacedError, which shows the call that takes its place."""
    raise ReplacedError(
        "tf_tensors fed queues of TensorFlow 1. For tensors of one row at a time:\n"
        "    for row in make_petastorm_dataset(reader): ...\n"
        "or better, for batches that are shuffled and prefetched:\n"
        "    dataset = tfpetastorm.make_dataset(url, batch_size=64, shuffle=True)\n"
        "(shuffling_queue_capacity becomes Shuffle(block_rows=...), min_after_dequeue has no counterpart)."
    )


def date_to_nsec_from_epoch(dt: Any) -> int:
    """A date or datetime in nanoseconds since 1970, its time taken for UTC and cut to seconds."""
    return calendar.timegm(dt.timetuple()) * 1_000_000_000


def make_namedtuple_tf_ngram(unischema: Unischema, ngram: NGram, *args: Any, **kargs: Any) -> dict[int, Any]:
    """The flat values of an n-gram, offset by offset, as `{offset: namedtuple}`; or by keyword, for each offset as a
    str a dict of its values."""
    rest = list(args)
    made = {}
    for offset in range(min(ngram.fields), max(ngram.fields) + 1):
        kind, names = _type_at(unischema, ngram, offset)
        values, rest = rest[: len(names)], rest[len(names) :]
        made[offset] = kind(*values, **kargs.get(str(offset), {}))
    return made


def _type_at(unischema: Unischema, ngram: NGram, offset: int) -> tuple[Any, list[str]]:
    fields = list(unischema.create_schema_view(ngram.fields[offset])) if offset in ngram.fields else []
    return Unischema.rebuilt(unischema.schema_name, fields).namedtuple_type(), [field.name for field in fields]


def _numpy_to_tf_dtypes(numpy_dtype: Any) -> Any:
    """The `tf.DType` of petastorm's datasets for a NumPy type. Raises SchemaError (a ValueError) if there is none."""
    field = UnischemaField("value", numpy_dtype, ())
    if field.kind == "number" and field.dtype in (np.uint64, np.float16):
        raise SchemaError(f"{field.dtype} had no type in petastorm's datasets; make_dataset keeps it as it is.")
    if field.kind == "text":
        warnings.warn("Strings come out of TensorFlow as bytes.", UnicodeWarning, stacklevel=2)
    return graph_type(field)


def _schema_to_tf_dtypes(schema: Unischema) -> list[Any]:
    return [graph_type(field) for field in schema]


def _sanitize_field_tf_types(sample: Any) -> Any:
    """A row whose cells are what TensorFlow takes."""
    return sample._make([plain_cell(name, value) for name, value in sample._asdict().items()])


def _ngrams_generator(reader: Any) -> Iterator[Any]:
    """The n-grams of a reader, each as one flat namedtuple whose names end in the number of the offset."""
    for gram in reader:
        cells = [
            (f"{name}_{number}", plain_cell(name, value))
            for number, offset in enumerate(sorted(gram))
            for name, value in gram[offset]._asdict().items()
        ]
        flat = Unischema.rebuilt("flattened", [UnischemaField(name, np.int64, ()) for name, _ in cells])
        yield flat.namedtuple_type()._make([value for _, value in cells])


def _unflatten_and_set_shape(schema: Unischema, ngram: NGram, fields_as_list: Any) -> dict[int, Any]:
    """Flat tensors of an n-gram as `{offset: namedtuple}`, with the static shapes of the schema."""
    grams = make_namedtuple_tf_ngram(schema, ngram, *fields_as_list)
    for row in grams.values():
        for name, tensor in row._asdict().items():
            if isinstance(tensor, tf.Tensor) and tensor.shape.rank is None:
                tensor.set_shape(schema.fields[name].shape)
    return grams
