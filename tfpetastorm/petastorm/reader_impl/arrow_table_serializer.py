"""`petastorm.reader_impl.arrow_table_serializer`: an Arrow table as bytes of Arrow's stream format, and back."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

__all__ = ["ArrowTableSerializer"]


class ArrowTableSerializer:
    """Tables to bytes and back, without pickle."""

    def serialize(self, rows: pa.Table) -> pa.Buffer:
        """The table as bytes."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, rows.schema) as writer:
            writer.write_table(rows)
        return sink.getvalue()

    def deserialize(self, serialized_rows: Any) -> pa.Table:
        """The table of such bytes. Raises one of pyarrow's exceptions if they are none."""
        with pa.ipc.open_stream(serialized_rows) as reader:
            return reader.read_all()
