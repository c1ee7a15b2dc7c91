"""Where a file is cut: at the best of the places that its content marks; decided without any I/O.

The next border is the best mark between a quarter and seven quarters of the wanted size behind the last one. Behind an
insertion or a change the borders are therefore soon the old ones again, on average after one chunk.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from models_init.formats.manifest import CHUNK_LIMIT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models_init.publish.pack.boundary_hash import BoundaryCandidates

FRONT = 16
"""What lies in front of a file, where headers are, gets chunks of a 16th of the size: they change most."""

FRONT_LEAST = 4 << 10
"""Bytes below which it does not become smaller: an entry in the manifest takes 150."""


def chunk_sizes(size: int, average: int, marks: Iterator[BoundaryCandidates]) -> Iterator[int]:
    """Give the sizes of a file's chunks, in order: `average` behind its front; what fits into that stays whole.

    `marks` are those of its blocks, in order; they are taken as far as they are needed.
    """
    start = number = 0
    near: deque[BoundaryCandidates] = deque()
    while size - start > average:
        least, most = size_limits(number, average)
        first, last = start + least, min(start + most, size)
        while not near or near[-1].stop < last:
            near.append(next(marks))
        while near[0].stop <= first:
            near.popleft()
        _, end = min(filter(None, (block.best(first, last) for block in near)), default=(0, last))
        yield end - start
        start, number = end, number + 1
    if start < size:
        yield size - start


def size_limits(number: int, average: int) -> tuple[int, int]:
    """Return the least and the most bytes of the chunk that so many others precede: about as many as lie before it.

    Were that told by the place itself, an insertion would move the bounds of all chunks at the front.
    """
    wanted = min(average, max(average // FRONT, FRONT_LEAST) << max(0, number - 1))
    return wanted // 4, min(wanted * 7 // 4, CHUNK_LIMIT)
