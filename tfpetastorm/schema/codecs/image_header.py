"""What PNG, JPEG and WebP headers say an image is, before any decoder allocates memory for it.

Formats: PNG (W3C, part 11.2.1), JPEG (ITU-T T.81, annex B), WebP (RFC 9649).
"""

from __future__ import annotations

from typing import NamedTuple

from tfpetastorm.schema.columns import Array

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}  # by colour type; a palette expands to RGB
_PNG_END = b"IEND\xaeB`\x82"
# Start-of-frame markers: all 0xC0–0xCF but the tables DHT, JPG and DAC among them.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_CUT_OFF = "a JPEG image that is cut off"
_JPEG_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})  # markers without a length


class ImageHeader(NamedTuple):
    """Size in pixels, channels, and bits a channel (8 or 16) of the image as it will be decoded; its format."""

    height: int
    width: int
    channels: int
    bits: int
    kind: str


def read_image_header(cell: Array) -> ImageHeader | str:
    """What the encoded image in `cell`, uint8 `[bytes]`, claims to be; or why it is no whole image."""
    start = cell[:32].tobytes()
    if start[:8] == _PNG:
        return _png(cell, start)
    if start[:3] == b"\xff\xd8\xff":
        # The frame mostly stands near the start; only a long EXIF block or profile needs more.
        header = _jpeg(cell[:1024].tobytes(), cell)
        return header if header is not None else _jpeg(cell.tobytes(), cell) or _CUT_OFF
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return _webp(cell, start)
    return "neither a PNG, a JPEG nor a WebP image" if len(cell) else "an empty image"


def _png(cell: Array, start: bytes) -> ImageHeader | str:
    if len(start) < 29 or start[12:16] != b"IHDR":
        return "a PNG image that is cut off"
    width, height = int.from_bytes(start[16:20], "big"), int.from_bytes(start[20:24], "big")
    channels = _PNG_CHANNELS.get(start[25])
    if channels is None or start[24] not in (1, 2, 4, 8, 16):
        return "a malformed PNG header"
    # OpenCV returns what it has of an image that is cut off: the end must be there.
    if _PNG_END not in cell[-64:].tobytes() and _PNG_END not in cell.tobytes():
        return "a PNG image that is cut off"
    return ImageHeader(height, width, channels, 16 if start[24] == 16 else 8, "png")


def _jpeg(start: bytes, cell: Array) -> ImageHeader | str | None:
    """What the frame within the first bytes says; None if `start` ends before it."""
    position = 2
    while True:
        if position + 10 > len(start):
            return None
        if start[position] != 0xFF:
            return "a malformed JPEG header"
        marker = start[position + 1]
        if marker == 0xFF:  # fill
            position += 1
            continue
        if marker in _JPEG_ALONE:
            position += 2
            continue
        if marker in (0xD9, 0xDA):
            return "a JPEG image without a frame"
        if marker in _JPEG_FRAMES:
            break
        position += 2 + (start[position + 2] << 8 | start[position + 3])
    frame = start[position + 4 : position + 10]
    # What follows the end of the image is padding, if anything; nothing but the marker tells a whole image.
    if b"\xff\xd9" not in cell[-64:].tobytes() and b"\xff\xd9" not in cell[-4096:].tobytes():
        return _CUT_OFF
    if frame[0] != 8:
        return f"a JPEG image of {frame[0]} bits"
    # Four components (CMYK) are decoded to colours.
    channels = 1 if frame[5] == 1 else 3
    return ImageHeader(int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big"), channels, 8, "jpeg")


def _webp(cell: Array, start: bytes) -> ImageHeader | str:
    if len(start) < 30 or int.from_bytes(start[4:8], "little") + 8 > len(cell):
        return "a WebP image that is cut off"
    kind = start[12:16]
    if kind == b"VP8X":
        width, height = 1 + int.from_bytes(start[24:27], "little"), 1 + int.from_bytes(start[27:30], "little")
        return ImageHeader(height, width, 4 if start[20] & 0x10 else 3, 8, "webp")
    if kind == b"VP8L" and start[20] == 0x2F:
        bits = int.from_bytes(start[21:25], "little")
        return ImageHeader(1 + (bits >> 14 & 0x3FFF), 1 + (bits & 0x3FFF), 4 if bits >> 28 & 1 else 3, 8, "webp")
    if kind == b"VP8 " and start[23:26] == b"\x9d\x01\x2a":
        width, height = int.from_bytes(start[26:28], "little"), int.from_bytes(start[28:30], "little")
        return ImageHeader(height & 0x3FFF, width & 0x3FFF, 3, 8, "webp")
    return "a malformed WebP header"
