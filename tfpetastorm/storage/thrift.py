"""As much of Thrift's compact protocol as it takes to find bloom filters in a footer and to read their headers.

pyarrow tells where they are only in later versions. Fields: `parquet.thrift` of the Parquet format.
"""

from __future__ import annotations

from typing import Any

#: Nesting beyond this is no footer.
_MAX_DEPTH = 40
_STOP, _TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(13)


def bloom_places(footer: bytes) -> dict[tuple[int, int], tuple[int, int]]:
    """Offset and length (-1 if not stored) of each bloom filter, by row group and column of the file.

    footer: Thrift bytes of a FileMetaData. None for one that can't be parsed.
    """
    found: dict[tuple[int, int], tuple[int, int]] = {}
    try:
        for i, group in enumerate(_Reader(footer).struct({4: {1: {3: {14: None, 15: None}}}}).get(4, [])):
            for k, chunk in enumerate(group.get(1, [])):
                column = chunk.get(3, {})
                if 14 in column:
                    found[i, k] = column[14], column.get(15, -1)
    except (LookupError, ValueError, AttributeError, TypeError):
        return {}
    return found


def bloom_header(raw: bytes) -> tuple[int, int]:
    """The bytes of the bitset behind a bloom filter's header, and where it begins in `raw`.

    Raises ValueError or LookupError for anything but a split-block filter of XXH64, not compressed.
    """
    reader = _Reader(raw)
    header = reader.struct({1: None, 2: {1: {}}, 3: {1: {}}, 4: {1: {}}})
    # Each is a union, whose one known member is number 1.
    if any(1 not in header[part] for part in (2, 3, 4)):
        raise ValueError("another kind of bloom filter")
    return header[1], reader.at


class _Reader:
    """Reads structs, keeping the fields asked for. Raises LookupError or ValueError where there is none."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def struct(self, wanted: dict[int, Any], depth: int = 0) -> dict[int, Any]:
        """The fields of `wanted` by number: integers where it has None, structs (or lists of them) where a dict."""
        if depth > _MAX_DEPTH:
            raise ValueError("nested too deep")
        values: dict[int, Any] = {}
        number = 0
        while True:
            head = self._byte()
            kind = head & 15
            if kind == _STOP:
                return values
            number = number + (head >> 4) if head >> 4 else self._zigzag()
            if number in wanted:
                values[number] = self._value(kind, wanted[number], depth + 1)
            else:
                self._skip(kind, depth + 1)

    def _byte(self) -> int:
        self.at += 1
        return self._data[self.at - 1]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
            if shift > 63:
                raise ValueError("a number of more than 64 bits")

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def _list(self) -> tuple[int, int]:
        head = self._byte()
        count = head >> 4 if head >> 4 < 15 else self._varint()
        if count > len(self._data) - self.at:
            raise ValueError("a list longer than the data")
        return count, head & 15

    def _value(self, kind: int, wanted: Any, depth: int) -> Any:
        if kind in (_I16, _I32, _I64) and wanted is None:
            return self._zigzag()
        if kind == _STRUCT and wanted is not None:
            return self.struct(wanted, depth)
        if kind == _LIST and wanted is not None:
            count, inner = self._list()
            if inner == _STRUCT:
                return [self.struct(wanted, depth) for _ in range(count)]
        raise ValueError("a field of another type")

    def _skip(self, kind: int, depth: int) -> None:
        if kind in (_TRUE, _FALSE):
            return
        if kind == _BYTE:
            self.at += 1
        elif kind in (_I16, _I32, _I64):
            self._varint()
        elif kind == _DOUBLE:
            self.at += 8
        elif kind == _BINARY:
            # In two steps: the length moves the place it is added to.
            length = self._varint()
            self.at += length
        elif kind in (_LIST, _SET):
            count, inner = self._list()
            for _ in range(count):
                self._skip_item(inner, depth)
        elif kind == _MAP:
            count = self._varint()
            kinds = self._byte() if count else 0
            if count > len(self._data) - self.at:
                raise ValueError("a map longer than the data")
            for _ in range(count):
                self._skip_item(kinds >> 4, depth)
                self._skip_item(kinds & 15, depth)
        elif kind == _STRUCT:
            self.struct({}, depth)
        else:
            raise ValueError(f"type {kind}")

    def _skip_item(self, kind: int, depth: int) -> None:
        if kind in (_TRUE, _FALSE):
            self.at += 1
        else:
            self._skip(kind, depth)
