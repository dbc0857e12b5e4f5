"""`tfpetastorm info URL`: a dataset's facts as text."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tfpetastorm.cli.facts import DatasetFacts, Spread
from tfpetastorm.cli.text import codec_text, printable, size_text, type_text

_KINDS = {
    "tfpetastorm": "tfpetastorm dataset",
    "petastorm": "petastorm dataset (its pickled schema was read without unpickling)",
    "parquet": "plain Parquet (the schema is inferred)",
}


def show_info(facts: DatasetFacts, console: Console) -> None:
    """Prints the facts: an overview, then one line a field."""
    console.print(Text(printable(facts.url), style="bold"))
    console.print(_overview(facts))
    console.print(_fields(facts))
    for problem in facts.problems:
        console.print(Text(f"Problem: {printable(problem)}", style="yellow"))


def _overview(facts: DatasetFacts) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")

    def line(name: str, value: str) -> None:
        table.add_row(name, Text(printable(value)))

    line("kind", _KINDS[facts.kind])
    line("schema", facts.schema_name)
    line("rows", f"{facts.rows:,}")
    groups = f"{facts.row_groups:,}"
    if facts.row_groups:
        groups += f" of {_spread(facts.row_group_rows)} rows, {_sizes(facts.row_group_bytes)} uncompressed"
    line("row groups", groups)
    sizes = f" of {_sizes(facts.file_bytes)}"
    if facts.files > 1:
        sizes += f", {size_text(facts.file_bytes.total)} in all"
    line("files", f"{facts.files:,}" + (sizes if facts.file_bytes.minimum >= 0 else ""))
    ratio = facts.uncompressed_bytes / max(1, facts.compressed_bytes)
    line(
        "columns",
        f"{size_text(facts.compressed_bytes)} stored, {size_text(facts.uncompressed_bytes)} uncompressed "
        f"(× {ratio:.1f}); {', '.join(facts.compression).lower() or 'none'}",
    )
    if facts.partition_fields:
        line("partitioned by", ", ".join(facts.partition_fields))
    if facts.indexes:
        line("indexes", "; ".join(facts.indexes))
    line("written by", "; ".join(facts.written_by) or "unknown")
    line(
        "petastorm",
        "can read it" if facts.petastorm_reads_it else f"can't read it: {'; '.join(facts.petastorm_reasons)}",
    )
    return table


def _fields(facts: DatasetFacts) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    table.add_column("field", overflow="fold")
    table.add_column("type", no_wrap=True)
    table.add_column("stored as", overflow="fold")
    for name in ("nulls", "stored", "unpacked"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("encodings", style="dim", overflow="fold")
    for field in facts.fields:
        column = facts.columns[field.name]
        in_folders = field.name in facts.partition_fields
        nulls = "?" if column.nulls is None else f"{column.nulls:,}"
        table.add_row(
            Text(printable(field.name), style="bold"),
            Text(type_text(field)),
            Text("folder names" if in_folders else codec_text(field.codec)),
            nulls if field.nullable or column.nulls else "–",
            "–" if in_folders else size_text(column.compressed_bytes),
            "–" if in_folders else size_text(column.uncompressed_bytes),
            Text(_encodings(column.encodings)),
        )
    return table


def _encodings(names: Sequence[str]) -> str:
    """How values are encoded, without what only serves levels of nulls and lists."""
    values = {"dictionary" if "DICTIONARY" in name else name.lower() for name in names}
    return " ".join(sorted(values - {"rle", "bit_packed"} or values))


def _spread(spread: Spread) -> str:
    if spread.minimum == spread.maximum:
        return f"{spread.minimum:,}"
    return f"{spread.minimum:,} – {spread.maximum:,} (median {spread.median:,})"


def _sizes(spread: Spread) -> str:
    low, high = size_text(spread.minimum), size_text(spread.maximum)
    return low if low == high else f"{low} – {high}"
