"""Rows on their way from input files to those of an artifact: row group by row group, as stored or as TFX's lists."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from tfpetastorm.errors import DatasetError, Place, describe
from tfpetastorm.read.fetch import Fetcher, Source
from tfpetastorm.schema.codecs import OpaqueCodec, decode_column
from tfpetastorm.schema.codecs.base import bad_cell_error
from tfpetastorm.schema.codecs.opaque import raw_field
from tfpetastorm.schema.field import UnischemaField
from tfpetastorm.schema.unischema import Unischema
from tfpetastorm.stores.atomic import renames, replace_file
from tfpetastorm.stores.filesystem import join
from tfpetastorm.tfx.example_gen.layout import SCRATCH, Artifact
from tfpetastorm.tfx.example_gen.opened import InputFile, Inputs
from tfpetastorm.tfx.example_gen.splitting import Buckets
from tfpetastorm.tfxio.arrow import to_arrow
from tfpetastorm.tfxio.features import Feature, read_form
from tfpetastorm.upkeep.columns import as_stored
from tfpetastorm.writing.chunks import Part, take_rows
from tfpetastorm.writing.parts import PartWriter, Sizes

#: Larger files are taken in several pieces, by as many workers: uncompressed bytes.
_PIECE_BYTES = 512 << 20


@dataclass(frozen=True)
class Piece:
    """Consecutive row groups of one input file. row_groups: by their index in the dataset. name: of what they become.

    split: where they go; None where buckets tell.
    """

    dataset: int
    row_groups: tuple[int, ...]
    name: str
    split: str | None


def pieces_of(inputs: Inputs, files: Sequence[InputFile], split: str | None) -> list[Piece]:
    """The pieces of all files of an input split: the same ones whoever takes them, of names that no other piece has.

    split: where they go; None where buckets tell.
    """
    taken = {file.name.casefold() for file in files}
    pieces = []
    for file in files:
        inventory = inputs.datasets[file.dataset].inventory
        groups = np.flatnonzero(inventory.row_group_file == file.index)
        before = np.cumsum(inventory.row_group_bytes[groups]) - inventory.row_group_bytes[groups]
        runs = [groups[before // _PIECE_BYTES == number] for number in np.unique(before // _PIECE_BYTES)]
        names = [file.name] if len(runs) == 1 else _names(file.name, len(runs), taken)
        pieces += [Piece(file.dataset, tuple(run.tolist()), name, split) for run, name in zip(runs, names, strict=True)]
    return pieces


def _names(name: str, count: int, taken: set[str]) -> list[str]:
    """Names for the pieces of a file, which are taken then. A file may be called like the piece of another."""
    stem, tries = name.removesuffix(".parquet"), 1
    while True:
        start = stem if tries == 1 else f"{stem}-{tries}"
        names = [f"{start}-of-{count}-{number:05d}.parquet" for number in range(count)]
        if taken.isdisjoint(one.casefold() for one in names):
            taken.update(one.casefold() for one in names)
            return names
        tries += 1


@dataclass(frozen=True, eq=False)
class Rewriting:
    """What is made of pieces, small enough to send to workers.

    columns: as stored, of the schema's fields in order. features: what to make of them, where TFX's lists are wanted.
    pairs: for the files' footers. row_group_rows: of the files that are written.
    """

    sources: tuple[Source, ...]
    schema: Unischema
    columns: pa.Schema
    features: tuple[Feature, ...]
    pairs: dict[bytes, bytes]
    buckets: Buckets | None
    artifact: Artifact
    row_group_rows: int
    compression: str

    @property
    def written(self) -> pa.Schema:
        """The columns of the files that are written."""
        if self.features:
            return pa.schema([pa.field(one.name, one.arrow_type) for one in self.features])
        return self.columns

    def run(self, piece: Piece, fetcher: Fetcher) -> int:
        """Write a piece. A file appears when it is complete; doing it again changes nothing. Returns the rows.

        fetcher: of the piece's dataset.
        """
        source = self.sources[piece.dataset]
        writers = {name: self._writer(name, piece.name) for name in self._splits(piece)}
        rows = 0
        try:
            for group in piece.row_groups:
                arrays = self._fetched(fetcher, group)
                count = int(source.inventory.row_group_rows[group])
                rows += count
                for name, batch in self._cut(piece, arrays, count, source.place(group)):
                    writers[name].parts.add(Part("", batch))
            for writer in writers.values():
                writer.close()
        except BaseException:
            for writer in writers.values():
                writer.abandon()
            raise
        return rows

    def write_empty(self, split: str, name: str) -> None:
        """A file without rows, so that who reads the split finds its columns."""
        sink = pa.BufferOutputStream()
        pq.write_table(self._with_pairs(self.written).empty_table(), sink)
        content = bytes(sink.getvalue().to_pybytes())
        filesystem = self.artifact.filesystem
        replace_file(filesystem, self.artifact.path(split, name), content, join(self.artifact.root, SCRATCH))

    def _splits(self, piece: Piece) -> tuple[str, ...]:
        if piece.split is not None:
            return (piece.split,)
        assert self.buckets is not None
        return self.buckets.names

    def _fetched(self, fetcher: Fetcher, group: int) -> dict[str, pa.Array]:
        fields = [raw_field(one) if isinstance(one.codec, OpaqueCodec) else one for one in self.schema]
        arrays, _ = fetcher.fetch(group, fields, keep=False)
        return {column.name: as_stored(arrays[column.name], column.type) for column in self.columns}

    def _cut(
        self, piece: Piece, arrays: dict[str, pa.Array], rows: int, place: Place
    ) -> Iterator[tuple[str, pa.RecordBatch]]:
        """The rows of a row group by the split they go to. place: of the row group."""
        splits = None
        if piece.split is None:
            assert self.buckets is not None
            splits = self.buckets.of(self.schema, arrays, rows, place)
        made = [self._listed(one, arrays, place) for one in self.features] or list(arrays.values())
        columns = self._with_pairs(self.written)
        if splits is None:
            assert piece.split is not None
            yield piece.split, pa.RecordBatch.from_arrays(made, schema=columns)
            return
        for index, name in enumerate(self._splits(piece)):
            numbers = pa.array(np.flatnonzero(splits == index))
            if len(numbers):
                taken = made if len(numbers) == rows else [take_rows(array, numbers) for array in made]
                yield name, pa.RecordBatch.from_arrays(taken, schema=columns)

    def _listed(self, feature: Feature, arrays: dict[str, pa.Array], place: Place) -> pa.Array:
        """A column as TFX's lists."""
        assert feature.field is not None
        name = feature.field.name

        def bad(row: int, reason: str) -> None:
            raise bad_cell_error(reason, Place(place.file, place.row_group, row, name))

        return to_arrow(feature, decode_column(read_form(feature.field), arrays[name], bad), place)

    def _with_pairs(self, columns: pa.Schema) -> pa.Schema:
        return columns.with_metadata(self.pairs)

    def _writer(self, split: str, name: str) -> _File:
        names = [feature.name for feature in self.features] or self.columns.names
        # Lists are no longer what the fields' codecs made: what decides on encodings then are their types.
        schema = self.schema if not self.features else _plain(names)
        return _File(self.artifact, split, name, schema, self.row_group_rows, self.compression)


