"""What pyarrow asks of every file that is written in Python, whatever is behind it."""

from __future__ import annotations


class FileLike:
    """A file that is read. Subclasses that are written, or that know no places, say so.

    reads: whether it is read, and not written. seeks: whether at any place.
    """

    closed = False
    reads = True
    seeks = True

    def readable(self) -> bool:
        """Whether it can be read."""
        return self.reads

    def seekable(self) -> bool:
        """Whether it can be read anywhere."""
        return self.seeks

    def writable(self) -> bool:
        """Whether it can be written."""
        return not self.reads

    def flush(self) -> None:
        """Nothing: some stores take a flush for the end of the file."""

    def close(self) -> None:
        """Let go of it."""
        self.closed = True
