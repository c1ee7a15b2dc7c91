"""Compute the byte ranges of an archive that a site lacks, from the manifests of the packs in its receipt. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from models_init.transfer.ranges import GAP
from models_init.transfer.reuse import ReuseSearch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from models_init.formats.manifest import Manifest


class ByteRange(NamedTuple):
    """The bytes of an archive from `start` up to, but not including, `stop`."""

    start: int
    stop: int


def missing_ranges(wanted: Manifest, site_manifests: Iterable[Manifest]) -> list[ByteRange]:
    """Return the ranges of the archive that contain every chunk that none of the packs in `site_manifests` has.

    Ranges at most `GAP` bytes apart are merged, because a site may fetch them with one request. Only chunks are
    compared, not whole files, because a volume without hard links can reuse a file only by its chunks.
    """
    search = ReuseSearch(wanted, ())
    for manifest in site_manifests:
        search.look("", manifest, whole=False)
    pieces: list[ByteRange] = []
    for placement in search.found().missing:
        start, stop = placement.chunk.offset, placement.chunk.offset + placement.chunk.length
        if pieces and start - pieces[-1].stop <= GAP:
            start = pieces.pop().start
        pieces.append(ByteRange(start, stop))
    return pieces
