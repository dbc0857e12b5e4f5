"""`make_reader` and `make_batch_reader`, with petastorm's arguments."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

from tfpetastorm.feed.launchers import agrees_with_launcher
from tfpetastorm.plan.ngram import NGram
from tfpetastorm.plan.numbers import whole_number
from tfpetastorm.reader.arguments import (
    UNSET,
    Shard,
    checked_url,
    filesystem_of,
    pool_of,
    seed_of,
    warn_of_dropped,
)
from tfpetastorm.reader.asked import Asked
from tfpetastorm.reader.caching import cache_of
from tfpetastorm.reader.reader import Reader
from tfpetastorm.storage.dataset import StoredDataset


def make_reader(
    dataset_url: Any,
    schema_fields: NGram | Iterable[Any] | None = None,
    reader_pool_type: str = "thread",
    workers_count: int = 10,
    pyarrow_serialize: bool = UNSET,
    results_queue_size: int = 50,
    seed: int | None = None,
    shuffle_rows: bool = False,
    shuffle_row_groups: bool = True,
    shuffle_row_drop_partitions: int = 1,
    predicate: Any = None,
    rowgroup_selector: Any = None,
    num_epochs: int | None = 1,
    cur_shard: int | None = None,
    shard_count: int | None = None,
    shard_seed: int | None = None,
    cache_type: str | None = "null",
    cache_location: Any = None,
    cache_size_limit: int | None = None,
    cache_row_size_estimate: int | None = None,
    cache_extra_settings: dict[str, Any] | None = None,
    hdfs_driver: str = UNSET,
    transform_spec: Any = None,
    filters: Any = None,
    storage_options: dict[str, Any] | None = None,
    zmq_copy_buffers: bool = UNSET,
    filesystem: Any = None,
    convert_early_to_numpy: bool = UNSET,
) -> Reader:
    """A `Reader` of rows as namedtuples: NumPy scalars, `numpy.str_`, `numpy.bytes_`, `Decimal`, `numpy.datetime64` and
    arrays, None for null. Rows are made from whole decoded columns.

    Args:
        dataset_url: a URL, a path, a glob or a list of files, of a petastorm dataset or of any Parquet.
        schema_fields: names, regular expressions that match a whole name, or fields, in the schema's order; or an
            `NGram`: elements are then `{offset: namedtuple}`.
        reader_pool_type: "thread", "process" or "dummy" (in the calling thread). Never changes what comes out.
        workers_count: threads or processes at most; for files on this machine no more threads than cores.
        pyarrow_serialize: without effect, with a DeprecationWarning that says why.
        results_queue_size: accepted as it was; what waits is bounded in decoded bytes instead.
        seed: decides every order; 0 is a seed. None draws one.
        shuffle_rows: mix rows, in blocks of about 48 MiB of decoded rows (n-grams: n-grams), each epoch anew.
        shuffle_row_groups: permute row groups, each epoch anew.
        shuffle_row_drop_partitions: cut each row group into so many parts, which are permuted for themselves, so that
            some row groups are read more than once; shuffle_rows mixes better and reads each once.
        predicate: a `PredicateBase`, or anything that `where=` of `make_dataset` takes.
        rowgroup_selector: row groups to read, by an index (see `build_rowgroup_index`).
        num_epochs: epochs of a pass; None for endless.
        cur_shard: which of `shard_count` parts to read: disjoint, together everything, equal in rows but for one
            (before a predicate), the same in every epoch. The seed decides which rows a shard has.
        shard_count: how many parts there are.
        shard_seed: deprecated: a seed for the shards alone.
        cache_type: "null", or "local-disk": decoded row groups are kept in a folder (see `LocalDiskCache`).
        cache_location: that folder.
        cache_size_limit: bytes that it may take.
        cache_row_size_estimate: accepted as it was; what is kept is measured.
        cache_extra_settings: more of `LocalDiskCache`'s arguments.
        hdfs_driver: without effect, with a DeprecationWarning that says why.
        transform_spec: a `TransformSpec`, called with each row as a dict, after the predicate.
        filters: tuples such as `[("speed", ">", 2.0)]`, for any scalar field, besides the predicate.
        storage_options: options of the URL's fsspec filesystem.
        zmq_copy_buffers: without effect, with a DeprecationWarning that says why.
        filesystem: a pyarrow or fsspec filesystem on which `dataset_url` is a path.
        convert_early_to_numpy: without effect, with a DeprecationWarning that says why.

    Raises OptionError (a ValueError) for what can't work, NoDataAvailableError for more shards than rows, DatasetError
    where the dataset can't be opened. A mistake in the predicate's fields is raised when the first row is asked for;
    damaged data when it is met. Warns where filters and the selector leave nothing to read, and where Horovod, MPI or
    TF_CONFIG say that this process is another of how many than cur_shard and shard_count do.
    """
    warn_of_dropped(
        {
            "pyarrow_serialize": pyarrow_serialize,
            "hdfs_driver": hdfs_driver,
            "zmq_copy_buffers": zmq_copy_buffers,
            "convert_early_to_numpy": convert_early_to_numpy,
        }
    )
    agrees_with_launcher(cur_shard, shard_count)
    return _made(
        dataset_url,
        schema_fields,
        (reader_pool_type, workers_count, results_queue_size),
        (seed, shard_seed),
        (shuffle_rows, shuffle_row_groups, shuffle_row_drop_partitions),
        (predicate, filters, rowgroup_selector, transform_spec),
        num_epochs,
        (cur_shard, shard_count),
        (cache_type, cache_location, cache_size_limit, cache_row_size_estimate, cache_extra_settings),
        (filesystem, storage_options),
        batched=False,
    )


def make_batch_reader(
    dataset_url_or_urls: Any,
    schema_fields: Iterable[Any] | None = None,
    reader_pool_type: str = "thread",
    workers_count: int = 10,
    results_queue_size: int = 50,
    seed: int | None = None,
    shuffle_rows: bool = False,
    shuffle_row_groups: bool = True,
    shuffle_row_drop_partitions: int = 1,
    predicate: Any = None,
    rowgroup_selector: Any = None,
    num_epochs: int | None = 1,
    cur_shard: int | None = None,
    shard_count: int | None = None,
    shard_seed: int | None = None,
    cache_type: str | None = "null",
    cache_location: Any = None,
    cache_size_limit: int | None = None,
    cache_row_size_estimate: int | None = None,
    cache_extra_settings: dict[str, Any] | None = None,
    hdfs_driver: str = UNSET,
    transform_spec: Any = None,
    filters: Any = None,
    storage_options: dict[str, Any] | None = None,
    zmq_copy_buffers: bool = UNSET,
    filesystem: Any = None,
    convert_early_to_numpy: bool = UNSET,
) -> Reader:
    """A `Reader` of batches: a namedtuple of arrays `[rows, ...]` for each row group, or slice of a large one. Codecs
    are decoded.

    Numbers, bools and datetimes are `[rows, *shape]` in their own dtype; dates datetime64[D]. str is an array of
    NumPy's strings (of objects where these would waste memory or lose a NUL at the end); bytes and Decimals are
    objects. A field of variable shape is `[rows, ...]` where all cells of the batch happen to have one shape, else an
    array of objects, an array for each row. Nulls are NaN in floats, NaT in datetimes and dates, None in objects, and
    masked (`numpy.ma`) in integers and bools, whose dtype stays.

    The arguments are those of `make_reader`, but: no NGram; a predicate of the user's own is called with a pandas frame
    and returns a bool for each row; `transform_spec` is called with a pandas frame.
    """
    warn_of_dropped(
        {
            "hdfs_driver": hdfs_driver,
            "zmq_copy_buffers": zmq_copy_buffers,
            "convert_early_to_numpy": convert_early_to_numpy,
        }
    )
    agrees_with_launcher(cur_shard, shard_count)
    return _made(
        dataset_url_or_urls,
        schema_fields,
        (reader_pool_type, workers_count, results_queue_size),
        (seed, shard_seed),
        (shuffle_rows, shuffle_row_groups, shuffle_row_drop_partitions),
        (predicate, filters, rowgroup_selector, transform_spec),
        num_epochs,
        (cur_shard, shard_count),
        (cache_type, cache_location, cache_size_limit, cache_row_size_estimate, cache_extra_settings),
        (filesystem, storage_options),
        batched=True,
    )


def _made(
    url: Any,
    fields: Any,
    workers: tuple[Any, Any, Any],
    seeds: tuple[Any, Any],
    shuffling: tuple[Any, Any, Any],
    choice: tuple[Any, Any, Any, Any],
    epochs: Any,
    shard: tuple[Any, Any],
    cache: tuple[Any, ...],
    place: tuple[Any, Any],
    batched: bool,
) -> Reader:
    pool_type, workers_count, queue_size = workers
    whole_number("results_queue_size", queue_size, 1)
    order, membership = seed_of(*seeds)
    part = Shard.of(*shard, membership)
    kept = cache_of(*cache)
    path, filesystem = (url, None) if isinstance(url, StoredDataset) else filesystem_of(checked_url(url), *place)
    pool = functools.partial(pool_of, pool_type, workers_count)
    asked = Asked(path, filesystem, fields, *choice, shuffling, order, part, epochs, pool, kept, batched)
    return Reader.of(asked)
