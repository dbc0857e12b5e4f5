"""`petastorm.codecs`: codecs, which encode and decode cells."""

from __future__ import annotations

from tfpetastorm.schema.codecs.compressed import CompressedNdarrayCodec as CompressedNdarrayCodec
from tfpetastorm.schema.codecs.dataframe import DataframeColumnCodec as DataframeColumnCodec
from tfpetastorm.schema.codecs.image import CompressedImageCodec as CompressedImageCodec
from tfpetastorm.schema.codecs.ndarray import NdarrayCodec as NdarrayCodec
from tfpetastorm.schema.codecs.scalar import ScalarCodec as ScalarCodec

#: OpenCV is always there.
OPENCV_AVAILABLE = True
