"""Record batches outside of Beam, in the order in which the dataset of tensors has them."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import Any

import pyarrow as pa

from tfpetastorm.feed.elements import ElementReader
from tfpetastorm.feed.skip import SkipLedger
from tfpetastorm.plan.epochs import EpochPlan
from tfpetastorm.plan.numbers import whole_number
from tfpetastorm.plan.order import Shuffle
from tfpetastorm.plan.shards import Division
from tfpetastorm.read.cost import row_bytes
from tfpetastorm.read.ops import concat, rows_between, take
from tfpetastorm.read.task import TaskReader
from tfpetastorm.schema.columns import Column
from tfpetastorm.tfxio.input import Examples
from tfpetastorm.tfxio.reading import planned


def record_batches(examples: Examples, options: Any) -> Iterator[pa.RecordBatch]:
    """The rows as record batches. options: tfx-bsl's RecordBatchesOptions."""
    size = whole_number("batch_size", options.batch_size, 1)
    epochs = None if options.num_epochs is None else whole_number("num_epochs", options.num_epochs, 1)
    shuffle = shuffle_of(examples, options)
    seed = secrets.randbits(63) if options.shuffle_seed is None else whole_number("shuffle_seed", options.shuffle_seed)
    plan, pool = planned(examples.stored, examples.reading, shuffle)
    division = Division(1, size, "drop", options.drop_final_batch)
    total = plan.samples.total
    if not total or not division.steps(total):
        return
    order = EpochPlan(plan.samples, shuffle, seed, plan.block, epochs, division=division)
    reader = TaskReader(examples.reading.spec, examples.stored.file_metadata)
    pool = replace(pool, budget_bytes=pool.budget_bytes - plan.held)
    source = ElementReader(order, reader, pool, plan.row_bytes, SkipLedger(None))
    try:
        for epoch in count() if epochs is None else range(epochs):
            waiting: list[dict[str, Column]] = []
            rows = 0
            for number in range(len(order.layout(epoch))):
                found = source.read(epoch, number)
                columns = found.columns
                if found.index is not None:
                    columns = {name: take(column, found.index) for name, column in columns.items()}
                given, start = next(iter(columns.values())).rows, 0
                while start < given:
                    stop = min(start + size - rows, given)
                    waiting.append({name: rows_between(column, start, stop) for name, column in columns.items()})
                    rows, start = rows + stop - start, stop
                    if rows == size:
                        yield _batch(examples, waiting, rows)
                        waiting, rows = [], 0
            if waiting:
                yield _batch(examples, waiting, rows)
    finally:
        source.pool.close()


def shuffle_of(examples: Examples, options: Any) -> Shuffle:
    """How rows are shuffled: instead of a buffer of so many rows, blocks of so many, or of fewer large ones."""
    rows = whole_number("shuffle_buffer_size", options.shuffle_buffer_size, 1)
    if not options.shuffle:
        return Shuffle.of(False)
    stored = examples.stored
    inventory = stored.inventory
    costs = row_bytes(examples.reading.spec.read_fields, inventory, stored.column_paths, stored.file_metadata)
    total = max(1, inventory.num_rows)
    most = Shuffle().block(float((inventory.row_group_rows * costs).sum() / total))
    return Shuffle(block_rows=min(rows, most, total))


def _batch(examples: Examples, parts: list[dict[str, Column]], rows: int) -> pa.RecordBatch:
    columns = {name: concat([part[name] for part in parts]) for name in parts[0]}
    return examples.reading.batch(columns, 0, rows)
