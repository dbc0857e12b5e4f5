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

#: What a read task is between workers: the row group, and its rows from which to which.
Task = tuple[int, int, int]


class Input(Protocol):
    """What is read, and what there is to do. Sent to workers, who open the files if nobody has."""

    @property
    def is_open(self) -> bool:
        """Whether the files were found."""

    @property
    def reading(self) -> Reading:
        """How rows are read."""

    @property
    def tasks(self) -> list[Task]:
        """All read tasks."""


@beam.typehints.with_output_types(pa.RecordBatch)
class ReadExamples(beam.PTransform):
    """All rows as RecordBatches of one schema. Row groups, or slices of large ones, are the unit of work.

    source: what is read; its files are looked for by the pipeline if they are not open. batch_size: rows of a batch;
    the last of each read task has what is left. descriptors: of the component, for the names of Beam's metrics.
    """

    def __init__(self, source: Input, batch_size: int | None, descriptors: list[str] | None) -> None:
        super().__init__()
        self._source = source
        self._batch_size = batch_size
        self._descriptors = descriptors

    def expand(self, pbegin: Any) -> Any:
        """See beam.PTransform."""
        if self._source.is_open:
            tasks = pbegin | "RowGroups" >> beam.Create(self._source.tasks, reshuffle=False)
            reading: Any = self._source.reading
        else:
            # Opened once: all workers mean the same by the number of a row group.
            found = pbegin | "Input" >> beam.Create([self._source], reshuffle=False) | "Open" >> beam.Map(_opened)
            tasks = found | "RowGroups" >> beam.FlatMap(lambda source: source.tasks)
            reading = beam.pvalue.AsSingleton(found | "Reading" >> beam.Map(lambda source: source.reading))
        return (
            tasks
            | "Distribute" >> beam.Reshuffle()
            | "Read" >> beam.ParDo(_Read(self._batch_size), reading)
            | "Telemetry" >> telemetry.ProfileRecordBatches(self._descriptors, "parquet", "parquet")
        )


def _opened(source: Input) -> Input:
    """The same with all that there is to know: it is sent along."""
    assert source.tasks is not None
    return source


@beam.typehints.with_output_types(pa.RecordBatch)
class _Read(beam.DoFn):
    """Reads a task."""

    def __init__(self, batch_size: int | None) -> None:
        super().__init__()
        self._batch_size = batch_size
        self._reader: TaskReader | None = None

    def process(self, task: Task, reading: Reading) -> Iterator[pa.RecordBatch]:
        """The batches of a task."""
        if self._reader is None or self._reader.spec is not reading.spec:
            self.teardown()
            self._reader = TaskReader(reading.spec)
        read = ReadTask(*task)
        result = self._reader.run(read)
        size = self._batch_size
        if size is None:
            row_bytes = max(1.0, result.nbytes / max(1, result.rows))
            size = max(1, min(_BATCH_ROWS, int(_BATCH_BYTES / row_bytes)))
        for start in range(0, result.rows, size):
            yield reading.batch(result.columns, start, min(start + size, result.rows), read)

    def teardown(self) -> None:
        """Lets go of open files."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None
