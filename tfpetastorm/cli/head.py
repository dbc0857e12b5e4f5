"""`tfpetastorm head URL`: the first rows as text, or their images as a contact sheet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tfpetastorm.cli.rows import Row
from tfpetastorm.cli.sheet import Tile, can_draw, contact_sheet
from tfpetastorm.cli.text import cell_text, printable
from tfpetastorm.errors import OptionError
from tfpetastorm.schema.codecs import CompressedImageCodec
from tfpetastorm.schema.field import UnischemaField

#: Fields named in the caption of an image.
_CAPTIONS = 3


def show_rows(rows: Sequence[Row], fields: Sequence[UnischemaField], console: Console) -> None:
    """Prints rows as a table if it fits the console's width, else each row as a block of lines."""
    if not rows:
        console.print("No rows.")
        return
    cells = [[cell_text(row.values[field.name]) for field in fields] for row in rows]
    names = [printable(field.name) for field in fields]
    widths = [max(len(name), *(len(line[i]) for line in cells)) for i, name in enumerate(names)]
    if sum(widths) + 3 * len(widths) <= console.width:
        console.print(_table(names, cells, rows, fields))
        return
    for number, (row, line) in enumerate(zip(rows, cells, strict=True)):
        if number:
            console.print()
        console.print(
            Text(f"row {number} ", style="bold")
            + Text(f"({printable(row.file)}, row group {row.row_group})", style="dim")
        )
        block = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
        block.add_column(no_wrap=True, style="cyan")
        block.add_column(overflow="fold")
        for name, cell, field in zip(names, line, fields, strict=True):
            block.add_row(Text(f"  {name}"), _cell(cell, row.values[field.name] is None))
        console.print(block)


def _table(
    names: Sequence[str], cells: Sequence[Sequence[str]], rows: Sequence[Row], fields: Sequence[UnischemaField]
) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, header_style="bold")
    for name, field in zip(names, fields, strict=True):
        number = field.kind in ("number", "decimal") and not field.shape
        table.add_column(Text(name), justify="right" if number else "left", no_wrap=True)
    for row, line in zip(rows, cells, strict=True):
        table.add_row(*(_cell(cell, row.values[f.name] is None) for cell, f in zip(line, fields, strict=True)))
    return table


def _cell(text: str, null: bool) -> Text:
    return Text(text, style="dim italic" if null else "")


def image_field(fields: Sequence[UnischemaField], wanted: str | None) -> UnischemaField:
    """The field whose images are drawn: the one wanted, else the first stored as an image, else the first that looks
    like one. Raises OptionError if there is none."""
    if wanted is not None:
        found = next((field for field in fields if field.name == wanted), None)
        if found is None or not can_draw(found):
            what = "is no field of the dataset" if found is None else f"({found}) is no image"
            raise OptionError(
                f"{wanted!r} {what}. An image is an array of numbers (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)."
            )
        return found
    drawable = [field for field in fields if can_draw(field)]
    if not drawable:
        raise OptionError(f"there is no field of images among {', '.join(field.name for field in fields)}.")
    return next((field for field in drawable if isinstance(field.codec, CompressedImageCodec)), drawable[0])


def caption_fields(fields: Sequence[UnischemaField], chosen: bool) -> list[UnischemaField]:
    """The scalar fields that captions show: all that the user chose, else the first few."""
    scalars = [field for field in fields if not field.shape and field.kind != "bytes"]
    return scalars if chosen else scalars[:_CAPTIONS]


def write_sheet(rows: Sequence[Row], field: UnischemaField, captions: Sequence[UnischemaField], path: Path) -> None:
    """Draws the rows' images. Raises OptionError if there are none or the file can't be written."""
    if not rows:
        raise OptionError("there are no rows to draw.")
    tiles = [
        Tile(row.values[field.name], tuple(f"{f.name} {_plain(row.values[f.name])}" for f in captions)) for row in rows
    ]
    sheet = contact_sheet(tiles, title=f"{field.name}, {len(rows)} rows")
    try:
        written, encoded = cv2.imencode(path.suffix or ".png", sheet[:, :, ::-1])
    except cv2.error:
        written = False
    if not written:
        raise OptionError(f"{path} can't be written: name a file that ends in .png or .jpg.")
    try:
        path.write_bytes(encoded.tobytes())
    except OSError as error:
        raise OptionError(f"{path} can't be written: {error.strerror or error}.") from None


def _plain(value: object) -> str:
    return printable(value) if isinstance(value, str) else cell_text(value)
