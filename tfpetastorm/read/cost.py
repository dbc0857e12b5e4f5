"""What a row costs in memory, from the schema and the footers, before anything is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pyarrow.parquet as pq

from tfpetastorm.schema.columns import Array
from tfpetastorm.schema.field import UnischemaField
from tfpetastorm.storage.inventory import Inventory

#: Decoded bytes for each stored byte of a field whose shape is open, where the codec compresses: images and deflated
#: arrays seldom shrink more.
_EXPANSION = {"image": 12.0, "compressed_ndarray": 4.0}

#: A string costs its bytes, its offset and, at the border to TensorFlow, one Python object.
_TEXT_OVERHEAD = 64


def row_bytes(
    fields: Sequence[UnischemaField],
    inventory: Inventory,
    column_paths: Mapping[str, tuple[str, ...]],
    metadata: Callable[[int], pq.FileMetaData],
) -> Array:
    """float64 `[row groups]`: the decoded bytes of one row of each row group, exact for fields of fixed shape.

    A function of the dataset and the fields alone, since it decides where row groups are sliced.
    """
    fixed = 0
    open_fields: list[UnischemaField] = []
    for field in fields:
        if field.is_text or field.ragged_rank:
            open_fields.append(field)
        else:
            fixed += int(np.prod(field.inner_shape, dtype=np.int64)) * field.dtype.itemsize
    costs = np.full(len(inventory.row_group_rows), float(fixed))
    if not open_fields:
        return costs
    factors = {".".join(column_paths.get(field.name, (field.name,))): _expansion(field) for field in open_fields}
    costs += _TEXT_OVERHEAD * len(open_fields)
    for i, (file, ordinal) in enumerate(zip(inventory.row_group_file, inventory.row_group_ordinal, strict=True)):
        row_group = metadata(int(file)).row_group(int(ordinal))
        total = 0.0
        for k in range(row_group.num_columns):
            chunk = row_group.column(k)
            path = chunk.path_in_schema
            for name, factor in factors.items():
                if path == name or path.startswith(name + "."):
                    total += factor * chunk.total_uncompressed_size
        costs[i] += total / max(1, row_group.num_rows)
    return costs


def _expansion(field: UnischemaField) -> float:
    name = field.codec.codec_name if field.codec is not None else ""
    return next((factor for part, factor in _EXPANSION.items() if part in name), 1.0)
