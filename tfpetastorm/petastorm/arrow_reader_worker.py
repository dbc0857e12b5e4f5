"""`petastorm.arrow_reader_worker`: what its programs import of it."""

from __future__ import annotations

from typing import Any, NoReturn

import pyarrow as pa

from tfpetastorm.errors import Place, ReplacedError
from tfpetastorm.reader.batches import batch_array
from tfpetastorm.schema.codecs import decode_column
from tfpetastorm.schema.codecs.base import bad_cell_error
from tfpetastorm.schema.columns import Array
from tfpetastorm.schema.unischema import Unischema

__all__ = ["ArrowReaderWorker", "ArrowReaderWorkerResultsQueueReader", "convert_arrow_table_to_numpy_dict"]


class ArrowReaderWorker:
    """Replaced: workers are this library's own. Raises ReplacedError, which shows the call that takes its place."""

    def __init__(self, *_: Any, **__: Any) -> None:
        _replaced()


class ArrowReaderWorkerResultsQueueReader:
    """Replaced: raises ReplacedError, which shows the call that takes its place."""

    def __init__(self, *_: Any, **__: Any) -> None:
        _replaced()


def convert_arrow_table_to_numpy_dict(result_table: pa.Table, schema: Unischema) -> dict[str, Array]:
    """The columns of a table as `make_batch_reader` gives them, by field; codecs are decoded.

    Raises DamagedDataError for a cell that can't be decoded.
    """
    made = {}
    for name in result_table.column_names:
        field = schema.fields[name]
        chunks = result_table.column(name).combine_chunks()
        array = pa.concat_arrays(chunks.chunks) if isinstance(chunks, pa.ChunkedArray) else chunks

        def bad(row: int, reason: str, name: str = name) -> None:
            raise bad_cell_error(reason, Place(row=row, field=name))

        made[name] = batch_array(field, decode_column(field, array, bad))
    return made


def _replaced() -> NoReturn:
    raise ReplacedError("Petastorm's workers are gone. Use make_batch_reader(url), or tfpetastorm.make_dataset(url).")
