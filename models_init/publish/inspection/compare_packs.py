"""What a site that has one version of a pack will fetch for another; decided from the manifests alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from models_init.formats.manifest import placements
from models_init.transfer.ranges import SPAN_SIZE, spans
from models_init.transfer.reuse import ReuseSearch

if TYPE_CHECKING:
    from models_init.formats.manifest import Manifest

LINE_RATES = (50, 200, 1000)
"""Mbit/s for which the time is told: an office line, a good line, a data centre."""


@dataclass(frozen=True, slots=True)
class Difference:
    """From `old` to `new`; `bytes_fetched` counts the ranges of the archive and the manifest's document."""

    old: Manifest
    new: Manifest
    files_linked: int
    bytes_linked: int
    bytes_copied: int
    bytes_new: int
    bytes_fetched: int
    requests: int

    def seconds(self, megabits_per_second: float) -> float:
        """How long the bytes take on a line of that rate, without latency."""
        return self.bytes_fetched * 8 / (megabits_per_second * 1e6)


def compare(old: Manifest, new: Manifest, document_bytes: int) -> Difference:
    """Plan as a site would that has installed `old`; `document_bytes` is the size of the new manifest's document."""
    if new.plain:
        return Difference(old, new, 0, 0, 0, new.size, document_bytes + new.archive.size, 1 + _parts(new.archive.size))
    search = ReuseSearch(new, ())
    search.look("", old, whole=True)
    found = search.found()
    ranges = list(spans(found.missing))
    return Difference(
        old=old,
        new=new,
        files_linked=len(found.links),
        bytes_linked=sum(placement.chunk.size for link in found.links for placement in placements(link.file)),
        bytes_copied=sum(copy.placement.chunk.size for copy in found.copies),
        bytes_new=sum(placement.chunk.size for placement in found.missing),
        bytes_fetched=document_bytes + sum(span.stop - span.start for span in ranges),
        requests=1 + len(ranges),
    )


def _parts(size: int) -> int:
    """Ranges in which a plain archive is fetched, of which no site has anything."""
    return -(-size // SPAN_SIZE)
