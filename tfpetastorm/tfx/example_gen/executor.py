"""The executor of UnischemaExampleGen: links, copies or rewrites the files of the input splits."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import pyarrow as pa
import pyarrow.fs as pafs
from tfx.components.example_gen import utils, write_split
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils
from tfx.types import standard_component_specs as names
from tfx.utils import proto_utils

from tfpetastorm.errors import DatasetChangedError, DatasetError, DatasetWarning, Place, describe
from tfpetastorm.read.fetch import Fetcher, Source
from tfpetastorm.schema.unischema import Unischema
from tfpetastorm.storage.metadata import UNISCHEMA_KEY
from tfpetastorm.stores.atomic import renames
from tfpetastorm.stores.filesystem import is_local, join
from tfpetastorm.tfmd import unischema_to_schema
from tfpetastorm.tfx.example_gen.layout import LISTS_KEY, SCRATCH, Artifact
from tfpetastorm.tfx.example_gen.matched import Matched, match
from tfpetastorm.tfx.example_gen.opened import InputFile, Inputs, open_inputs
from tfpetastorm.tfx.example_gen.options import Options
from tfpetastorm.tfx.example_gen.rewriting import Piece, Rewriting, pieces_of
from tfpetastorm.tfx.example_gen.splitting import Buckets
from tfpetastorm.tfxio.features import Feature, features_of, read_form
from tfpetastorm.upkeep.copying import compression_of


class Executor(base_beam_executor.BaseBeamExecutor):
    """See UnischemaExampleGen."""

    def Do(  # noqa: N802 - TFX's name
        self,
        input_dict: dict[str, list[Any]],
        output_dict: dict[str, list[Any]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Make the artifact. Raises what `match` and `open_inputs` raise, and `DatasetError` for rows that are bad."""
        taken = _Taken(exec_properties)
        examples = artifact_utils.get_single_instance(output_dict[names.EXAMPLES_KEY])
        examples.split_names = artifact_utils.encode_split_names(list(taken.splits))
        artifact = Artifact.at(examples.uri)
        options, inputs = taken.options, taken.inputs
        _refuse_inside(inputs, artifact)
        artifact.clear(taken.splits)
        rewriting = _rewriting(inputs, artifact, taken.buckets, options)
        if taken.buckets is not None or options.arrow_lists or inputs.why_rewritten:
            pieces = [
                piece
                for split, files in inputs.files.items()
                for piece in pieces_of(inputs, files, None if taken.buckets is not None else split)
            ]
            self._beam("Rewrite", pieces, _Rewrite(rewriting))
        else:
            copies = [
                copy
                for file in (file for files in inputs.files.values() for file in files)
                if (copy := _placed(inputs, file, artifact, link=options.mode == "link")) is not None
            ]
            if copies:
                self._beam("Copy", copies, _Copy(inputs.datasets[0].filesystem, artifact.filesystem))
        for split in taken.splits:
            if not _exists(artifact, split):
                rewriting.write_empty(split, "empty.parquet")
        if renames(artifact.filesystem):
            artifact.filesystem.create_dir(join(artifact.root, SCRATCH))
            artifact.filesystem.delete_dir(join(artifact.root, SCRATCH))
        rows = artifact.finish(taken.splits, rewriting.written, rewriting.pairs)
        for split, count in rows.items():
            if not count:
                warnings.warn(f"the split {split!r} of the examples has no rows.", DatasetWarning, stacklevel=2)
        examples_utils.set_payload_format(examples, example_gen_pb2.FORMAT_PARQUET)
        examples_utils.set_file_format(examples, "FILE_FORMAT_PARQUET")

    def _beam(self, label: str, items: list[Any], work: Any) -> None:
        with self._make_beam_pipeline() as pipeline:
            _ = pipeline | beam.Create(items) | beam.Reshuffle() | label >> beam.ParDo(work)


class _Taken:
    """What the execution properties ask for."""

    def __init__(self, properties: Mapping[str, Any]) -> None:
        base = properties.get(names.INPUT_BASE_KEY)
        config, output = example_gen_pb2.Input(), example_gen_pb2.Output()
        proto_utils.json_to_proto(properties[names.INPUT_CONFIG_KEY], config)
        proto_utils.json_to_proto(properties[names.OUTPUT_CONFIG_KEY], output)
        self.options = Options.of(properties)
        self.splits: tuple[str, ...] = tuple(utils.generate_output_split_names(config, output))
        matched = [match(base or "", one.name, one.pattern) for one in config.splits]
        _refuse_changed(matched, properties.get(utils.FINGERPRINT_PROPERTY_NAME))
        self.inputs = open_inputs(matched, **self.options.opening)
        self.buckets: Buckets | None = None
        if output.split_config.splits:
            sizes = tuple((split.name, split.hash_buckets) for split in output.split_config.splits)
            self.buckets = Buckets(sizes, output.split_config.partition_feature_name or None)
            self.buckets.check(self.inputs.schema)


