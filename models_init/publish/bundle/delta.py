"""Which parts of an archive a site lacks, by what its receipt says that it holds; decided from manifests alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from models_init.transfer.ranges import GAP
from models_init.transfer.reuse import ReuseSearch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from models_init.formats.manifest import Manifest


class ByteRange(NamedTuple):
    """Bytes `start` to `stop` of an archive."""

    start: int
    stop: int


def missing_ranges(wanted: Manifest, held: Iterable[Manifest]) -> list[ByteRange]:
    """The pieces of the archive that hold every chunk that is in none of the held packs.

    Neighbours are one piece where a site may fetch them with one range. Whole files are not compared, only their
    chunks: a volume without hard links finds a file only so.
    """
    search = ReuseSearch(wanted, ())
    for manifest in held:
        search.look("", manifest, whole=False)
    pieces: list[ByteRange] = []
    for placement in search.found().missing:
        start, stop = placement.chunk.offset, placement.chunk.offset + placement.chunk.length
        if pieces and start - pieces[-1].stop <= GAP:
            start = pieces.pop().start
        pieces.append(ByteRange(start, stop))
    return pieces
