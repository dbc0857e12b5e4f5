"""UnischemaExampleGen: a Parquet dataset as TFX's examples, without a copy in another format."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from tfx.components import FileBasedExampleGen
from tfx.dsl.components.base import executor_spec
from tfx.proto import example_gen_pb2

from tfpetastorm.schema.codecs.base import Codec
from tfpetastorm.tfx.example_gen.driver import Driver
from tfpetastorm.tfx.example_gen.executor import Executor
from tfpetastorm.tfx.example_gen.options import Options
from tfpetastorm.tfx.own_codecs import codecs_to_text


class UnischemaExampleGen(FileBasedExampleGen):
    """Examples of the payload format FORMAT_PARQUET: the dataset's own files, or its rows split anew.

    Component `outputs` contains `examples`, of type `standard_artifacts.Examples`.

    The input is Parquet with a Unischema, petastorm's datasets, or plain Parquet, whose schema is inferred. Committed
    lists of files are respected. Several input splits become the output splits: their files are linked or copied, and
    rewritten only where values lie in the names of folders (`key=value`) or in structs. Of a single input split the
    rows are split by hash buckets, 2:1 into "train" and "eval" unless `output_config` tells: cells are written as they
    are stored, and equal rows get into the same split, whichever file they come from.
    """

    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(Executor)
    DRIVER_CLASS = Driver

    def __init__(
        self,
        input_base: str | None = None,
        input_config: Any = None,
        output_config: Any = None,
        range_config: Any = None,
        mode: Literal["link", "copy"] = "link",
        arrow_lists: bool = False,
        unmapped: Literal["error", "omit"] = "error",
        codecs: Iterable[type[Codec]] = (),
    ) -> None:
        """input_base: a folder or URL; a dataset, or what holds several.

        input_config: an `example_gen_pb2.Input`, its patterns relative to `input_base`: files or folders, also with
        `*`, `**`, {SPAN}, {VERSION} and {YYYY}, {MM}, {DD}. Unless given, all of `input_base` is one split.
        output_config: an `example_gen_pb2.Output`; its `partition_feature_name` may be a field of ints, text, bytes,
        dates or times. range_config: a `range_config_pb2.RangeConfig`, which spans are considered.
        mode: "link" makes hard links, or copies where that can't be; "copy" always copies. A linked file is the
        source's own: it must not be changed in its place, only replaced.
        arrow_lists: rewrite all to the lists that TFX's own components need: `large_list` of int64, float or
        large_binary, in the order of the schema, arrays decoded, images encoded as they are.
        unmapped: what to do with a column of plain Parquet that no field can hold: "error", or "omit".
        codecs: your own codec classes, which `arrow_lists` decodes by; executors import them.

        Raises `OptionError` for another mode, or a codec that can't be imported.
        """
        options = Options(mode, bool(arrow_lists), unmapped, codecs_to_text(codecs))
        super().__init__(
            input_base=input_base,
            input_config=input_config,
            output_config=output_config,
            range_config=range_config,
            custom_config=options.to_proto(),
            output_data_format=example_gen_pb2.FORMAT_PARQUET,
            output_file_format=example_gen_pb2.FILE_FORMAT_PARQUET,
        )
