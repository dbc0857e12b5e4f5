"""UnischemaSchemaGen: the stored Unischema of examples as TFX's schema, rather than one inferred from statistics."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from typing import Any

from google.protobuf import text_format
from tfx import types
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils, component_spec, standard_artifacts
from tfx.types import standard_component_specs as names

from tfpetastorm.errors import DatasetError, describe
from tfpetastorm.schema.codecs.base import Codec
from tfpetastorm.schema.unischema import Unischema
from tfpetastorm.tfmd import unischema_to_schema
from tfpetastorm.tfx.example_gen.layout import artifact_schema, common_schema
from tfpetastorm.tfx.own_codecs import CODECS, codecs_of, codecs_to_text

#: What TFX calls the file, wherever it reads a schema.
_FILE = "schema.pbtxt"


class Executor(base_executor.BaseExecutor):
    """See UnischemaSchemaGen."""

    def Do(  # noqa: N802 - TFX's name
        self,
        input_dict: dict[str, list[Any]],
        output_dict: dict[str, list[Any]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Write the schema.

        Raises `DatasetError` for examples that are not Parquet, `SchemaMismatchError` where artifacts differ.
        """
        codecs = codecs_of(exec_properties)
        found: dict[str, Unischema] = {}
        for examples in input_dict[names.EXAMPLES_KEY]:
            payload = examples_utils.get_payload_format(examples)
            if payload != example_gen_pb2.FORMAT_PARQUET:
                raise DatasetError(
                    describe(
                        f"the examples at {examples.uri} hold no Unischema",
                        expected="FORMAT_PARQUET",
                        found=example_gen_pb2.PayloadFormat.Name(payload),
                        remedy="Make them by UnischemaExampleGen, or take TFX's own SchemaGen.",
                    )
                )
            splits = artifact_utils.decode_split_names(examples.split_names)
            found[examples.uri] = artifact_schema(examples.uri, splits, codecs)
        proto = unischema_to_schema(common_schema(found, "examples at"))
        schema = artifact_utils.get_single_instance(output_dict[names.SCHEMA_KEY])
        with fileio.open(posixpath.join(schema.uri, _FILE), "w") as file:
            file.write(text_format.MessageToString(proto))


class UnischemaSchemaGenSpec(component_spec.ComponentSpec):
    """What UnischemaSchemaGen takes and gives."""

    PARAMETERS = {CODECS: component_spec.ExecutionParameter(type=str, optional=True)}  # noqa: RUF012 - TFX's form
    INPUTS = {names.EXAMPLES_KEY: component_spec.ChannelParameter(type=standard_artifacts.Examples)}  # noqa: RUF012
    OUTPUTS = {names.SCHEMA_KEY: component_spec.ChannelParameter(type=standard_artifacts.Schema)}  # noqa: RUF012


class UnischemaSchemaGen(base_component.BaseComponent):
    """The schema of examples as they declare it: dtypes, shapes, what may be null, and codecs, as `tfmd` tells.

    Component `outputs` contains `schema`, of type `standard_artifacts.Schema`, in place of SchemaGen's; nothing has to
    be computed first. Of Parquet without a Unischema it is what its columns amount to.
    """

    SPEC_CLASS = UnischemaSchemaGenSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(self, examples: Any, codecs: Iterable[type[Codec]] = ()) -> None:
        """examples: a channel of `standard_artifacts.Examples`, of Parquet. codecs: your own codec classes.

        Executors import the codecs; a field whose codec is not given becomes a feature of the bytes that are stored.
        """
        spec = UnischemaSchemaGenSpec(
            **{
                names.EXAMPLES_KEY: examples,
                CODECS: codecs_to_text(codecs),
                names.SCHEMA_KEY: types.Channel(type=standard_artifacts.Schema),
            }
        )
        super().__init__(spec=spec)
