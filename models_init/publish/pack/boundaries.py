"""Choose the chunk boundaries of a file from candidates that depend on its content. No I/O.

The next boundary is the best candidate between a quarter and seven quarters of the wanted chunk size after the last
boundary. After an insertion or a change, the boundaries therefore realign with the previous ones, on average after one
chunk.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from models_init.formats.manifest import CHUNK_LIMIT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models_init.publish.pack.boundary_hash import BoundaryCandidates

FRONT = 16
"""The first chunks of a file have a 16th of the average size, because headers change most often."""

FRONT_LEAST = 4 << 10
"""Minimum size in bytes of those first chunks: a chunk's entry in the manifest takes 150 bytes."""


def chunk_sizes(size: int, average: int, candidates: Iterator[BoundaryCandidates]) -> Iterator[int]:
    """Yield the sizes in bytes of a file's chunks, in order.

    Chunks have `average` bytes on average, and fewer at the beginning of the file. A file of at most `average` bytes is
    one chunk. `candidates` yields the boundary candidates of the file's blocks, in order; only as many as needed are
    taken.
    """
    start = number = 0
    nearby: deque[BoundaryCandidates] = deque()
    while size - start > average:
        least, most = size_limits(number, average)
        first, last = start + least, min(start + most, size)
        while not nearby or nearby[-1].stop < last:
            nearby.append(next(candidates))
        while nearby[0].stop <= first:
            nearby.popleft()
        _, end = min(filter(None, (block.best(first, last) for block in nearby)), default=(0, last))
        yield end - start
        start, number = end, number + 1
    if start < size:
        yield size - start


def size_limits(number: int, average: int) -> tuple[int, int]:
    """Return the minimum and maximum size in bytes of the chunk with index `number`.

    A chunk at the beginning of a file is about as large as all chunks before it together. The limits depend on the
    index and not on the offset, so that an insertion does not shift the limits of the following chunks.
    """
    wanted = min(average, max(average // FRONT, FRONT_LEAST) << max(0, number - 1))
    return wanted // 4, min(wanted * 7 // 4, CHUNK_LIMIT)
