"""CompressedImageCodec: a cell is a PNG, JPEG or WebP image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import cv2
import numpy as np
import pyarrow as pa

from tfpetastorm.errors import Place, SchemaError, describe
from tfpetastorm.schema.codecs.base import BadCellError, Codec, Limits, OnBad, UnsafeReason
from tfpetastorm.schema.codecs.cells import CellBudget, EncodedCells, cell_cost, gather, shape_problem
from tfpetastorm.schema.codecs.fast_jpeg import IntoSlot, fast_jpeg
from tfpetastorm.schema.codecs.fit import as_cell_array, describe_field
from tfpetastorm.schema.codecs.image_header import ImageHeader, read_image_header
from tfpetastorm.schema.columns import Array, Column, empty_aligned

if TYPE_CHECKING:
    from tfpetastorm.schema.field import UnischemaField

_EXTENSIONS = {"png": ".png", "jpeg": ".jpg", "webp": ".webp"}
_TO_STORED = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}
_TO_MEMORY = {3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGBA}


@dataclass(frozen=True)
class CompressedImageCodec(Codec):
    """An image of shape (H, W) or (H, W, C), C of 1, 3 or 4 (not in jpeg), stored as png, jpeg or webp.

    In memory, colours are in the order RGB(A). uint8; png also uint16. H and W may be None.
    image_codec: "png", "jpeg" or "webp". quality: 0 to 100 for jpeg and webp (101: lossless webp, but for
        the colour of wholly transparent pixels); png is lossless.
    channel_order: "bgr" for files of petastorm 0.2.1 to 0.2.3, which stored red and blue swapped.
    EXIF orientation is ignored, as in petastorm.
    """

    codec_name: ClassVar[str] = "image"

    image_codec: str = "png"
    quality: int = 80
    channel_order: Literal["rgb", "bgr"] = "rgb"

    def __post_init__(self) -> None:
        name = str(self.image_codec).lower().lstrip(".")
        name = "jpeg" if name == "jpg" else name
        if name not in _EXTENSIONS:
            raise SchemaError(
                describe("Not an image codec", expected=f"one of {list(_EXTENSIONS)}", found=repr(self.image_codec))
            )
        top = 101 if name == "webp" else 100
        quality: object = self.quality
        if isinstance(quality, bool) or not isinstance(quality, int) or not 0 <= quality <= top:
            raise SchemaError(describe("Not an image quality", expected=f"0 to {top}", found=repr(quality)))
        if self.channel_order not in ("rgb", "bgr"):
            raise SchemaError(describe("Not an order of channels", expected="rgb or bgr", found=self.channel_order))
        object.__setattr__(self, "image_codec", name)

    def check(self, field: UnischemaField) -> None:
        """Raise SchemaError if this codec can't hold `field`."""
        dtypes = ("uint8", "uint16") if self.image_codec == "png" else ("uint8",)
        channels = {"png": (1, 3, 4, None), "jpeg": (1, 3, None), "webp": (3, 4, None)}[self.image_codec]
        flat = len(field.shape) == 2 and self.image_codec != "webp"
        if field.kind != "number" or field.dtype.name not in dtypes:
            expected, found = " or ".join(dtypes), str(field.dtype)
        elif not flat and (len(field.shape) != 3 or field.shape[2] not in channels):
            sizes = " or ".join(str(size) for size in channels if size)
            expected, found = (
                f"shape {'' if self.image_codec == 'webp' else '(H, W) or '}(H, W, {sizes})",
                str(field.shape),
            )
        else:
            return
        raise SchemaError(
            describe(
                f"A {self.image_codec} image can't hold this field",
                Place(field=field.name),
                expected=expected,
                found=found,
            )
        )

    def __str__(self) -> str:
        swapped = "" if self.channel_order == "rgb" else f", {self.channel_order!r}"
        return f"CompressedImageCodec({self.image_codec!r}, {self.quality}{swapped})"

    def encode(self, field: UnischemaField, value: Any) -> bytes:
        """One cell as it is stored. Raises BadCellError if `value` is not the field's."""
        if isinstance(value, np.ndarray) and value.dtype != field.dtype:
            raise BadCellError(describe_field(field), f"{value.dtype} of shape {value.shape}", "Unexpected type")
        image = as_cell_array(field, value)
        if image.dtype != field.dtype:
            raise BadCellError(describe_field(field), f"{image.dtype} of shape {image.shape}", "Unexpected type")
        if image.size == 0:
            raise BadCellError("an image of at least one pixel", f"shape {image.shape}")
        if max(image.shape[:2]) > (16383 if self.image_codec == "webp" else 65500):
            raise BadCellError(f"an image that {self.image_codec} can hold", f"shape {image.shape}")
        channels = image.shape[2] if image.ndim == 3 else 1
        if channels not in (1, 3, 4):
            raise BadCellError("1, 3 or 4 channels", f"shape {image.shape}")
        image = np.ascontiguousarray(image)
        if channels in _TO_STORED and self.channel_order == "rgb":
            image = cv2.cvtColor(image, _TO_STORED[channels])
        done, encoded = cv2.imencode(_EXTENSIONS[self.image_codec], image, self._options())
        if not done:
            raise BadCellError(describe_field(field), f"an image that OpenCV can't encode, of shape {image.shape}")
        return bytes(encoded.tobytes())

    def _options(self) -> list[int]:
        if self.image_codec == "jpeg":
            return [cv2.IMWRITE_JPEG_QUALITY, self.quality]
        return [cv2.IMWRITE_WEBP_QUALITY, max(1, self.quality)] if self.image_codec == "webp" else []

    def decode_column(self, field: UnischemaField, array: pa.Array, on_bad: OnBad, *, limits: Limits) -> Column:
        """All rows of one column; `on_bad` hears of each cell that can't be decoded."""
        encoded = EncodedCells(field, array)
        if field.ragged_rank:
            return self._decode_ragged(field, encoded, on_bad, limits)
        fast = fast_jpeg()
        # Images of one column are mostly of one kind: what to say of it is worked out once.
        verdicts: dict[ImageHeader | str, str | None] = {}
        images = empty_aligned((encoded.count, *field.inner_shape), field.dtype)
        if encoded.valid is not None:
            images[~encoded.valid] = 0
        for row in encoded.rows.tolist():
            cell = encoded[row]
            header = read_image_header(cell)
            if header not in verdicts:
                verdicts[header] = self._problem(field, header, limits)
            problem = verdicts[header] or self._decode_into(images[row], cell, header, fast)
            if problem is not None:
                images[row] = 0
                on_bad(row, problem)
        return Column(images, (), encoded.valid, field.inner_shape)

    def _decode_ragged(self, field: UnischemaField, encoded: EncodedCells, on_bad: OnBad, limits: Limits) -> Column:
        images: list[Any] = [None] * encoded.count
        budget = CellBudget(limits)
        fast = fast_jpeg()
        for row in encoded.rows.tolist():
            cell = encoded[row]
            header = read_image_header(cell)
            problem = self._problem(field, header, limits)
            if problem is None and not isinstance(header, str):
                problem = budget.take(cell_cost(field, _shape(field, header), field.dtype.itemsize))
            if problem is None and not isinstance(header, str):
                image = np.empty(_shape(field, header), field.dtype)
                problem = self._decode_into(image, cell, header, fast)
                images[row] = image if problem is None else None
            if problem is not None:
                on_bad(row, problem)
        return gather(field, images, encoded.valid)

    def _problem(self, field: UnischemaField, header: ImageHeader | str, limits: Limits) -> str | None:
        """Why an image with this header is not decoded, or None."""
        if isinstance(header, str):
            return header
        shape = _shape(field, header)
        size = header.height * header.width * header.channels * header.bits // 8
        if size > limits.max_cell_bytes and shape_problem(field, shape, 1, limits) is not None:
            return UnsafeReason(
                f"an image that claims {header.width} × {header.height} pixels, more than the limit of "
                f"{limits.max_cell_bytes} bytes a cell"
            )
        problem = shape_problem(field, shape, header.bits // 8, limits)
        if problem is None and header.bits != 8 * field.dtype.itemsize:
            problem = f"expected {describe_field(field)}, found an image of {header.bits} bits"
        return problem

    def _decode_into(self, slot: Array, cell: Array, header: ImageHeader | str, fast: IntoSlot | None) -> str | None:
        """Decode into `slot`, which the header fits; return why it failed, or None."""
        jpeg = isinstance(header, ImageHeader) and header.kind == "jpeg" and header.channels in (1, 3)
        if jpeg and fast is not None and slot.shape[2:] != (4,) and fast(cell, slot, self.channel_order):
            return None
        try:
            # Unchanged: no scaling of 16 bits, no turning by EXIF.
            image = cv2.imdecode(cell, cv2.IMREAD_UNCHANGED)
        except cv2.error as error:
            return f"OpenCV can't decode it ({str(error).strip()})"
        if image is None:
            return "OpenCV can't decode it"
        if image.ndim == 3 and image.shape[2] == 3 and slot.shape[2:] == (4,):
            image = cv2.cvtColor(image, cv2.COLOR_BGR2BGRA)
        if image.dtype != slot.dtype or image.size != slot.size or image.shape[:2] != slot.shape[:2]:
            return f"expected an image of shape {slot.shape}, found {image.dtype} of shape {image.shape}"
        channels = image.shape[2] if image.ndim == 3 else 1
        if channels in _TO_MEMORY and self.channel_order == "rgb":
            cv2.cvtColor(image, _TO_MEMORY[channels], dst=slot)
        else:
            slot[...] = image.reshape(slot.shape)
        return None


def _shape(field: UnischemaField, header: ImageHeader) -> tuple[int, ...]:
    # WebP drops an alpha that is opaque all over.
    # A grey image fits (H, W) and (H, W, 1); one of several channels never fits (H, W).
    if len(field.shape) == 2 and header.channels == 1:
        return (header.height, header.width)
    opaque = header.channels == 3 and field.shape[-1] == 4 and header.kind == "webp"
    return (header.height, header.width, 4 if opaque else header.channels)
