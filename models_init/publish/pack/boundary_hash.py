"""Finds the places in a file that its content marks for a border; runs in worker threads.

The 32 bytes before a place alone decide whether it is marked, and how well it suits. So the same bytes have the same
marks wherever they lie; what is inserted or changed elsewhere moves marks, and makes or unmakes none. All of it is
arithmetic on whole numbers modulo 2^64, hence the same on every machine.
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
"""Bytes before a place that decide about it."""

BEFORE = 4 << 10
"""Bytes before a block that are looked through, too: a run of one pattern, of up to that length, may begin there."""

_STEP = 128 << 10
"""Places that are judged at once: what is computed of each (eight bytes) has to stay in a core's cache."""

_FACTOR = np.uint64(0xC4CEB9FE1A85EC53)
_LEAST = np.uint64(255 << 56)
"""A place is marked if the word before it, times the factor, is that much: one in 256; none in a run of one byte."""

_BACK = np.arange(0, _WINDOW, _WORD)
_FACTORS = np.array([0x9E3779B97F4A7C15, 0x94D049BB133111EB, 0xD6E8FEB86659FD93, 0xFF51AFD7ED558CCD], np.uint64)
"""The rank of a mark is the sum of the four words before it, the nearest first, times these. All five factors are odd
constants of well-known hash functions; other ones would give other borders, so they stay as they are."""


@dataclass(frozen=True, slots=True)
class BoundaryCandidates:
    """The marks in a block of a file that ends at `stop`; the lower a mark's rank, the better a border there."""

    stop: int
    places: NDArray[np.int64]
    ranks: NDArray[np.uint64]

    def best(self, first: int, stop: int) -> tuple[int, int] | None:
        """Return rank and place of the best mark (the foremost of several) from `first` until before `stop`."""
        low, high = self.places.searchsorted((first, stop)).tolist()
        if low == high:
            return None
        at = low + int(self.ranks[low:high].argmin())
        return int(self.ranks[at]), int(self.places[at])


def marks(block: Slice) -> BoundaryCandidates:
    """Find the marks in a block of a file; `UsageError` for one that changed or cannot be read."""
    before = min(BEFORE, block.start)
    return find(read_slice(block.file, block.start - before, before + block.size), block.start, before)


def find(data: bytes, start: int, before: int) -> BoundaryCandidates:
    """Find the marks from `start` of a file in what lies there; `before` bytes of `data` lie before that place."""
    words = np.ndarray((max(0, len(data) - _WORD + 1),), "<u8", data, 0, (1,))  # overlapping: one at each byte
    at = _marked(words)
    ranks = (words[at[:, np.newaxis] - _BACK] * _FACTORS).sum(axis=1)
    places = at + (start - before + _WORD)
    # In a run of one pattern many a place is marked, each as good as the one before: a run is no place for borders.
    kept = (places >= start) & (np.diff(ranks, prepend=~ranks[:1]) != 0)
    return BoundaryCandidates(start - before + len(data), places[kept], ranks[kept])


def _marked(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Tell before which words' ends there is a mark; those that have not three words before them have none."""
    scratch = np.empty(_STEP, np.uint64)
    found = [np.empty(0, np.int64)]
    for first in range(_WINDOW - _WORD, len(words) - 1, _STEP):
        part = words[first : min(first + _STEP, len(words) - 1)]
        product = np.multiply(part, _FACTOR, out=scratch[: len(part)])
        found.append(np.flatnonzero(product >= _LEAST) + first)
    return np.concatenate(found)
