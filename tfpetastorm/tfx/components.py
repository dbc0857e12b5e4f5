"""TFX's components with Parquet read through UnischemaTFXIO."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tfx.components.evaluator.component import Evaluator
from tfx.components.statistics_gen.component import StatisticsGen
from tfx.components.trainer.component import Trainer
from tfx.components.transform.component import Transform
from tfx.components.tuner.component import Tuner
from tfx.dsl.components.base import executor_spec

from tfpetastorm.schema.codecs.base import Codec
from tfpetastorm.tfx import executors
from tfpetastorm.tfx.own_codecs import CODECS, codecs_to_text

#: What Evaluator imports where it runs.
_EVALUATION = "tfpetastorm.tfx.evaluation"


class _TakesCodecs:
    """A component that hands the user's own codecs to its executor, as an execution property beside TFX's."""

    def __init__(self, *inputs: Any, codecs: Iterable[type[Codec]] = (), **options: Any) -> None:
        super().__init__(*inputs, **options)
        text = codecs_to_text(codecs)
        if text is not None:
            self.spec.exec_properties[CODECS] = text  # type: ignore[attr-defined]


class UnischemaStatisticsGen(_TakesCodecs, StatisticsGen):
    """TFX's StatisticsGen, with its arguments and outputs, for Examples of Parquet as well.

    The statistics are those that TFDV has for `tf.Example`s of the same rows. codecs: the user's own codec classes.
    """

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executors.StatisticsGenExecutor)


class UnischemaTransform(_TakesCodecs, Transform):
    """TFX's Transform, with its arguments and outputs, for Examples of Parquet as well.

    Materialized examples of Parquet are Parquet, with columns of lists, and their artifact says so. codecs: the user's
    own codec classes.
    """

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executors.TransformExecutor)


class UnischemaTrainer(_TakesCodecs, Trainer):
    """TFX's Trainer, with its arguments and outputs: `fn_args.data_accessor` reads Parquet as well.

    codecs: the user's own codec classes.
    """

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executors.TrainerExecutor)


class UnischemaTuner(_TakesCodecs, Tuner):
    """TFX's Tuner, with its arguments and outputs: `fn_args.data_accessor` reads Parquet as well.

    codecs: the user's own codec classes.
    """

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executors.TunerExecutor)


class UnischemaEvaluator(_TakesCodecs, Evaluator):
    """TFX's Evaluator, with its arguments and outputs, for Examples of Parquet as well.

    Without a module of yours it calls models by way of `tfpetastorm.tfx.evaluation`, since rows of Parquet are no
    `tf.Example`s: `ModelSpec(signature_name=...)` may name a function of features, such as the `serve` of
    `export_with_transform`. codecs: the user's own codec classes.
    """

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executors.EvaluatorExecutor)

    def __init__(self, *inputs: Any, **options: Any) -> None:
        if not options.get("module_file") and not options.get("module_path"):
            options["module_path"] = _EVALUATION
        super().__init__(*inputs, **options)
