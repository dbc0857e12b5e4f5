"""Contact sheets: many images with captions in one picture, drawn with OpenCV."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from tfpetastorm.schema.columns import Array
from tfpetastorm.schema.field import UnischemaField

#: Pixels: the longer side of a drawn image; between images; around the sheet.
_SIDE, _GAP, _MARGIN = 160, 16, 24
#: Narrower images still leave room for captions.
_MIN_WIDTH = 120
_LINE, _TITLE_LINE = 17, 36
_PAPER, _INK, _FAINT, _EMPTY = (250, 250, 248), (40, 40, 44), (120, 120, 124), (232, 232, 228)
#: Letters are drawn this much larger and shrunk, as OpenCV's strokes are coarse at small sizes.
_OVERSAMPLE = 4
#: Pixels that a line of text takes above and below its baseline.
_UP, _DOWN = 20, 8

Colour = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Tile:
    """One image of a sheet. image: `(H, W)` or `(H, W, C)`, C of 1, 3 (RGB) or 4 (RGBA), of any number type or bool;
    None for a missing one. captions: lines below it. colour: RGB of the captions."""

    image: Array | None
    captions: tuple[str, ...] = ()
    colour: Colour = _INK


def can_draw(field: UnischemaField) -> bool:
    """Whether a field's cells can be drawn as images."""
    shape = field.shape
    return field.kind == "number" and (len(shape) == 2 or (len(shape) == 3 and shape[2] in (1, 3, 4, None)))


def contact_sheet(tiles: Sequence[Tile], title: str = "", columns: int | None = None) -> Array:
    """uint8 `[height, width, 3]`, RGB: the tiles in rows, from left to right.

    uint8 images are drawn as they are. Of other types the smallest value of all tiles is black and the largest white,
    so that tiles can be compared, and the title tells the range; NaN is black. Small images are enlarged by whole
    factors without smoothing.
    """
    low, high, note = _range([tile.image for tile in tiles if tile.image is not None])
    drawn = [
        None if tile.image is None or not tile.image.size else _fitted(_eight_bits(tile.image, low, high))
        for tile in tiles
    ]
    shapes = [image.shape[:2] for image in drawn if image is not None] or [(_SIDE, _SIDE)]
    height, width = max(h for h, _ in shapes), max(_MIN_WIDTH, *(w for _, w in shapes))
    lines = max((len(tile.captions) for tile in tiles), default=0)
    step_y, step_x = height + 6 + lines * _LINE + _GAP, width + _GAP
    count = max(1, len(tiles))
    columns = columns or min(count, max(1, round(math.sqrt(count * 1.5 * step_y / step_x))))
    rows = math.ceil(count / columns)
    head = _TITLE_LINE if title or note else 0
    sheet = np.empty((2 * _MARGIN + head + rows * step_y - _GAP, 2 * _MARGIN + columns * step_x - _GAP, 3), np.uint8)
    sheet[:] = _PAPER
    if head:
        used = _write(sheet, title, _MARGIN, _MARGIN + 14, 0.62, _INK, sheet.shape[1] - 2 * _MARGIN)
        _write(sheet, note, _MARGIN + used + 14, _MARGIN + 14, 0.44, _FAINT, sheet.shape[1] - 2 * _MARGIN - used - 14)
    for i, (tile, image) in enumerate(zip(tiles, drawn, strict=True)):
        x, y = _MARGIN + i % columns * step_x, _MARGIN + head + i // columns * step_y
        if image is None:
            sheet[y : y + height, x : x + width] = _EMPTY
            what = "null" if tile.image is None else "empty"
            _write(sheet, what, x + width // 2 - 14, y + height // 2 + 4, 0.44, _FAINT, width)
        else:
            # Captions stand below the image itself, at its left edge.
            sheet[y : y + image.shape[0], x : x + image.shape[1]] = image
        bottom = y + (height if image is None else image.shape[0])
        for k, line in enumerate(tile.captions):
            _write(sheet, line, x, bottom + 16 + k * _LINE, 0.42, tile.colour, width)
    return sheet


def _range(images: Sequence[Array]) -> tuple[float, float, str]:
    """The values that become black and white, and a note that says so; nothing for uint8 and bool."""
    others = [image for image in images if image.dtype not in (np.uint8, np.bool_) and image.size]
    if not others:
        return 0.0, 255.0, ""
    finite = [image[np.isfinite(image)] for image in others]
    finite = [values for values in finite if values.size] or [np.zeros(1)]
    low, high = min(float(values.min()) for values in finite), max(float(values.max()) for values in finite)
    return low, high, f"{others[0].dtype}, black {low:.6g}, white {high:.6g}"


def _eight_bits(image: Array, low: float, high: float) -> Array:
    """uint8 `[H, W, 3]`, on paper where it is transparent."""
    if image.dtype == np.bool_:
        image = image.astype(np.uint8) * np.uint8(255)
    elif image.dtype != np.uint8:
        known = np.where(np.isfinite(image), image, low).astype(np.float64)
        image = np.clip((known - low) * (255.0 / ((high - low) or 1.0)) + 0.5, 0, 255).astype(np.uint8)
    if image.ndim == 2:
        image = image[:, :, None]
    if image.shape[2] == 4:
        alpha = image[:, :, 3:].astype(np.float32) / 255
        image = (image[:, :, :3] * alpha + np.array(_PAPER, np.float32) * (1 - alpha)).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3)))


