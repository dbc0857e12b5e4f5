"""JPEG straight into the row's slot, where the extra `jpeg` (simplejpeg: libjpeg-turbo with a buffer to write to) is
installed.

OpenCV decodes by the same library but into an image of its own that then has to be copied. Whatever this decoder
declines (CMYK, warnings of damaged data) is left to OpenCV, so that the extra changes no value, no error and no skip.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from tfpetastorm.schema.columns import Array

#: Decodes a cell, uint8 `[bytes]`, into a slot of uint8 `[height, width]` or `[height, width, 1 or 3]` that its header
#: fits, colours in the order "rgb" or "bgr". False if it declines; the slot's content is then undefined.
IntoSlot: TypeAlias = Callable[[Array, Array, str], bool]


def fast_jpeg() -> IntoSlot | None:
    """The decoder, or None where the extra is not installed."""
    try:
        import simplejpeg
    except ImportError:
        return None

    def decode(cell: Array, slot: Array, order: str) -> bool:
        grey = slot.ndim == 2 or slot.shape[2] == 1
        buffer = slot.reshape(*slot.shape[:2], 1) if grey else slot
        try:
            simplejpeg.decode_jpeg(cell, "GRAY" if grey else order.upper(), buffer=buffer)
        except ValueError:
            return False
        return True

    return decode
