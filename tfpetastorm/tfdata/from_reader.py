"""`make_petastorm_dataset`: a reader's rows, batches or n-grams as a `tf.data.Dataset`."""

from __future__ import annotations

import datetime as dt
import warnings
import weakref
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import numpy as np
import tensorflow as tf

from tfpetastorm.errors import NullValueError, OptionError, Place, describe
from tfpetastorm.feed.elements import ElementRows
from tfpetastorm.feed.skip import SkipLedger
from tfpetastorm.reader.reader import Reader
from tfpetastorm.reader.rows import WindowTypes
from tfpetastorm.schema.field import UnischemaField
from tfpetastorm.schema.unischema import Unischema
from tfpetastorm.tfdata.forming import Forming
from tfpetastorm.tfdata.graph import graph_of
from tfpetastorm.tfdata.source import ElementSource, unconverted
from tfpetastorm.tfdata.specs import graph_dtype
from tfpetastorm.tfdata.structure import Padding, Structure

#: Types that petastorm widened, and that its users' graphs expect.
_WIDENED = {tf.uint16: tf.int32, tf.uint32: tf.int64}

_NANOSECONDS = {
    "Y": None, "M": None, "W": 604_800_000_000_000, "D": 86_400_000_000_000, "h": 3_600_000_000_000,
    "m": 60_000_000_000, "s": 1_000_000_000, "ms": 1_000_000, "us": 1000, "ns": 1,
}  # fmt: skip


def make_petastorm_dataset(reader: Any) -> Any:
    """A dataset of what a reader gives: namedtuples of tensors, of an n-gram `{offset: namedtuple}`, of
    `make_batch_reader` namedtuples of tensors `[rows, ...]`.

    reader: of `make_reader` or `make_batch_reader`; or anything that gives such rows, such as a
    `WeightedSamplingReader`, which is then asked for one at a time.

    Dtypes are those that petastorm's users know: uint16 becomes int32 and uint32 int64; str, bytes and Decimal (without
    zeros at the end) are strings; datetimes and dates int64 nanoseconds since 1970. All others stay as they are. A
    field of variable shape is a dense tensor; in a batch all its cells must have one shape. Each pass over the dataset
    is one of the reader's, `num_epochs` epochs, further on in its orders than the one before; it leaves `next(reader)`
    alone. Cardinality is exact, but for batches and where a predicate decides it.

    For speed use `make_dataset`, which batches: one element a row costs TensorFlow more than reading does.

    Raises OptionError for what is no reader. While iterating: `tf.errors.OpError` with the message of ours for a null
    (TensorFlow has none), for damaged data, and once the reader was stopped.
    """
    for name in ("schema", "batched_output", "ngram"):
        if not hasattr(reader, name):
            raise OptionError(f"make_petastorm_dataset takes a reader, as make_reader makes it, not {reader!r}.")
    # Programs of TensorFlow 1 build graphs, and ask their datasets for iterators as that version named them.
    return _of_engine(reader) if isinstance(reader, Reader) and tf.executing_eagerly() else _of_rows(reader)


# ---------------------------------------------------------------------- readers of ours: whole columns


class _ReaderSource(ElementSource):
    """The elements of a reader: none after it was stopped, none with a null."""

    def attach(self, reader: Reader) -> None:
        """What to ask whether reading goes on. Held weakly: TensorFlow keeps this source for good."""
        self._owner = weakref.ref(reader)

    def begin(self, token: int) -> int:
        """The number of the first epoch of the pass with this token."""
        owner = self._owner()
        if owner is not None:
            owner.refuse()
        return super().begin(token)

    def read(self, epoch: int, number: int, again: bool = False) -> ElementRows:
        """An element, see `ElementReader`."""
        owner = self._owner()
        if owner is not None:
            owner.refuse()
        found = super().read(epoch, number, again)
        for name, column in found.columns.items():
            if column.valid is not None and not column.valid.all():
                raise _null_error(name)
        return found


