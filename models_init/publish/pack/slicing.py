"""Cut a tree into the pieces that become the archive's frames. No I/O."""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

from models_init.formats.manifest import MIB
from models_init.publish.pack import tar_stream
from models_init.publish.pack.boundaries import chunk_sizes
from models_init.publish.pack.pieces import FillerFrame, Piece, Slice
from models_init.publish.pack.source_tree import SourceFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from models_init.publish.pack.boundary_hash import BoundaryCandidates
    from models_init.publish.pack.source_tree import SourceTree

BLOCK_SIZE = MIB
"""Uncompressed bytes that a worker searches for candidate boundaries at once."""

BATCH_SIZE = MIB
"""Uncompressed bytes in one job of a worker, so that many small files share a job."""

AUTO = 0
"""As a chunk size: choose one for each file by `average_size`."""

_SMALLEST, _LARGEST = 64 << 10, MIB
_MOST_CHUNKS = 2048
"""Approximate maximum of chunks per file at the automatic chunk size: their entries in the manifest take 300 kB."""

_COMPRESSED = frozenset(
    (
        "7z",
        "br",
        "bz2",
        "flac",
        "gz",
        "jpeg",
        "jpg",
        "lz4",
        "mp3",
        "npz",
        "ogg",
        "opus",
        "png",
        "tgz",
        "xz",
        "zip",
        "zst",
    )
)
"""Suffixes of compressed formats: after a change, the rest of such a file differs too, so small chunks save nothing."""

FILLER_LIMIT = MIB
"""Uncompressed bytes after which a run of headers (of empty files and directories) is cut, to keep frames small."""


def average_size(path: str, size: int, chunk_size: int) -> int:
    """Return the average size of a file's chunks in bytes: `chunk_size`, or by type and size of the file if `AUTO`."""
    if chunk_size != AUTO:
        return chunk_size
    if path.rpartition(".")[2].lower() in _COMPRESSED:
        return _LARGEST
    least = max(1, size // _MOST_CHUNKS)
    return min(_LARGEST, max(_SMALLEST, 1 << (least - 1).bit_length()))


def blocks(tree: SourceTree, chunk_size: int) -> Iterator[Slice]:
    """Yield, in archive order, the blocks to search for candidate boundaries before the tree can be cut."""
    for file in tree.files:
        yield from blocks_of(file, chunk_size)


def pieces(tree: SourceTree, chunk_size: int, candidates: Iterator[BoundaryCandidates]) -> Iterator[Piece]:
    """Cut the tree into pieces, in archive order.

    `chunk_size` is the average size of a slice in bytes, or `AUTO`; `candidates` yields the candidates of each block
    of `blocks`.
    """
    filler = bytearray()
    for entry in tree.entries:
        filler += tar_stream.header(entry)
        content = entry.size if isinstance(entry, SourceFile) else 0
        if content or len(filler) >= FILLER_LIMIT:
            yield FillerFrame(bytes(filler))
            filler.clear()
        if isinstance(entry, SourceFile):
            yield from slices_of(entry, chunk_size, candidates)
            filler += tar_stream.padding(content)
    yield FillerFrame(bytes(filler) + tar_stream.END)


def batches(found: Iterable[Piece], size: int = BATCH_SIZE) -> Iterator[list[Piece]]:
    """Group neighboring pieces until a group has at least `size` uncompressed bytes."""
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


def blocks_of(file: SourceFile, chunk_size: int) -> Iterator[Slice]:
    """Yield the blocks of a file that must be searched for candidate boundaries; none if it is a single chunk."""
    if file.size > average_size(file.path, file.size, chunk_size):
        for start in range(0, file.size, BLOCK_SIZE):
            yield Slice(file, start, min(BLOCK_SIZE, file.size - start))


def slices_of(file: SourceFile, chunk_size: int, candidates: Iterator[BoundaryCandidates]) -> Iterator[Slice]:
    """Cut a file; `candidates` yields the candidates of each of its blocks, and perhaps those of later files."""
    own = islice(candidates, sum(1 for _ in blocks_of(file, chunk_size)))
    start = 0
    for size in chunk_sizes(file.size, average_size(file.path, file.size, chunk_size), own):
        yield Slice(file, start, size)
        start += size
    deque(own, maxlen=0)  # consume the blocks after the last boundary, which `chunk_sizes` did not take
