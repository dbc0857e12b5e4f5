"""TFX's executors with Parquet read through UnischemaTFXIO. Otherwise they are TFX's own."""

from __future__ import annotations

from typing import Any

from tfx.components.evaluator import executor as evaluator
from tfx.components.statistics_gen import executor as statistics_gen
from tfx.components.trainer import executor as trainer
from tfx.components.transform import executor as transform
from tfx.components.tuner import executor as tuner
from tfx.components.util import examples_utils
from tfx.proto import example_gen_pb2
from tfx.types import standard_component_specs as keys

from tfpetastorm.tfx.materialization import PARQUET, materialization
from tfpetastorm.tfx.own_codecs import codecs_of
from tfpetastorm.tfx.scope import unischema_tfxio


class _ReadsUnischema:
    """An executor that runs in a scope, with the codecs that its component was given."""

    def Do(  # noqa: N802 TFX's name
        self, input_dict: dict[str, Any], output_dict: dict[str, Any], exec_properties: dict[str, Any]
    ) -> None:
        """See TFX's."""
        with unischema_tfxio(codecs_of(exec_properties)):
            super().Do(input_dict, output_dict, exec_properties)  # type: ignore[misc]


class StatisticsGenExecutor(_ReadsUnischema, statistics_gen.Executor):
    """Statistics of the values that rows have, decoded; images stay encoded."""


class TransformExecutor(_ReadsUnischema, transform.Executor):
    """Analysis and materialization of the values that rows have, decoded; images stay encoded."""

    def Do(  # noqa: N802 TFX's name
        self, input_dict: dict[str, Any], output_dict: dict[str, Any], exec_properties: dict[str, Any]
    ) -> None:
        """See TFX's."""
        with materialization.held():
            super().Do(input_dict, output_dict, exec_properties)
        # Transform writes what it reads, Parquet, but leaves the artifact to say TFRecord.
        if examples_utils.get_file_format(input_dict[keys.EXAMPLES_KEY][-1]) == PARQUET:
            for made in output_dict.get(keys.TRANSFORMED_EXAMPLES_KEY) or []:
                examples_utils.set_payload_format(made, example_gen_pb2.FORMAT_PARQUET)
                examples_utils.set_file_format(made, PARQUET)


class TrainerExecutor(_ReadsUnischema, trainer.GenericExecutor):
    """`fn_args.data_accessor` reads Unischema Parquet in `run_fn`, which need not call `with_data_accessor`."""


class TunerExecutor(_ReadsUnischema, tuner.Executor):
    """`fn_args.data_accessor` reads Unischema Parquet in `tuner_fn`, which need not call `with_data_accessor`."""


class EvaluatorExecutor(_ReadsUnischema, evaluator.Executor):
    """Models are evaluated on the values that rows have, decoded; images stay encoded."""
