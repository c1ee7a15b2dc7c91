"""The pieces that a tree is cut into: slices of files, and the tar blocks between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models_init.publish.pack.source_tree import SourceFile


@dataclass(frozen=True, slots=True)
class FillerFrame:
    """Tar headers, padding and end blocks between the contents of files."""

    data: bytes

    @property
    def size(self) -> int:
        """Uncompressed size in bytes."""
        return len(self.data)


@dataclass(frozen=True, slots=True)
class Slice:
    """`size` bytes of a file from `start`, either a future chunk or a block to search for boundaries."""

    file: SourceFile
    start: int
    size: int


Piece = FillerFrame | Slice