def _plain(names: list[str]) -> Unischema:
    return Unischema.rebuilt("lists", [UnischemaField(name, np.bytes_, (None,)) for name in names])


class _File:
    """A file being written: beside the artifact's folders where it can be renamed into them, else in its place."""

    def __init__(
        self, artifact: Artifact, split: str, name: str, schema: Unischema, rows: int, compression: str
    ) -> None:
        self._artifact = artifact
        self._final = artifact.path(split, name)
        self._moves = renames(artifact.filesystem)
        self._path = self._final
        if self._moves:
            self._path = join(join(artifact.root, SCRATCH), f"{uuid.uuid4().hex}.parquet")
        self.parts = PartWriter(artifact.filesystem, self, schema, Sizes(rows, 0, None, None), compression)

    def base_name(self, number: int) -> str:
        """There is one file only."""
        assert number == 0
        return self._final.rpartition("/")[2]

    def path_for(self, name: str) -> str:
        """Where it is written."""
        return self._path

    def close(self) -> None:
        """Complete the file. Without rows there is none.

        Raises `DatasetError` where another file has its name: nothing is written over, but for what is the same, which
        an attempt before has left.
        """
        self.parts.close()
        if not (self._moves and self.parts.files):
            return
        filesystem = self._artifact.filesystem
        if filesystem.get_file_info([self._final])[0].type != pafs.FileType.NotFound and not _same(
            filesystem, self._path, self._final
        ):
            self.abandon()
            raise DatasetError(describe("there is another file where rows should go", Place(file=self._final)))
        filesystem.move(self._path, self._final)

    def abandon(self) -> None:
        """Leave nothing of it, as far as that can be."""
        self.parts.abandon()
        with contextlib.suppress(OSError, pa.ArrowException):
            self._artifact.filesystem.delete_file(self._path)


def _same(filesystem: pafs.FileSystem, one: str, other: str) -> bool:
    """Whether two files hold the same bytes."""
    infos = filesystem.get_file_info([one, other])
    if infos[0].size != infos[1].size:
        return False
    with filesystem.open_input_stream(one) as first, filesystem.open_input_stream(other) as second:
        while part := first.read(1 << 20):
            if part != second.read(len(part)):
                return False
    return True
