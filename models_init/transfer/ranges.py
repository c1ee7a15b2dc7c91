"""Group chunks into batches and byte ranges of an archive; performs no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from models_init.formats.manifest import MIB

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from models_init.formats.manifest import Placement

SPAN_SIZE = 8 * MIB
"""Approximate size in bytes of one ranged GET. Azurite hashes replies of up to 4 MiB, which makes it three times
slower; Azure recommends 4 to 16 MiB for block blobs; sixteen connections of 8 MiB fill a 10 Gbit/s line at 40 ms."""


BATCH_SIZE = MIB
"""Bytes of neighboring chunks that a worker takes at once: a hundred small files then need one hand-over to a thread
instead of a hundred."""


_FINE = 32 << 10
"""Average chunk size in bytes below which two threads are no faster than one, because they wait for each other's
GIL."""


GAP = 64 << 10
"""Largest gap in bytes between two wanted chunks that is fetched and dropped instead of split into two requests: a
fraction of the bandwidth-delay product of any line that needs several connections."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Neighboring chunks that a worker handles together: bytes `start` to `stop` of the archive."""

    start: int
    stop: int
    placements: tuple[Placement, ...]

    @property
    def is_small(self) -> bool:
        """Return True if the overhead per chunk exceeds the cost of hashing and decompressing the chunks."""
        return self.stop - self.start < len(self.placements) * _FINE


@dataclass(frozen=True, slots=True)
class Span:
    """Neighboring batches that one ranged GET returns: bytes `start` to `stop` of the archive, gaps included."""

    start: int
    stop: int
    batches: tuple[Batch, ...]


@dataclass(frozen=True, slots=True)
class WrongChunk:
    """A chunk that did not verify, and the reason; none of it was written."""

    placement: Placement
    reason: str


def batches(missing: Iterable[Placement], size: int = BATCH_SIZE) -> Iterator[Batch]:
    """Group chunks, in archive order, into batches of at most `size` bytes (or a single chunk), without large gaps."""
    group: list[Placement] = []
    start = stop = 0
    for placement in missing:
        chunk = placement.chunk
        end = chunk.offset + chunk.length
        if group and (end - start > size or chunk.offset - stop > GAP):
            yield Batch(start, stop, tuple(group))
            group = []
        if not group:
            start = chunk.offset
        group.append(placement)
        stop = end
    if group:
        yield Batch(start, stop, tuple(group))


def spans(missing: Iterable[Placement], size: int = SPAN_SIZE) -> Iterator[Span]:
    """Group chunks, in archive order, into spans of about `size` bytes.

    The result is an iterator because a pack may have a million chunks.
    """
    return joined(batches(missing), size)


def joined(batches: Iterable[Batch], size: int = SPAN_SIZE) -> Iterator[Span]:
    """Group batches, in archive order, into spans of about `size` bytes."""
    group: list[Batch] = []
    for batch in batches:
        if group and (batch.stop - group[0].start > size or batch.start - group[-1].stop > GAP):
            yield Span(group[0].start, group[-1].stop, tuple(group))
            group = []
        group.append(batch)
    if group:
        yield Span(group[0].start, group[-1].stop, tuple(group))


def portions(wanted: Iterable[Placement], size: int = SPAN_SIZE) -> Iterator[list[Placement]]:
    """Split chunks into groups of about `size` decompressed bytes, each read and hashed in one call of a worker."""
    group: list[Placement] = []
    total = 0
    for placement in wanted:
        group.append(placement)
        total += placement.chunk.size
        if total >= size:
            yield group
            group, total = [], 0
    if group:
        yield group
