"""The one member of a small ZIP file, found and expanded without reading further than it says.

Format: PKWARE APPNOTE.TXT, 4.3. What `.npz` files don't have (encryption, ZIP64 directories, several disks) is refused.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

_END = struct.Struct("<4s4H2LH")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_STORED, _DEFLATED = 0, 8


@dataclass(frozen=True)
class ZipMember:
    """A member as the directory describes it. size: bytes expanded. packed: its bytes in the file."""

    name: str
    method: int
    checksum: int
    size: int
    packed: bytes

    def expand(self) -> bytes | str:
        """The bytes of the member, or why there are none. Takes no more memory than `size`."""
        if self.method == _STORED:
            expanded = self.packed
        else:
            stream = zlib.decompressobj(-zlib.MAX_WBITS)
            try:
                # One byte more than declared, to tell a stream that holds more.
                expanded = stream.decompress(self.packed, self.size + 1)
            except zlib.error as error:
                return f"a damaged .npz file ({error})"
        if len(expanded) != self.size:
            return f"a damaged .npz file (expected {self.size} bytes inside, found {len(expanded)} or more)"
        if zlib.crc32(expanded) != self.checksum:
            return "a damaged .npz file (its checksum differs)"
        return expanded


def only_member(data: bytes) -> ZipMember | str:
    """The one member of the ZIP file `data`, or why there is none."""
    at = data.rfind(b"PK\x05\x06")
    if at < 0 or at + _END.size > len(data):
        return "a damaged .npz file (it has no directory)"
    _, disk, start_disk, _, count, _, start, _ = _END.unpack_from(data, at)
    if disk or start_disk or count != 1 or start + _ENTRY.size > at:
        return f"expected an .npz file with one member, 'arr.npy', found {count}"
    entry = _ENTRY.unpack_from(data, start)
    flags, method, checksum, packed, size = entry[3], entry[4], *entry[7:10]
    name_length, local = entry[10], entry[16]
    if entry[0] != b"PK\x01\x02" or local + _LOCAL.size > len(data) or data[local : local + 4] != b"PK\x03\x04":
        return "a damaged .npz file (its directory leads nowhere)"
    if flags & 1:
        return "an .npz file that is encrypted"
    if method not in (_STORED, _DEFLATED):
        return f"an .npz file compressed by method {method}"
    # The local header's sizes may be placeholders; its name and extra field may be longer than the directory's.
    names = _LOCAL.unpack_from(data, local)[-2:]
    body = local + _LOCAL.size + sum(names)
    if body + packed > start:
        return "a damaged .npz file (a member is cut off)"
    name = data[start + _ENTRY.size : start + _ENTRY.size + name_length].decode("latin1")
    return ZipMember(name, method, checksum, size, data[body : body + packed])
