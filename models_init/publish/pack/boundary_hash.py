"""Find candidate chunk boundaries in a file by hashing its content. Runs in worker threads.

Only the 32 bytes before a position decide whether it is a candidate, and its rank. The same bytes therefore yield the
same candidates at any offset; an insertion or change elsewhere shifts candidates but does not add or remove any. The
hash is integer arithmetic modulo 2^64, so the results are the same on every machine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from models_init.publish.pack.source_tree import read_slice

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from models_init.publish.pack.pieces import Slice

_WORD = 8
_WINDOW = 4 * _WORD
"""Bytes before a position that decide whether it is a candidate."""

BEFORE = 4 << 10
"""Bytes before a block that are searched as well: a run of a repeated pattern of up to this length may begin there."""

_STEP = 128 << 10
"""Positions hashed at once: the intermediate results (eight bytes each) must fit into a core's cache."""

_FACTOR = np.uint64(0xC4CEB9FE1A85EC53)
_MINIMUM = np.uint64(255 << 56)
"""A position is a candidate if the product of the word before it and `_FACTOR` is at least this value.

That selects one position in 256, and none in a run of one byte.
"""

_BACK = np.arange(0, _WINDOW, _WORD)
_FACTORS = np.array([0x9E3779B97F4A7C15, 0x94D049BB133111EB, 0xD6E8FEB86659FD93, 0xFF51AFD7ED558CCD], np.uint64)
"""The rank of a candidate is the sum of the four words before it, the nearest first, multiplied by these factors.

All five factors are odd constants of well-known hash functions. They must not change: other factors would produce other
boundaries."""


@dataclass(frozen=True, slots=True)
class BoundaryCandidates:
    """The candidate boundaries in a block of a file that ends at offset `stop`; a lower rank is better."""

    stop: int
    offsets: NDArray[np.int64]
    ranks: NDArray[np.uint64]

    def best(self, first: int, stop: int) -> tuple[int, int] | None:
        """Return (rank, offset) of the best candidate in [`first`, `stop`), the first one on a tie, or None."""
        low, high = self.offsets.searchsorted((first, stop)).tolist()
        if low == high:
            return None
        at = low + int(self.ranks[low:high].argmin())
        return int(self.ranks[at]), int(self.offsets[at])


def boundary_candidates(block: Slice) -> BoundaryCandidates:
    """Find the candidate boundaries in a block of a file.

    Raises `UsageError`: the file has changed or cannot be read.
    """
    before = min(BEFORE, block.start)
    return find(read_slice(block.file, block.start - before, before + block.size), block.start, before)


def find(data: bytes, start: int, before: int) -> BoundaryCandidates:
    """Find the candidate boundaries in `data`, from offset `start` of the file on.

    The first `before` bytes of `data` precede `start`.
    """
    words = np.ndarray((max(0, len(data) - _WORD + 1),), "<u8", data, 0, (1,))  # overlapping: one at each byte
    at = _candidate_indices(words)
    ranks = (words[at[:, np.newaxis] - _BACK] * _FACTORS).sum(axis=1)
    offsets = at + (start - before + _WORD)
    # In a run of a repeated pattern, successive candidates have the same rank; none of them is a useful boundary.
    kept = (offsets >= start) & (np.diff(ranks, prepend=~ranks[:1]) != 0)
    return BoundaryCandidates(start - before + len(data), offsets[kept], ranks[kept])


def _candidate_indices(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return the indices of the words whose end is a candidate; words with fewer than three before them have none."""
    scratch = np.empty(_STEP, np.uint64)
    found = [np.empty(0, np.int64)]
    for first in range(_WINDOW - _WORD, len(words) - 1, _STEP):
        part = words[first : min(first + _STEP, len(words) - 1)]
        product = np.multiply(part, _FACTOR, out=scratch[: len(part)])
        found.append(np.flatnonzero(product >= _MINIMUM) + first)
    return np.concatenate(found)