def _fitted(image: Array) -> Array:
    """The image with its longer side at most `_SIDE`, at least half of that."""
    height, width = image.shape[:2]
    longest = max(height, width)
    if longest <= _SIDE:
        factor = _SIDE // longest
        return np.repeat(np.repeat(image, factor, 0), factor, 1)
    size = (max(1, round(width * _SIDE / longest)), max(1, round(height * _SIDE / longest)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))


def _write(sheet: Array, text: str, x: int, y: int, scale: float, colour: Colour, room: int) -> int:
    """Writes one line whose baseline starts at (x, y), cut to `room` pixels; returns the pixels used."""
    text = _ascii(text)
    ink = _ink(text, scale)
    while text and ink.shape[1] > room:
        text = text[: min(len(text) - 1, len(text) * room // ink.shape[1])]
        ink = _ink(text.rstrip() + "..", scale) if len(text) > 1 else ink[:, :0]
    top, bottom = max(0, y - _UP), min(len(sheet), y + _DOWN)
    area = sheet[top:bottom, x : x + ink.shape[1]]
    cover = ink[top - (y - _UP) :][: area.shape[0], : area.shape[1], None].astype(np.float32) / 255
    area[:] = (area * (1 - cover) + np.array(colour, np.float32) * cover + 0.5).astype(np.uint8)
    return int(ink.shape[1])


def _ink(text: str, scale: float) -> Array:
    """uint8 `[_UP + _DOWN, width]`: how much of each pixel a line of text covers, 255 for all of it."""
    # How wide letters come out differs between OpenCV's versions, so see what was drawn rather than ask.
    mask = np.zeros(((_UP + _DOWN) * _OVERSAMPLE, int(24 * scale * _OVERSAMPLE) * (len(text) + 1)), np.uint8)
    thickness = max(1, round(scale * _OVERSAMPLE))
    origin = (0, _UP * _OVERSAMPLE)
    cv2.putText(mask, text, origin, cv2.FONT_HERSHEY_SIMPLEX, scale * _OVERSAMPLE, 255, thickness, cv2.LINE_AA)
    used = np.flatnonzero(mask.any(axis=0))
    width = (int(used[-1]) // _OVERSAMPLE + 1) if len(used) else 0
    if not width:
        return np.zeros((_UP + _DOWN, 0), np.uint8)
    return np.asarray(cv2.resize(mask[:, : width * _OVERSAMPLE], (width, _UP + _DOWN), interpolation=cv2.INTER_AREA))


def _ascii(text: str) -> str:
    """OpenCV's own font has ASCII only: accents go, and other letters become "?"."""
    plain = unicodedata.normalize("NFKD", text.replace("…", "..").replace("–", "-"))
    plain = "".join(char for char in plain if not unicodedata.combining(char))
    return plain.encode("ascii", "replace").decode()
