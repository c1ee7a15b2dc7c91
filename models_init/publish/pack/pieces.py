"""The pieces that a tree is cut into: slices of files, and the tar headers between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models_init.publish.pack.source_tree import SourceFile


@dataclass(frozen=True, slots=True)
class Filler:
    """Headers, padding, the end: what makes the frames one tar stream."""

    data: bytes

    @property
    def size(self) -> int:
        """Plain bytes."""
        return len(self.data)


@dataclass(frozen=True, slots=True)
class Slice:
    """What becomes a chunk, or is looked through at once: `size` bytes of a file from `start`."""

    file: SourceFile
    start: int
    size: int


Piece = Filler | Slice
