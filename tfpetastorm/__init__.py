"""Feeds TensorFlow training from Apache Parquet.

The names below are loaded when first used: `import tfpetastorm` alone imports neither TensorFlow nor pyarrow, which is
also what lets worker processes start fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfpetastorm import keras as keras
    from tfpetastorm import torch as torch
    from tfpetastorm.errors import DatasetError as DatasetError
    from tfpetastorm.errors import NoDataAvailableError as NoDataAvailableError
    from tfpetastorm.errors import StoreError as StoreError
    from tfpetastorm.errors import TfpetastormError as TfpetastormError
    from tfpetastorm.feed.index_building import build_rowgroup_index as build_rowgroup_index
    from tfpetastorm.feed.skip import Skip as Skip
    from tfpetastorm.plan.ngram import NGram as NGram
    from tfpetastorm.plan.ngram import Window as Window
    from tfpetastorm.plan.order import Shuffle as Shuffle
    from tfpetastorm.plan.position import Position as Position
    from tfpetastorm.plan.split import Split as Split
    from tfpetastorm.pool.options import PoolOptions as PoolOptions
    from tfpetastorm.read.cache import DiskCache as DiskCache
    from tfpetastorm.read.nulls import Nulls as Nulls
    from tfpetastorm.read.predicate import ColumnPredicate as ColumnPredicate
    from tfpetastorm.read.predicates import PredicateBase as PredicateBase
    from tfpetastorm.read.predicates import in_intersection as in_intersection
    from tfpetastorm.read.predicates import in_lambda as in_lambda
    from tfpetastorm.read.predicates import in_negate as in_negate
    from tfpetastorm.read.predicates import in_pseudorandom_split as in_pseudorandom_split
    from tfpetastorm.read.predicates import in_reduce as in_reduce
    from tfpetastorm.read.predicates import in_set as in_set
    from tfpetastorm.read.transform import Transform as Transform
    from tfpetastorm.read.transform_spec import TransformSpec as TransformSpec
    from tfpetastorm.reader.factories import make_batch_reader as make_batch_reader
    from tfpetastorm.reader.factories import make_reader as make_reader
    from tfpetastorm.reader.reader import Reader as Reader
    from tfpetastorm.reader.weighted import WeightedSamplingReader as WeightedSamplingReader
    from tfpetastorm.schema.codecs import Codec as Codec
    from tfpetastorm.schema.codecs import CompressedImageCodec as CompressedImageCodec
    from tfpetastorm.schema.codecs import CompressedNdarrayCodec as CompressedNdarrayCodec
    from tfpetastorm.schema.codecs import NdarrayCodec as NdarrayCodec
    from tfpetastorm.schema.codecs import ScalarCodec as ScalarCodec
    from tfpetastorm.schema.codecs import TensorCodec as TensorCodec
    from tfpetastorm.schema.field import UnischemaField as UnischemaField
    from tfpetastorm.schema.generate import generate_datapoint as generate_datapoint
    from tfpetastorm.schema.unischema import Unischema as Unischema
    from tfpetastorm.storage.indexers import FieldNotNullIndexer as FieldNotNullIndexer
    from tfpetastorm.storage.indexers import RowGroupIndexerBase as RowGroupIndexerBase
    from tfpetastorm.storage.indexers import SingleFieldIndexer as SingleFieldIndexer
    from tfpetastorm.storage.opening import open_dataset as open_dataset
    from tfpetastorm.storage.selectors import DifferenceIndexSelector as DifferenceIndexSelector
    from tfpetastorm.storage.selectors import IntersectIndexSelector as IntersectIndexSelector
    from tfpetastorm.storage.selectors import RowGroupSelectorBase as RowGroupSelectorBase
    from tfpetastorm.storage.selectors import SingleIndexSelector as SingleIndexSelector
    from tfpetastorm.storage.selectors import UnionIndexSelector as UnionIndexSelector
    from tfpetastorm.stores.gfile_handler import gfile_filesystem as gfile_filesystem
    from tfpetastorm.tfdata.dataset import close as close
    from tfpetastorm.tfdata.dataset import make_dataset as make_dataset
    from tfpetastorm.tfdata.dataset import position as position
    from tfpetastorm.tfdata.dataset import stats as stats
    from tfpetastorm.tfdata.dataset import steps as steps
    from tfpetastorm.tfdata.from_reader import make_petastorm_dataset as make_petastorm_dataset
    from tfpetastorm.tfdata.mix import mix as mix
    from tfpetastorm.tfdata.monitor import Monitor as Monitor
    from tfpetastorm.tfdata.specs import tensor_specs as tensor_specs
    from tfpetastorm.upkeep.copying import copy_dataset as copy_dataset
    from tfpetastorm.writing.parallel import ParallelWrite as ParallelWrite
    from tfpetastorm.writing.writer import DatasetWriter as DatasetWriter
    from tfpetastorm.writing.written_part import WrittenPart as WrittenPart

__version__ = "0.1.0"

# Petastorm's own module names, `tfpetastorm.predicates` for `petastorm.predicates`, are all in one folder.
__path__ += [f"{folder}/petastorm" for folder in __path__]

_HOMES = {
    "Codec": "schema.codecs",
    "ColumnPredicate": "read.predicate",
    "CompressedImageCodec": "schema.codecs",
    "CompressedNdarrayCodec": "schema.codecs",
    "DatasetError": "errors",
    "DatasetWriter": "writing.writer",
    "DiskCache": "read.cache",
    "DifferenceIndexSelector": "storage.selectors",
    "FieldNotNullIndexer": "storage.indexers",
    "IntersectIndexSelector": "storage.selectors",
    "Monitor": "tfdata.monitor",
    "NGram": "plan.ngram",
    "NdarrayCodec": "schema.codecs",
    "NoDataAvailableError": "errors",
    "Nulls": "read.nulls",
    "ParallelWrite": "writing.parallel",
    "PoolOptions": "pool.options",
    "Position": "plan.position",
    "PredicateBase": "read.predicates",
    "Reader": "reader.reader",
    "RowGroupIndexerBase": "storage.indexers",
    "RowGroupSelectorBase": "storage.selectors",
    "ScalarCodec": "schema.codecs",
    "Shuffle": "plan.order",
    "SingleFieldIndexer": "storage.indexers",
    "SingleIndexSelector": "storage.selectors",
    "Skip": "feed.skip",
    "Split": "plan.split",
    "StoreError": "errors",
    "TensorCodec": "schema.codecs",
    "TfpetastormError": "errors",
    "Transform": "read.transform",
    "TransformSpec": "read.transform_spec",
    "UnionIndexSelector": "storage.selectors",
    "Unischema": "schema.unischema",
    "UnischemaField": "schema.field",
    "WeightedSamplingReader": "reader.weighted",
    "Window": "plan.ngram",
    "WrittenPart": "writing.written_part",
    "build_rowgroup_index": "feed.index_building",
    "close": "tfdata.dataset",
    "copy_dataset": "upkeep.copying",
    "generate_datapoint": "schema.generate",
    "gfile_filesystem": "stores.gfile_handler",
    "in_intersection": "read.predicates",
    "in_lambda": "read.predicates",
    "in_negate": "read.predicates",
    "in_pseudorandom_split": "read.predicates",
    "in_reduce": "read.predicates",
    "in_set": "read.predicates",
    "make_batch_reader": "reader.factories",
    "make_dataset": "tfdata.dataset",
    "make_petastorm_dataset": "tfdata.from_reader",
    "make_reader": "reader.factories",
    "mix": "tfdata.mix",
    "open_dataset": "storage.opening",
    "position": "tfdata.dataset",
    "stats": "tfdata.dataset",
    "steps": "tfdata.dataset",
    "tensor_specs": "tfdata.specs",
}

_MODULES = ["keras", "torch"]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"tfpetastorm.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'tfpetastorm' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"tfpetastorm.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES, *_MODULES])