def _rewriting(inputs: Inputs, artifact: Artifact, buckets: Buckets | None, options: Options) -> Rewriting:
    json = inputs.schema.to_json().encode()
    features: tuple[Feature, ...] = ()
    if options.arrow_lists:
        read = Unischema.rebuilt(inputs.schema.schema_name, [read_form(field) for field in inputs.schema])
        features = features_of(unischema_to_schema(inputs.schema), read)
    return Rewriting(
        sources=tuple(
            Source(one.filesystem, one.inventory, one.column_paths, one.partition_fields) for one in inputs.datasets
        ),
        schema=inputs.schema,
        columns=inputs.columns,
        features=features,
        pairs={LISTS_KEY if options.arrow_lists else UNISCHEMA_KEY: json},
        buckets=buckets,
        artifact=artifact,
        row_group_rows=max((int(max(one.inventory.row_group_rows, default=1)) for one in inputs.datasets), default=1)
        or 1,
        compression=compression_of(inputs.datasets[0]),
    )


def _refuse_changed(matched: Sequence[Matched], fingerprint: str | None) -> None:
    """Raise `DatasetChangedError` if the driver found other input: the cache would have these examples for that."""
    for one, seen in zip(matched, (fingerprint or "").split("\n"), strict=False):
        if seen and seen != one.fingerprint:
            raise DatasetChangedError(
                describe(
                    f"the input has changed since the driver looked at it (input split {one.split!r})",
                    expected=seen,
                    found=one.fingerprint,
                    remedy="Let who writes it finish, and run the pipeline again.",
                )
            )


def _refuse_inside(inputs: Inputs, artifact: Artifact) -> None:
    """Raise `DatasetError` for inputs that lie in the artifact, which is emptied first."""
    inside = f"{artifact.root.rstrip('/')}/"
    for dataset in inputs.datasets:
        if type(dataset.filesystem) is not type(artifact.filesystem):
            continue
        for file in dataset.files:
            path = str(Path(file.path).resolve()) if is_local(dataset.filesystem) else file.path
            if path.startswith((inside, f"{Path(artifact.root).resolve()}/")):
                raise DatasetError(
                    describe("an input lies where the examples are to be written", Place(file=file.path))
                )


def _exists(artifact: Artifact, split: str) -> bool:
    """Whether a split has files."""
    return bool(artifact.filesystem.get_file_info(pafs.FileSelector(artifact.folder(split), allow_not_found=True)))


def _placed(inputs: Inputs, file: InputFile, artifact: Artifact, *, link: bool) -> tuple[str, str] | None:
    """Link the file into the artifact. What has to be copied, and to where, if it can't be or should not."""
    source, target = file.file.path, artifact.path(file.split, file.name)
    if link and is_local(inputs.datasets[file.dataset].filesystem) and is_local(artifact.filesystem):
        try:
            # Of a symbolic link, what it points to.
            os.link(Path(source).resolve(), target)
        except FileExistsError:
            # Never copied over: what is there may be a link, and its bytes the source's own.
            raise DatasetError(describe("there is another file where an input should go", Place(file=target))) from None
        except OSError:
            pass  # another device, another owner, or no links at all
        else:
            return None
    return source, target


class _Copy(beam.DoFn):
    """Copies files, byte by byte."""

    def __init__(self, source: pafs.FileSystem, target: pafs.FileSystem) -> None:
        self._source, self._target = source, target

    def process(self, element: tuple[str, str]) -> Iterable[None]:
        """element: a path on the source, and one on the target."""
        source, target = element
        try:
            pafs.copy_files(source, target, source_filesystem=self._source, destination_filesystem=self._target)
        except (OSError, pa.ArrowException) as error:
            raise DatasetError(describe(f"can't copy a file: {error}", Place(file=source))) from None
        return ()


class _Rewrite(beam.DoFn):
    """Rewrites pieces."""

    def __init__(self, rewriting: Rewriting) -> None:
        self._rewriting = rewriting
        self._fetchers: dict[int, Fetcher] = {}
        self._rows = beam.metrics.Metrics.counter(write_split.METRICS_NAMESPACE, "num_instances")

    def process(self, element: Piece) -> Iterable[None]:
        """Write what becomes of a piece."""
        if element.dataset not in self._fetchers:
            self._fetchers[element.dataset] = Fetcher(self._rewriting.sources[element.dataset])
        self._rows.inc(self._rewriting.run(element, self._fetchers[element.dataset]))
        return ()

    def teardown(self) -> None:
        """Let go of open files."""
        for fetcher in self._fetchers.values():
            fetcher.close()
        self._fetchers.clear()