def _of_engine(reader: Reader) -> Any:
    engine = reader.engine
    batched = reader.batched_output
    types = None if engine.windows is None else WindowTypes.of(reader.schema, engine.windows)
    if engine.elements is None:
        return _of_rows(reader)
    plan = engine.elements.plan
    source = _ReaderSource(
        plan, engine.task_reader, engine.options, engine.row_bytes, SkipLedger(None), counted=engine.counted
    )
    source.attach(reader)
    forming = Forming(engine.windows, {}, plan.shuffle.rows)
    padding = Padding.of("ragged", engine.spec.output)
    if batched:
        dataset = _batches(source, forming)
    else:
        dataset = graph_of(source, forming, Structure(None), padding, None, False)
    fields = {field.name: field for field in reader.schema}

    def finished(element: Any) -> Any:
        if types is None:
            row = {name: _known(value, fields[name]) for name, value in element.items()}
            return reader.schema.namedtuple_type()._make(row.values())
        return {
            offset: types.make[offset]([_known(element[offset][field.name], field) for field in chosen])
            for offset, chosen in types.fields.items()
        }

    dataset = dataset.map(unconverted(finished))
    if engine.counted and not batched:
        total = tf.data.INFINITE_CARDINALITY if plan.epochs is None else plan.samples.total * plan.epochs
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(total))
    # The dataset and its workers last as long as each other; the reader, for `stop`, as long as the dataset.
    dataset._tfpetastorm_reader = reader  # noqa: SLF001
    reader.also_ends(source.pool)
    weakref.finalize(dataset, source.pool.release).atexit = False
    return dataset


def _batches(source: ElementSource, forming: Forming) -> Any:
    """A dataset of whole elements."""

    def one_epoch(epoch: Any) -> Any:
        elements = source.elements_of(epoch)
        whole = elements.map(unconverted(lambda *tensors: forming.whole(source.given(*tensors))[0]))
        some = whole.filter(unconverted(lambda columns: _rows(columns) > 0))
        return some.map(unconverted(lambda columns: {name: _dense(name, value) for name, value in columns.items()}))

    return source.epochs().flat_map(unconverted(one_epoch))


def _rows(columns: Mapping[str, Any]) -> Any:
    first = next(iter(columns.values()))
    return first.nrows() if isinstance(first, tf.RaggedTensor) else tf.shape(first, tf.int64)[0]


def _dense(name: str, value: Any) -> Any:
    """A column of variable shape as a tensor, where all its cells have one shape."""
    if not isinstance(value, tf.RaggedTensor):
        return value
    dense = value.to_tensor()
    message = (
        f"The cells of field {name!r} differ in shape, so that they make no tensor. make_dataset gives them as a "
        f'RaggedTensor, or padded with ragged="pad"; make_reader row by row.'
    )
    same = tf.debugging.assert_equal(tf.size(dense), tf.size(value.flat_values), message)
    with tf.control_dependencies([same] if same is not None else []):
        return tf.identity(dense)


def _known(value: Any, field: UnischemaField) -> Any:
    """A tensor in the dtype that petastorm gave it."""
    if value.dtype in _WIDENED:
        return tf.cast(value, _WIDENED[value.dtype])
    if field.kind == "decimal":
        return tf.strings.regex_replace(tf.strings.regex_replace(value, r"(\.\d*?)0+$", r"\1"), r"\.$", "")
    if field.kind in ("date", "datetime"):
        unit = "D" if field.kind == "date" else np.datetime_data(field.dtype)[0]
        factor = _NANOSECONDS.get(unit)
        if factor is None:
            return tf.cast(value, tf.int64)
        return tf.cast(value, tf.int64) * tf.constant(factor, tf.int64)
    return value


def _null_error(name: str) -> NullValueError:
    return NullValueError(
        describe(
            "A null was read, and TensorFlow has none",
            Place(field=name),
            remedy="Leave such rows out with predicate= or filters=, leave the field out of schema_fields=, fill it in "
            f'a TransformSpec, or use make_dataset(nulls={{"{name}": <a value>}}).',
        )
    )


