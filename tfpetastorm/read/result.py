"""What running one read task gives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from tfpetastorm.errors import Place
from tfpetastorm.schema.columns import Array, Column, Text


@dataclass(frozen=True)
class Damage:
    """Rows that could not be read. place: where; its row is None where the whole row group is lost. rows: how many."""

    place: Place
    reason: str
    rows: int


@dataclass(frozen=True)
class Counts:
    """Work done, so that reading twice or decoding too much shows.

    rows: rows that came out. cells: cells given to a codec. row_groups: row groups fetched (a slice that finds its
    row group at hand fetches none). bytes_fetched: compressed bytes of the column chunks fetched. fetch_seconds,
    decode_seconds, transform_seconds: of workers, waiting for one another included; they don't count for equality.
    cache_hits, cache_misses: read tasks that a DiskCache had, and had not.
    """

    rows: int = 0
    cells: int = 0
    row_groups: int = 0
    bytes_fetched: int = 0
    fetch_seconds: float = field(default=0.0, compare=False)
    decode_seconds: float = field(default=0.0, compare=False)
    transform_seconds: float = field(default=0.0, compare=False)
    cache_hits: int = 0
    cache_misses: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.rows + other.rows,
            self.cells + other.cells,
            self.row_groups + other.row_groups,
            self.bytes_fetched + other.bytes_fetched,
            self.fetch_seconds + other.fetch_seconds,
            self.decode_seconds + other.decode_seconds,
            self.transform_seconds + other.transform_seconds,
            self.cache_hits + other.cache_hits,
            self.cache_misses + other.cache_misses,
        )


@dataclass(frozen=True, eq=False)
class TaskResult:
    """The columns of one read task: `rows` rows, fewer than planned by what `damage` lists.

    kept: where damage left rows out, int64 `[rows]`: which of the task's rows these are; else None.
    """

    rows: int
    columns: dict[str, Column]
    damage: tuple[Damage, ...] = ()
    counts: Counts = field(default_factory=Counts)
    kept: Array | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for column in self.columns.values() for array in arrays_of(column))


def arrays_of(column: Column) -> Iterator[Array]:
    """Every array that a column is made of."""
    if isinstance(column.values, Text):
        yield column.values.offsets
        yield column.values.data
        if column.values.codes is not None:
            yield column.values.codes
    else:
        yield column.values
    yield from column.splits
    if column.valid is not None:
        yield column.valid
