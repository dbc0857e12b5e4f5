"""Petastorm's `reader_impl.pytorch_shuffling_buffer`."""

from __future__ import annotations

from tfpetastorm.torch.buffers import (
    BatchedNoopShufflingBuffer,
    BatchedRandomShufflingBuffer,
    BatchedShufflingBufferBase,
)

__all__ = ["BatchedNoopShufflingBuffer", "BatchedRandomShufflingBuffer", "BatchedShufflingBufferBase"]
