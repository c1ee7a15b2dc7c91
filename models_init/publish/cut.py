"""How a tree is cut into the pieces that become the archive's frames; decided without any I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from models_init.manifest import MIB
from models_init.publish import tarstream
from models_init.publish.tree import SourceFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from models_init.publish.tree import Tree

BATCH_SIZE = MIB
"""Plain bytes that a worker takes at once: many small files cost one hand-over, not one each."""

FILLER_LIMIT = MIB
"""Plain bytes after which a run of headers (of empty files and folders) is cut, so that no frame grows large."""


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
    """What becomes a chunk: `size` bytes of a file from `start`."""

    file: SourceFile
    start: int
    size: int


Piece = Filler | Slice


def pieces(tree: Tree, chunk_size: int) -> Iterator[Piece]:
    """Cut the tree into pieces in archive order; a slice has at most `chunk_size` bytes."""
    filler = bytearray()
    for entry in tree.entries:
        filler += tarstream.header(entry)
        content = entry.size if isinstance(entry, SourceFile) else 0
        if content or len(filler) >= FILLER_LIMIT:
            yield Filler(bytes(filler))
            filler.clear()
        if isinstance(entry, SourceFile):
            yield from _slices(entry, chunk_size)
            filler += tarstream.padding(content)
    yield Filler(bytes(filler) + tarstream.END)


def batches(found: Iterable[Piece], size: int = BATCH_SIZE) -> Iterator[list[Piece]]:
    """Group neighbouring pieces until a group has `size` plain bytes."""
    group: list[Piece] = []
    total = 0
    for piece in found:
        group.append(piece)
        total += piece.size
        if total >= size:
            yield group
            group, total = [], 0
    if group:
        yield group


def _slices(file: SourceFile, chunk_size: int) -> Iterator[Slice]:
    for start in range(0, file.size, chunk_size):
        yield Slice(file, start, min(chunk_size, file.size - start))
