"""The graph: from the source op's elements to batches in the user's structure."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from tfpetastorm.tfdata.forming import Forming, Sample
from tfpetastorm.tfdata.source import ElementSource, unconverted
from tfpetastorm.tfdata.structure import Padding, Structure

#: Windows formed at once where they are given one by one.
_ROWS_AT_ONCE = 64

#: Read tasks handed to TensorFlow ahead of need. Prefetched here, below the end of the pass, and not as batches at the
#: end of the pipeline: TensorFlow forgets how many passes there were when it saves an iterator that has already met
#: the end of one.
_PREFETCH = 1


def graph_of(
    source: ElementSource,
    forming: Forming,
    structure: Structure,
    padding: Padding,
    batch_size: int | None,
    drop_remainder: bool,
) -> Any:
    """The dataset of the user's elements, without cardinality.

    batch_size: None for one sample an element.
    """
    chunk = batch_size or _ROWS_AT_ONCE
    dense = padding.rows if batch_size is None else padding.apply
    pads = bool(padding.shapes if batch_size is None else padding.sizes)

    def formed(sample: Sample) -> Any:
        """As it goes into batches. Arranged before it is cut, unless it is padded then: one step fewer a batch."""
        fields, real = sample
        return ((fields,) if real is None else (fields, real)) if pads else structure.arrange(fields, real)

    def finished(fields: Any, real: Any = None) -> Any:
        return structure.arrange(dense(fields), real)

    def parts(*tensors: Any) -> Any:
        """The batches of one element, each formed by itself: windows hold their rows several times over. They end
        where batches end, so that only those which two elements share are put together from two parts."""
        given = source.given(*tensors)
        starts = tf.data.Dataset.range(-(given.before % chunk), tf.size(given.index, tf.int64), chunk)
        return starts.map(unconverted(lambda start: formed(forming.part(given, tf.maximum(start, 0), start + chunk))))

    def one_epoch(epoch: Any) -> Any:
        elements = source.elements_of(epoch)
        if forming.windows is not None:
            samples = elements.prefetch(_PREFETCH).flat_map(unconverted(parts))
        else:
            samples = elements.map(unconverted(lambda *tensors: formed(forming.whole(source.given(*tensors)))))
            samples = samples.prefetch(_PREFETCH)
        batches = samples.unbatch() if batch_size is None else samples.rebatch(batch_size, drop_remainder)
        return batches.map(unconverted(finished)) if pads else batches

    return source.epochs().flat_map(unconverted(one_epoch))
