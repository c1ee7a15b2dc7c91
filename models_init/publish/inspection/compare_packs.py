"""Compute how much a site with one version of a pack will fetch for another version, from their manifests. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from models_init.formats.manifest import placements
from models_init.transfer.ranges import SPAN_SIZE, spans
from models_init.transfer.reuse import ReuseSearch

if TYPE_CHECKING:
    from models_init.formats.manifest import Manifest

LINE_RATES = (50, 200, 1000)
"""Line rates in Mbit/s for which the time is reported: an office line, a good line, a data center."""


@dataclass(frozen=True, slots=True)
class Difference:
    """The cost of an upgrade from `old` to `new`; `bytes_fetched` includes archive ranges and the manifest."""

    old: Manifest
    new: Manifest
    files_linked: int
    bytes_linked: int
    bytes_copied: int
    bytes_new: int
    bytes_fetched: int
    requests: int

    def seconds(self, megabits_per_second: float) -> float:
        """Return the transfer time in seconds on a line of that rate, without latency."""
        return self.bytes_fetched * 8 / (megabits_per_second * 1e6)


def compare(old: Manifest, new: Manifest, document_bytes: int) -> Difference:
    """Plan the upgrade as a site that has installed `old`; `document_bytes` is the size of the new manifest."""
    if new.plain:
        sections = _changed_sections(old, new)
        requests = 1 + sum(map(_parts, sections))
        return Difference(old, new, 0, 0, 0, new.size, document_bytes + sum(sections), requests)
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


def _changed_sections(old: Manifest, new: Manifest) -> list[int]:
    """Return the sizes in bytes of the sections to fetch of an opaque archive: all of it, or an image's new layers."""
    if not new.image:
        return [new.archive.size]
    known = {layer.diff_id for layer in old.image.layers} if old.image else set()
    return [layer.size for layer in new.image.layers if layer.diff_id not in known]


def _parts(size: int) -> int:
    """Return the number of ranges in which a section of an opaque archive is fetched."""
    return -(-size // SPAN_SIZE)
