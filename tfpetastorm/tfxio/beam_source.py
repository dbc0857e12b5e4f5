"""The PTransform that reads row groups as record batches."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import apache_beam as beam
import pyarrow as pa
from tfx_bsl.tfxio import telemetry

from tfpetastorm.plan.tasks import ReadTask
from tfpetastorm.read.task import TaskReader
from tfpetastorm.tfxio.reading import Reading

#: Rows of a batch where nobody asked for a number: as many as tfx-bsl makes at most, and fewer of large rows.
_BATCH_ROWS = 1000
_BATCH_BYTES = 20 << 20

#: The work on a row group, as it is sent to workers: its slices, each as row group, first row, and the row after the
#: last. One worker has them all, since each needs the row group's column chunks.
Work = tuple[tuple[int, int, int], ...]


class Input(Protocol):
    """What is read, and what there is to do. Sent to workers, who open the files if nobody has."""

    @property
    def is_open(self) -> bool:
        """Whether the files were found."""

    @property
    def reading(self) -> Reading:
        """How rows are read."""

    @property
    def work(self) -> list[Work]:
        """What there is to read."""


@beam.typehints.with_output_types(pa.RecordBatch)
class ReadExamples(beam.PTransform):
    """All rows as RecordBatches of one schema. Row groups are the unit of work, of large ones a slice is read at once.

    source: what is read; its files are looked for by the pipeline if they are not open. batch_size: rows of a batch;
    the last of each slice has what is left. descriptors: of the component, for the names of Beam's metrics.
    """

    def __init__(self, source: Input, batch_size: int | None, descriptors: list[str] | None) -> None:
        super().__init__()
        self._source = source
        self._batch_size = batch_size
        self._descriptors = descriptors

    def expand(self, pbegin: Any) -> Any:
        """See beam.PTransform."""
        if self._source.is_open:
            work = pbegin | "RowGroups" >> beam.Create(self._source.work, reshuffle=False)
            reading: Any = self._source.reading
        else:
            # Opened once: all workers mean the same by the number of a row group.
            found = pbegin | "Input" >> beam.Create([self._source], reshuffle=False) | "Open" >> beam.Map(_opened)
            work = found | "RowGroups" >> beam.FlatMap(lambda source: source.work)
            reading = beam.pvalue.AsSingleton(found | "Reading" >> beam.Map(lambda source: source.reading))
        return (
            work
            | "Distribute" >> beam.Reshuffle()
            | "Read" >> beam.ParDo(_Read(self._batch_size), reading)
            | "Telemetry" >> telemetry.ProfileRecordBatches(self._descriptors, "parquet", "parquet")
        )


def _opened(source: Input) -> Input:
    """The same with all that there is to know: it is sent along."""
    assert source.work is not None
    return source


@beam.typehints.with_output_types(pa.RecordBatch)
class _Read(beam.DoFn):
    """Reads a row group."""

    def __init__(self, batch_size: int | None) -> None:
        super().__init__()
        self._batch_size = batch_size
        self._reader: TaskReader | None = None

    def process(self, work: Work, reading: Reading) -> Iterator[pa.RecordBatch]:
        """The batches of a row group."""
        if self._reader is None or self._reader.spec is not reading.spec:
            self.teardown()
            self._reader = TaskReader(reading.spec)
        for piece in work:
            task = ReadTask(*piece)
            result = self._reader.run(task)
            size = self._batch_size
            if size is None:
                row_bytes = max(1.0, result.nbytes / max(1, result.rows))
                size = max(1, min(_BATCH_ROWS, int(_BATCH_BYTES / row_bytes)))
            for start in range(0, result.rows, size):
                yield reading.batch(result.columns, start, min(start + size, result.rows), task)

    def teardown(self) -> None:
        """Lets go of open files."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
