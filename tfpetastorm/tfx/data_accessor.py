"""`with_data_accessor`: how a `run_fn` or `tuner_fn` reads Unischema Parquet under TFX's own Trainer and Tuner."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from typing import Any

from tfpetastorm.schema.codecs.base import Codec
from tfpetastorm.tfxio import UnischemaTFXIO

#: As TFX's own accessors say who reads.
_TELEMETRY = ["Trainer"]


def with_data_accessor(fn_args: Any, codecs: Iterable[type[Codec]] = (), filesystem: Any = None) -> Any:
    """A copy of `fn_args` whose `data_accessor` reads Unischema Parquet; `fn_args` itself is left alone.

    Its `tf_dataset_factory(file_patterns, options, schema)` and `record_batch_factory` are called as TFX's are, and
    read `fn_args.train_files` and `fn_args.eval_files`. `schema`, a schema proto, decides which features there are and
    what they become; None takes all as the dataset's own schema has them.

    fn_args: TFX's FnArgs, of Trainer or Tuner. codecs: the user's own codec classes that the dataset names.
    filesystem: a pyarrow or fsspec filesystem on which the patterns are paths.
    """
    own = tuple(codecs)

    def reader(file_pattern: Any, schema: Any) -> Any:
        return UnischemaTFXIO(
            file_pattern, schema=schema, codecs=own, filesystem=filesystem, telemetry_descriptors=_TELEMETRY
        )

    def tf_dataset_factory(file_pattern: Any, options: Any, schema: Any = None) -> Any:
        return reader(file_pattern, schema).TensorFlowDataset(options)

    def record_batch_factory(file_pattern: Any, options: Any, schema: Any = None) -> Iterator[Any]:
        made: Iterator[Any] = reader(file_pattern, schema).RecordBatches(options)
        return made

    changed = copy.copy(fn_args)
    changed.data_accessor = _accessor(fn_args)._replace(
        tf_dataset_factory=tf_dataset_factory, record_batch_factory=record_batch_factory
    )
    return changed


def _accessor(fn_args: Any) -> Any:
    if fn_args.data_accessor is not None:
        return fn_args.data_accessor
    from tfx.components.trainer.fn_args_utils import DataAccessor

    return DataAccessor(None, None, None)
