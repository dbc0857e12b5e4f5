"""Which bytes of a Parquet file hold some columns of a row group, and which requests fetch them.

Offsets and sizes are those of `ColumnMetaData` in the Parquet format (parquet.thrift): a column chunk begins with its
dictionary page, if it has one, and takes `total_compressed_size` bytes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import pairwise

import pyarrow.parquet as pq

#: Bytes between wanted ranges that may be fetched with them, as a share of what is wanted.
_WASTE = 0.1
#: A request for this many bytes takes far longer than the request itself: more are fetched by several, side by side.
_REQUEST_BYTES = 16 << 20


@dataclass(frozen=True, order=True)
class ByteRange:
    """The bytes of a file from `start` to before `stop`."""

    start: int
    stop: int

    @property
    def size(self) -> int:
        """How many bytes there are."""
        return self.stop - self.start


def chunk_ranges(row_group: pq.RowGroupMetaData, names: Collection[str]) -> list[ByteRange]:
    """The column chunks of a row group that belong to these columns, given by their paths or the beginnings of them
    (`a` stands for `a.b` too), in the order of the schema."""
    found = []
    for i in range(row_group.num_columns):
        chunk = row_group.column(i)
        path = chunk.path_in_schema
        if path in names or any(path.startswith(name + ".") for name in names):
            start = chunk.data_page_offset
            if chunk.has_dictionary_page and chunk.dictionary_page_offset is not None:
                # Some writers note 0 for a dictionary that is not there.
                start = min(start, chunk.dictionary_page_offset or start)
            found.append(ByteRange(start, start + chunk.total_compressed_size))
    return found


def coalesced(ranges: Iterable[ByteRange]) -> list[ByteRange]:
    """Fewer ranges, in order, that cover the given ones: the smallest gaps are fetched too, as long as all of them
    together stay under a tenth of what is wanted and no range becomes too large for one request."""
    wanted: list[ByteRange] = []
    for one in sorted(one for one in ranges if one.size):
        if wanted and one.start < wanted[-1].stop:
            wanted[-1] = ByteRange(wanted[-1].start, max(wanted[-1].stop, one.stop))
        else:
            wanted.append(one)
    spare = int(_WASTE * sum(one.size for one in wanted))
    gaps = sorted((right.start - left.stop, i) for i, (left, right) in enumerate(pairwise(wanted)))
    joined: set[int] = set()
    for gap, i in gaps:
        if gap > spare:
            break
        spare -= gap
        joined.add(i)
    result: list[ByteRange] = []
    for i, one in enumerate(wanted):
        if result and i - 1 in joined and one.stop - result[-1].start <= _REQUEST_BYTES:
            result[-1] = ByteRange(result[-1].start, one.stop)
        else:
            result.append(one)
    return result
