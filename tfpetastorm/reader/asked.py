"""What a reader is asked for, checked and in the engine's terms."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow.fs as pafs

from tfpetastorm.errors import OptionError
from tfpetastorm.plan.ngram import NGram
from tfpetastorm.plan.numbers import whole_number
from tfpetastorm.pool.options import PoolOptions
from tfpetastorm.reader.arguments import Shard, is_choice, shuffle_of
from tfpetastorm.reader.setup import Wanted
from tfpetastorm.schema.columns import Array
from tfpetastorm.storage.dataset import StoredDataset
from tfpetastorm.storage.opening import open_dataset


@dataclass(frozen=True, eq=False)
class Asked:
    """The arguments of a reader.

    url, filesystem: as `open_dataset` takes them; or a `StoredDataset`. fields: a choice of fields, or an NGram.
    shuffling: rows, row groups, and into how many parts a row group is cut. seed: of the order. pool: the pool's
    options, told whether the files are on this machine. cache: has `disk`, what read tasks are kept in.

    Raises OptionError for what can't work.
    """

    url: Any
    filesystem: Any
    fields: NGram | Iterable[Any] | None
    predicate: Any
    filters: Any
    selector: Any
    transform_spec: Any
    shuffling: tuple[Any, Any, Any]
    seed: int | None
    shard: Shard
    epochs: Any
    pool: Callable[[bool], PoolOptions]
    cache: Any
    batched: bool
    ngram: NGram | None = field(init=False)

    def __post_init__(self) -> None:
        ngram = self.fields if isinstance(self.fields, NGram) else None
        object.__setattr__(self, "ngram", ngram)
        if ngram is None and self.fields is not None and not is_choice(self.fields):
            raise OptionError(f"schema_fields: {self.fields!r} is no list of names, patterns or fields, and no NGram.")
        if ngram is not None and self.batched:
            raise OptionError(
                "make_batch_reader has no n-grams: use make_reader(schema_fields=NGram(...)) for rows, or "
                "make_dataset(ngram=...) for tensors."
            )
        if self.epochs is not None:
            object.__setattr__(self, "epochs", whole_number("num_epochs", self.epochs, 1))
        whole_number("shuffle_row_drop_partitions", self.shuffling[2], 1)
        self.pool(True)

    def opened(self) -> tuple[StoredDataset, PoolOptions]:
        """The dataset, and how its read tasks are run."""
        stored = self.url
        if not isinstance(stored, StoredDataset):
            once = list(dict.fromkeys(self.url)) if isinstance(self.url, (list, tuple)) else self.url
            stored = open_dataset(once, filesystem=self.filesystem, unmapped="omit")
        return stored, self.pool(isinstance(stored.filesystem, pafs.LocalFileSystem))

    def times(self, stored: StoredDataset) -> Array:
        """int64: how often each row group is read in an epoch: as often as its file is listed."""
        inventory = stored.inventory
        times = np.ones(len(inventory.files), np.int64)
        listed = Counter(self.url) if isinstance(self.url, (list, tuple)) else Counter()
        for item, count in listed.items():
            if count > 1:
                paths = {file.path for file in open_dataset([item], filesystem=self.filesystem, unmapped="omit").files}
                times[[file.path in paths for file in inventory.files]] = count
        return times[inventory.row_group_file]

    def wanted(self, stored: StoredDataset, pool: PoolOptions) -> Wanted:
        """What is to be read of a dataset."""
        rows, row_groups, slices = self.shuffling
        spec = self.transform_spec
        return Wanted(
            None if isinstance(self.fields, NGram) else self.fields,
            self.ngram,
            self.predicate,
            self.filters,
            self.selector,
            None if spec is None else spec.for_frames() if self.batched else spec.for_rows(),
            shuffle_of(rows, row_groups),
            self.seed,
            int(slices),
            self.shard,
            self.epochs,
            pool,
            self.cache.disk,
            self.batched,
            self.times(stored),
        )
