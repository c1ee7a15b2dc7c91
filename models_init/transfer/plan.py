"""What is missing, where it comes from, and what that costs; decided without any I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from models_init.core.errors import IncompatibleError
from models_init.formats.manifest import MIB
from models_init.transfer.ranges import BATCH_SIZE, SPAN_SIZE
from models_init.transfer.reuse import NOTHING, Reuse

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from models_init.formats.manifest import Manifest, Placement, Resolved
    from models_init.transfer.reuse import Copy, Link


@dataclass(frozen=True, slots=True)
class PackSurvey:
    """What is known about one pack: what the volume holds of it, and in which order its chunks are looked for.

    `reuse` says where what does not lie in staging may be found; `staged_bytes` is what staging takes on the disk;
    `spooled_bytes` are those of a plain archive that need not be fetched.
    """

    resolved: Resolved
    installed: bool
    reuse: Reuse = NOTHING
    staged_bytes: int = 0
    staged_inodes: int = 0
    spooled_bytes: int = 0


@dataclass(frozen=True, slots=True)
class PackPlan:
    """What one pack needs: files to link, chunks to copy, chunks to fetch (`missing`, in archive order).

    Of a plain archive nothing but `unspooled` is known, the bytes of it to fetch.
    """

    resolved: Resolved
    installed: bool
    links: tuple[Link, ...]
    copies: tuple[Copy, ...]
    missing: tuple[Placement, ...]
    disk_bytes: int
    disk_inodes: int
    unspooled: int = 0

    @property
    def manifest(self) -> Manifest:
        """What the pack consists of."""
        return self.resolved.manifest

    @property
    def digest(self) -> str:
        """The digest of the manifest's document."""
        return self.resolved.digest

    @property
    def fetch_bytes(self) -> int:
        """Bytes of the archive that are missing."""
        return sum(placement.chunk.length for placement in self.missing) + self.unspooled

    @property
    def is_unknown(self) -> bool:
        """Tell whether it comes as a plain archive, so that nobody knows what is in it: all of it is written."""
        return self.manifest.plain is not None and not self.manifest.is_derived

    @property
    def write_bytes(self) -> int:
        """Plain bytes that are written, fetched or copied."""
        if self.is_unknown:
            return self.manifest.size
        return sum(p.chunk.size for p in self.missing) + sum(copy.placement.chunk.size for copy in self.copies)

    @property
    def reused_bytes(self) -> int:
        """Plain bytes that the volume holds already."""
        if self.is_unknown:
            return 0
        return self.manifest.size - sum(placement.chunk.size for placement in self.missing)


@dataclass(frozen=True, slots=True)
class Plan:
    """What brings the volume to the release that the environment names; packs are in order of name."""

    packs: tuple[PackPlan, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(pack.manifest.size for pack in self.packs)

    @property
    def known_size(self) -> int:
        """Bytes of all files of the packs that are not plain archives still."""
        return sum(pack.manifest.size for pack in self.packs if not pack.is_unknown)

    @property
    def fetch_bytes(self) -> int:
        """Bytes to fetch."""
        return sum(pack.fetch_bytes for pack in self.packs)

    @property
    def write_bytes(self) -> int:
        """Plain bytes to write."""
        return sum(pack.write_bytes for pack in self.packs)

    @property
    def reused_bytes(self) -> int:
        """Plain bytes that the volume holds already."""
        return sum(pack.reused_bytes for pack in self.packs)

    @property
    def disk_bytes(self) -> int:
        """Bytes that the volume will take more than now."""
        return sum(pack.disk_bytes for pack in self.packs)

    @property
    def disk_inodes(self) -> int:
        """Files and folders that the volume will have more than now."""
        return sum(pack.disk_inodes for pack in self.packs)

    @property
    def chunks(self) -> int:
        """How many chunks the manifests of all packs describe."""
        return sum(len(file.chunks) for pack in self.packs for file in pack.manifest.files)

    @property
    def largest_batch(self) -> int:
        """Bytes of the largest piece that a worker will take at once, of whatever may have to be fetched."""
        chunks = (
            placement.chunk for pack in self.packs if not pack.installed for placement in pack.manifest.placements()
        )
        return max(BATCH_SIZE, max((chunk.length for chunk in chunks), default=0))


BLOCK = 4096
"""Bytes in which nearly every file system hands out room."""

SPARE = 16 * MIB
"""Bytes beyond the packs themselves: directories, records, the file system's own trees (about 0.2 % of 8 GiB)."""


def make_plan(facts: Iterable[PackSurvey]) -> Plan:
    """What is to be done, given what is there."""
    return Plan(tuple(_plan_pack(fact) for fact in sorted(facts, key=lambda fact: fact.resolved.manifest.ref)))


def _plan_pack(fact: PackSurvey) -> PackPlan:
    if fact.installed:
        return PackPlan(fact.resolved, True, (), (), (), 0, 0)
    manifest, reuse = fact.resolved.manifest, fact.reuse
    if manifest.plain and not manifest.is_derived:
        return _plan_archive(fact, manifest.archive.size, manifest.size, manifest.plain.entries or 0)
    linked = {link.file.path for link in reuse.links}
    own = [file for file in manifest.files if file.path not in linked]
    size = sum(-(-file.size // BLOCK) * BLOCK for file in own)
    inodes = len(own) + len(manifest.folders()) + 1
    return PackPlan(
        fact.resolved,
        False,
        reuse.links,
        reuse.copies,
        reuse.missing,
        max(0, size - fact.staged_bytes),
        max(0, inodes - fact.staged_inodes),
    )


def _plan_archive(fact: PackSurvey, archive: int, unpacked: int, entries: int) -> PackPlan:
    """The archive lies on the volume until all of it is unpacked; each file may take half a block more, on average."""
    size, parts = archive + unpacked + entries * BLOCK // 2, -(-archive // SPAN_SIZE)
    return PackPlan(
        fact.resolved,
        False,
        (),
        (),
        (),
        max(0, size - fact.staged_bytes),
        max(0, entries + parts + 3 - fact.staged_inodes),
        archive - fact.spooled_bytes,
    )


def check_compatibility(manifests: Sequence[Manifest]) -> None:
    """Raise `IncompatibleError`, with the versions that would fit, for packs that do not work together."""
    chosen = {manifest.pack: manifest.version for manifest in manifests}
    faults = [
        f"{manifest.ref} works with {other.pack} {' or '.join(other.versions)}, and the environment names "
        f"{chosen.get(other.pack, 'none')}"
        for manifest in manifests
        for other in manifest.requires
        if chosen.get(other.pack) not in other.versions
    ]
    if faults:
        raise IncompatibleError("; ".join(faults) + "; set versions that fit together")