# ---------------------------------------------------------------------- other readers: row by row


def _of_rows(reader: Any) -> Any:
    """A dataset of anything that gives rows: one call of Python each."""
    schema: Unischema = reader.schema
    # Asked here: threads of TensorFlow, where rows are made, are always eager.
    in_graph = not tf.executing_eagerly()
    begun = False

    def rows() -> Iterator[Any]:
        nonlocal begun
        if begun:
            if in_graph:
                warnings.warn(
                    "Running multiple iterations over make_petastorm_dataset is not recommend for performance issue: "
                    "row by row, each starts the reader anew. Give it num_epochs=, or cache() the dataset.",
                    stacklevel=2,
                )
            reader.reset()
        begun = True
        for row in reader:
            yield {offset: _plain(part) for offset, part in row.items()} if isinstance(row, dict) else _plain(row)

    leading = (None,) if reader.batched_output else ()
    if reader.ngram is None:
        names = [list(schema)]
    else:
        offsets = range(min(reader.ngram.fields), max(reader.ngram.fields) + 1)
        by_offset = {offset: list(schema.create_schema_view(reader.ngram.fields.get(offset, ()))) for offset in offsets}
        names = list(by_offset.values())
    specs = [tuple(_spec(field, leading) for field in fields) for fields in names]
    types = [Unischema.rebuilt(schema.schema_name, fields).namedtuple_type() for fields in names]
    signature = specs[0] if reader.ngram is None else tuple(specs)

    def flat() -> Iterator[Any]:
        for row in rows():
            yield tuple(tuple(part) for part in row.values()) if isinstance(row, dict) else tuple(row)

    kind = tf.compat.v1.data.Dataset if in_graph else tf.data.Dataset
    dataset = kind.from_generator(flat, output_signature=signature)
    # TensorFlow would read ahead by itself, and so begin another pass, and warn of it, before anyone asked for a row.
    options = tf.data.Options()
    options.experimental_optimization.inject_prefetch = False
    dataset = dataset.with_options(options)

    def named(*parts: Any) -> Any:
        if reader.ngram is None:
            return types[0]._make(parts)
        return {offset: kind._make(part) for offset, kind, part in zip(offsets, types, parts, strict=True)}

    return dataset.map(unconverted(named))


def graph_type(field: UnischemaField) -> Any:
    """The `tf.DType` of a field in these datasets."""
    dtype = graph_dtype(field)
    return tf.int64 if field.kind in ("date", "datetime") else _WIDENED.get(dtype, dtype)


def _spec(field: UnischemaField, leading: tuple[None, ...]) -> Any:
    return tf.TensorSpec([*leading, *field.shape], graph_type(field))


def _plain(row: Any) -> list[Any]:
    return [plain_cell(name, value) for name, value in row._asdict().items()]


def plain_cell(name: str, value: Any) -> Any:
    """A cell of a row as TensorFlow takes it, in the dtype that petastorm gave it. Raises NullValueError for a null."""
    if value is None:
        raise _null_error(name)
    if isinstance(value, Decimal):
        return format(value.normalize(), "f")
    if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
        return np.datetime64(value, "ns").astype(np.int64)
    array = np.asarray(value)
    if array.dtype.kind == "M":
        return array.astype("datetime64[ns]").astype(np.int64)
    if array.dtype in (np.uint16, np.uint32):
        return array.astype(np.int32 if array.dtype == np.uint16 else np.int64)
    if array.dtype == object and array.size:
        first = array.flat[0]
        if first is None or any(item is None for item in array.flat):
            raise _null_error(name)
        if isinstance(first, dt.date):
            return array.astype("datetime64[ns]").astype(np.int64)
        if isinstance(first, Decimal):
            return np.array([format(item.normalize(), "f") for item in array.flat], object).reshape(array.shape)
    return value
