"""How a tree is cut into the pieces that become the archive's frames; decided without any I/O."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from models_init.manifest import MIB
from models_init.publish import tarstream
from models_init.publish.borders import sizes
from models_init.publish.tree import SourceFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from models_init.publish.marks import Marks
    from models_init.publish.tree import Tree

BLOCK_SIZE = MIB
"""Plain bytes in which a worker looks for marks at once."""

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
    """What becomes a chunk, or is looked through at once: `size` bytes of a file from `start`."""

    file: SourceFile
    start: int
    size: int


Piece = Filler | Slice


def blocks(tree: Tree, chunk_size: int) -> Iterator[Slice]:
    """Give, in archive order, what has to be looked through for marks before the tree can be cut."""
    for file in tree.files:
        yield from _blocks(file, chunk_size)


def pieces(tree: Tree, chunk_size: int, marks: Iterator[Marks]) -> Iterator[Piece]:
    """Cut the tree into pieces in archive order; a slice has `chunk_size` bytes on average. `marks`: of its blocks."""
    filler = bytearray()
    for entry in tree.entries:
        filler += tarstream.header(entry)
        content = entry.size if isinstance(entry, SourceFile) else 0
        if content or len(filler) >= FILLER_LIMIT:
            yield Filler(bytes(filler))
            filler.clear()
        if isinstance(entry, SourceFile):
            yield from _slices(entry, chunk_size, marks)
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


def _blocks(file: SourceFile, chunk_size: int) -> Iterator[Slice]:
    if file.size > chunk_size:
        for start in range(0, file.size, BLOCK_SIZE):
            yield Slice(file, start, min(BLOCK_SIZE, file.size - start))


def _slices(file: SourceFile, chunk_size: int, marks: Iterator[Marks]) -> Iterator[Slice]:
    own = islice(marks, sum(1 for _ in _blocks(file, chunk_size)))
    start = 0
    for size in sizes(file.size, chunk_size, own):
        yield Slice(file, start, size)
        start += size
    deque(own, maxlen=0)  # behind the last border none was asked for
