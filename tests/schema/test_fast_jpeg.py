"""The extra `jpeg` decodes faster and changes nothing that comes out."""

from __future__ import annotations

import sys

import cv2
import numpy as np
import pyarrow as pa
import pytest

from tfpetastorm.schema.codecs import CompressedImageCodec, decode_column
from tfpetastorm.schema.codecs.fast_jpeg import fast_jpeg
from tfpetastorm.schema.field import UnischemaField


def decoded(field, cells):
    """The array, and the rows that were reported as bad."""
    bad = []
    column = decode_column(field, pa.array(cells, pa.binary()), lambda row, reason: bad.append((row, reason)))
    values = column.values
    return np.asarray(values), bad


def picture(shape, seed):
    random = np.random.default_rng(seed)
    return cv2.GaussianBlur(random.integers(0, 256, shape, dtype=np.uint8), (7, 7), 2)


def encode(image, quality=90, sampling=None):
    options = [cv2.IMWRITE_JPEG_QUALITY, quality]
    if sampling is not None:
        options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    return cv2.imencode(".jpg", image, options)[1].tobytes()


@pytest.fixture
def without_the_extra(monkeypatch):
    def hide():
        monkeypatch.setitem(sys.modules, "simplejpeg", None)
        assert fast_jpeg() is None

    return hide


@pytest.mark.parametrize("order", ["rgb", "bgr"])
@pytest.mark.parametrize("shape", [(37, 53), (37, 53, 1), (64, 48, 3), (None, None, 3), (None, None)])
def test_both_decoders_give_the_same_pixels_and_find_the_same_damage(shape, order, without_the_extra):
    assert fast_jpeg() is not None, "the extra jpeg belongs to the tests"
    field = UnischemaField("image", np.uint8, shape, CompressedImageCodec("jpeg", 90, order))
    size = tuple(s or n for s, n in zip(shape, (41, 29, 3), strict=False))
    samplings = [None, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    cells = [encode(picture(size, i), 30 + 20 * i, sampling) for i, sampling in enumerate(samplings)]
    cells.append(cv2.imencode(".png", picture(size, 9))[1].tobytes())  # under a jpeg codec, as petastorm allows
    cells.append(cells[0][: len(cells[0]) // 2])
    cells.append(cells[0][:300] + bytes(200) + cells[0][500:])
    cells.append(encode(picture((8, 8, 3), 1)))
    cells.append(b"\xff\xd8\xff garbage")
    fast, fast_bad = decoded(field, cells)
    without_the_extra()
    plain, plain_bad = decoded(field, cells)
    np.testing.assert_array_equal(fast, plain)
    assert fast_bad == plain_bad
    assert {7} <= {row for row, _ in fast_bad}
    assert not {0, 1, 2, 3} & {row for row, _ in fast_bad}
