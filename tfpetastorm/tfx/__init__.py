"""TFX components over Unischema Parquet: pipelines read the data as it lies, without a copy to TFRecord.

TFX, the extra `tfx`, is imported only when a name that needs it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from tfpetastorm.tfx.package import load

if TYPE_CHECKING:
    from tfpetastorm.tfx.components import UnischemaEvaluator as UnischemaEvaluator
    from tfpetastorm.tfx.components import UnischemaStatisticsGen as UnischemaStatisticsGen
    from tfpetastorm.tfx.components import UnischemaTrainer as UnischemaTrainer
    from tfpetastorm.tfx.components import UnischemaTransform as UnischemaTransform
    from tfpetastorm.tfx.components import UnischemaTuner as UnischemaTuner
    from tfpetastorm.tfx.data_accessor import with_data_accessor as with_data_accessor
    from tfpetastorm.tfx.example_gen.component import UnischemaExampleGen as UnischemaExampleGen
    from tfpetastorm.tfx.executors import EvaluatorExecutor as EvaluatorExecutor
    from tfpetastorm.tfx.executors import StatisticsGenExecutor as StatisticsGenExecutor
    from tfpetastorm.tfx.executors import TrainerExecutor as TrainerExecutor
    from tfpetastorm.tfx.executors import TransformExecutor as TransformExecutor
    from tfpetastorm.tfx.executors import TunerExecutor as TunerExecutor
    from tfpetastorm.tfx.schema_gen import UnischemaSchemaGen as UnischemaSchemaGen
    from tfpetastorm.tfx.scope import unischema_tfxio as unischema_tfxio
    from tfpetastorm.tfx.serving import export_with_transform as export_with_transform
    from tfpetastorm.tfx.transform_graph import TransformGraph as TransformGraph
    from tfpetastorm.tfx.transform_graph import apply_transform_graph as apply_transform_graph

_HOMES = {
    "EvaluatorExecutor": "executors",
    "StatisticsGenExecutor": "executors",
    "TrainerExecutor": "executors",
    "TransformExecutor": "executors",
    "TransformGraph": "transform_graph",
    "TunerExecutor": "executors",
    "UnischemaEvaluator": "components",
    "UnischemaExampleGen": "example_gen.component",
    "UnischemaSchemaGen": "schema_gen",
    "UnischemaStatisticsGen": "components",
    "UnischemaTrainer": "components",
    "UnischemaTransform": "components",
    "UnischemaTuner": "components",
    "apply_transform_graph": "transform_graph",
    "export_with_transform": "serving",
    "unischema_tfxio": "scope",
    "with_data_accessor": "data_accessor",
}

#: Modules that do without TFX.
_WITHOUT_TFX = ["data_accessor", "serving", "transform_graph"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'tfpetastorm.tfx' has no attribute {name!r}")
    home = f"tfpetastorm.tfx.{_HOMES[name]}"
    value = getattr(importlib.import_module(home), name) if _HOMES[name] in _WITHOUT_TFX else load(home, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
