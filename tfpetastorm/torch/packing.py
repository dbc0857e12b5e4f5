"""Batches on their way from a worker process: all tensors in one piece of shared memory.

PyTorch sends each column in a piece of its own, with an open file: for many small ones that takes longer than reading.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

#: Where tensors begin, as wide as vector registers and cache lines want it.
_ALIGNMENT = 64


class PackedBatch(dict[str, Any]):
    """A batch that another process gets as a plain dict."""

    def __copy__(self) -> PackedBatch:
        # PyTorch copies what it looks through for NumPy arrays, and by `__reduce__` that would pack it.
        return PackedBatch(self)

    def __reduce__(self) -> Any:
        packer = _Packer()
        plan = {name: packer.take(value) for name, value in self.items()}
        return unpacked, (packer.buffer(), plan)


class _Packer:
    """Collects tensors; in their place stands where they will be: offset, dtype, shape."""

    def __init__(self) -> None:
        self._taken: list[tuple[Any, _Slot]] = []
        self._size = 0

    def take(self, value: Any) -> Any:
        """What stands for a value."""
        if isinstance(value, torch.Tensor):
            size = value.numel() * value.element_size()
            slot = _Slot(self._size, size, value.dtype, tuple(value.shape))
            self._taken.append((value, slot))
            self._size += -(-size // _ALIGNMENT) * _ALIGNMENT
            return slot
        if isinstance(value, list) and value and isinstance(value[0], (list, torch.Tensor)):
            return [self.take(item) for item in value]
        return value

    def buffer(self) -> Any:
        """All tensors, uint8."""
        found = torch.empty(self._size, dtype=torch.uint8)
        for tensor, slot in self._taken:
            if slot.size:
                _found(found, slot).copy_(tensor)
        return found


class _Slot(NamedTuple):
    """Where a tensor is: its first byte, its bytes, its dtype and shape."""

    place: int
    size: int
    dtype: Any
    shape: tuple[int, ...]


def unpacked(buffer: Any, plan: dict[str, Any]) -> dict[str, Any]:
    """The batch: tensors that share the memory of `buffer`."""
    return {name: _found(buffer, value) for name, value in plan.items()}


def _found(buffer: Any, value: Any) -> Any:
    if isinstance(value, _Slot):
        if not value.size:
            return torch.empty(value.shape, dtype=value.dtype)
        return buffer[value.place : value.place + value.size].view(value.dtype).view(value.shape)
    if isinstance(value, list) and value and isinstance(value[0], (list, _Slot)):
        return [_found(buffer, item) for item in value]
    return value
