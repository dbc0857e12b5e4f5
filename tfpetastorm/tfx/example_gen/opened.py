"""The matched files of all input splits, opened: their schema, footers and row groups."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import pyarrow as pa

from tfpetastorm.errors import DamagedDataError, DatasetError, describe
from tfpetastorm.schema.codecs.base import Codec
from tfpetastorm.schema.reconcile import reconcile
from tfpetastorm.schema.unischema import Unischema
from tfpetastorm.storage.dataset import StoredDataset
from tfpetastorm.storage.inventory import DataFile
from tfpetastorm.storage.listing import parquet_like
from tfpetastorm.storage.opening import open_dataset
from tfpetastorm.tfx.example_gen.layout import common_schema
from tfpetastorm.tfx.example_gen.matched import Matched
from tfpetastorm.upkeep.columns import stored_columns

#: What is a pattern, or no plain name, to some of those who read an artifact.
_AWKWARD = re.compile(r"[^\w.=+-]")


@dataclass(frozen=True)
class InputFile:
    """One data file of a split. dataset: index in `Inputs.datasets`. index: of the file in that dataset.

    name: its own in the artifact's folder of the split, where no other has it.
    """

    split: str
    dataset: int
    index: int
    file: DataFile
    name: str


@dataclass(frozen=True, eq=False)
class Inputs:
    """What is read. schema: of all of it. files: by input split, in the order of their paths."""

    schema: Unischema
    datasets: tuple[StoredDataset, ...]
    files: dict[str, tuple[InputFile, ...]]

    @cached_property
    def columns(self) -> pa.Schema:
        """The columns as stored, types widened where files differ; those of partition folders and structs too."""
        names = list(self.schema.fields)
        return reconcile({dataset.url: stored_columns(dataset, names) for dataset in self.datasets})

    @property
    def why_rewritten(self) -> str:
        """Why the files as they are would not do as an artifact; empty if they do."""
        for dataset in self.datasets:
            if dataset.partition_fields:
                return f"the values of {', '.join(dataset.partition_fields)} are in the names of folders"
            inner = [name for name, path in dataset.column_paths.items() if len(path) > 1]
            if inner:
                return f"{', '.join(inner)} are members of structs"
        return ""


def open_inputs(
    matched: Sequence[Matched], *, unmapped: Literal["error", "omit"] = "error", codecs: Sequence[type[Codec]] = ()
) -> Inputs:
    """Read the footers of all files. unmapped, codecs: as for `open_dataset`, which tells what it raises.

    Raises `SchemaMismatchError` where the splits have no schema in common, `DatasetError` where none has a file.
    """
    datasets: list[StoredDataset] = []
    home: dict[str, tuple[int, int]] = {}
    options: dict[str, Any] = {"codecs": tuple(codecs), "unmapped": unmapped, "sidecar": "never"}
    wanted = {info.path for one in matched for info in one.infos}
    loose = sorted({info.path for one in matched for info, root in _pairs(one) if root is None})
    roots = sorted({root for one in matched for _, root in _pairs(one) if root is not None})
    filesystem = matched[0].filesystem

    def bad(file: DataFile, error: DamagedDataError) -> None:
        if file.path in wanted:
            raise error

    for url in [*roots, *([loose] if loose else [])]:
        dataset = open_dataset(url, filesystem=filesystem, on_bad_file=bad, **options)
        home |= {file.path: (len(datasets), i) for i, file in enumerate(dataset.files) if file.path in wanted}
        datasets.append(dataset)
    if not datasets:
        raise DatasetError(
            describe(
                "no input split has any file",
                expected="rows in one of them",
                found=f"datasets that were committed without any, at {', '.join(one.url for one in matched)}",
                remedy="Let the pipeline run when there are rows.",
            )
        )
    # Of those without files there is nothing but a schema.
    empty = [
        open_dataset(root, filesystem=filesystem, **options)
        for one in matched
        if not one.infos
        for root in one.metadata
    ]
    remedy = "Rewrite one of them with the other's schema, or read them by an ExampleGen each."
    schema = common_schema({one.url: one.schema for one in [*datasets, *empty]}, "inputs", remedy)
    files = {
        one.split: tuple(
            InputFile(one.split, *home[info.path], datasets[home[info.path][0]].files[home[info.path][1]], name)
            for info, name in zip(one.infos, _names(one), strict=True)
        )
        for one in matched
    }
    return Inputs(schema, tuple(datasets), files)


def _pairs(matched: Matched) -> list[tuple[Any, str | None]]:
    return list(zip(matched.infos, matched.roots, strict=True))


def _names(matched: Matched) -> list[str]:
    """A name for each file: its own, as far as that is one of its kind; folders above it tell others apart."""
    paths = [info.path for info in matched.infos]
    bases = [posixpath.basename(path) for path in paths]
    if len(set(bases)) < len(bases):
        common = posixpath.commonpath([posixpath.dirname(path) for path in paths])
        bases = [path[len(common) :].lstrip("/").replace("/", "-") for path in paths]
    names: list[str] = []
    taken: set[str] = set()
    for base in bases:
        stem = _AWKWARD.sub("_", base).lstrip("._")
        stem = stem[: stem.rindex(".")] if parquet_like(stem) else stem
        name, count = f"{stem}.parquet", 1
        # Also where upper and lower case are one.
        while name.casefold() in taken:
            name, count = f"{stem}-{count}.parquet", count + 1
        taken.add(name.casefold())
        names.append(name)
    return names
