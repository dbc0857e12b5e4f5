"""How rows become files: what all writers of one dataset, or of one job, are told alike."""

from __future__ import annotations

from dataclasses import dataclass

from tfpetastorm.writing.parts import Sizes


@dataclass(frozen=True)
class WriteOptions:
    """Options of `DatasetWriter`, already checked. Plain values, so that JSON holds them."""

    row_group_rows: int | None = None
    row_group_size_mb: float = 32
    file_rows: int | None = None
    file_size_mb: float | None = 1024
    partition_by: tuple[str, ...] = ()
    compression: str = "snappy"
    petastorm_compatible: bool = True

    @property
    def sizes(self) -> Sizes:
        """How data is cut."""
        row_group_bytes = max(1, int(self.row_group_size_mb * 2**20))
        file_bytes = None if self.file_size_mb is None else int(self.file_size_mb * 2**20)
        return Sizes(self.row_group_rows, row_group_bytes, self.file_rows, file_bytes)
