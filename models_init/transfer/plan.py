"""Plan which links, copies and fetches each pack needs, and their cost; performs no I/O."""

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
    """The content of one pack that the volume already holds.

    `reuse` lists where chunks that are not in staging may be found, and which chunks are then still missing.
    `staged_bytes` and `staged_inodes` are the disk usage of staging. `spooled_bytes` are stored bytes of an opaque
    archive, and `installed_bytes` are bytes whose content is in installed packs; neither has to be fetched.
    `linked_bytes` of the latter need no space, because their files are hard-linked.
    """

    resolved: Resolved
    installed: bool
    reuse: Reuse = NOTHING
    staged_bytes: int = 0
    staged_inodes: int = 0
    spooled_bytes: int = 0
    installed_bytes: int = 0
    linked_bytes: int = 0


@dataclass(frozen=True, slots=True)
class PackPlan:
    """The steps for one pack: files to link, chunks to copy, chunks to fetch (`missing`, in archive order).

    For an opaque archive only `archive_bytes_missing` is known, the number of its bytes to fetch.
    """

    resolved: Resolved
    installed: bool
    links: tuple[Link, ...]
    copies: tuple[Copy, ...]
    missing: tuple[Placement, ...]
    disk_bytes: int
    disk_inodes: int
    archive_bytes_missing: int = 0

    @property
    def manifest(self) -> Manifest:
        """Return the pack's manifest."""
        return self.resolved.manifest

    @property
    def digest(self) -> str:
        """Return the digest of the manifest document."""
        return self.resolved.digest

    @property
    def fetch_bytes(self) -> int:
        """Return the missing bytes of the archive."""
        return sum(placement.chunk.length for placement in self.missing) + self.archive_bytes_missing

    @property
    def is_opaque(self) -> bool:
        """Return True for an opaque archive whose content is not known yet, so that all of it is written."""
        return self.manifest.plain is not None and not self.manifest.is_derived

    @property
    def write_bytes(self) -> int:
        """Return the decompressed bytes to write, whether fetched or copied."""
        if self.is_opaque:
            return self.manifest.size
        return sum(p.chunk.size for p in self.missing) + sum(copy.placement.chunk.size for copy in self.copies)

    @property
    def reused_bytes(self) -> int:
        """Return the decompressed bytes that the volume already holds."""
        if self.is_opaque:
            return 0
        return self.manifest.size - sum(placement.chunk.size for placement in self.missing)


@dataclass(frozen=True, slots=True)
class Plan:
    """All steps that make the volume hold the release named in the environment; packs are sorted by name."""

    packs: tuple[PackPlan, ...]

    @property
    def size(self) -> int:
        """Return the total size of all files in bytes."""
        return sum(pack.manifest.size for pack in self.packs)

    @property
    def known_size(self) -> int:
        """Return the total size in bytes of the files of all packs whose content is known."""
        return sum(pack.manifest.size for pack in self.packs if not pack.is_opaque)

    @property
    def fetch_bytes(self) -> int:
        """Return the bytes to fetch."""
        return sum(pack.fetch_bytes for pack in self.packs)

    @property
    def write_bytes(self) -> int:
        """Return the decompressed bytes to write."""
        return sum(pack.write_bytes for pack in self.packs)

    @property
    def reused_bytes(self) -> int:
        """Return the decompressed bytes that the volume already holds."""
        return sum(pack.reused_bytes for pack in self.packs)

    @property
    def disk_bytes(self) -> int:
        """Return the additional disk usage in bytes."""
        return sum(pack.disk_bytes for pack in self.packs)

    @property
    def needed_bytes(self) -> int:
        """Return the free space in bytes that the install needs, including a reserve, or 0 if it writes nothing."""
        return self.disk_bytes + SPARE if self.disk_bytes else 0

    @property
    def disk_inodes(self) -> int:
        """Return the number of additional files and directories."""
        return sum(pack.disk_inodes for pack in self.packs)

    @property
    def chunks(self) -> int:
        """Return the number of chunks in all manifests."""
        return sum(len(file.chunks) for pack in self.packs for file in pack.manifest.files)

    @property
    def largest_batch(self) -> int:
        """Return the size in bytes of the largest batch that may have to be fetched."""
        chunks = (
            placement.chunk for pack in self.packs if not pack.installed for placement in pack.manifest.placements()
        )
        return max(BATCH_SIZE, max((chunk.length for chunk in chunks), default=0))


BLOCK = 4096
"""Allocation unit, in bytes, of nearly every file system."""

SPARE = 16 * MIB
"""Bytes needed in addition to the packs: directories, records, the file system's own trees (about 0.2 % of 8 GiB)."""


def make_plan(facts: Iterable[PackSurvey]) -> Plan:
    """Return the plan for the surveyed packs."""
    return Plan(tuple(_plan_pack(fact) for fact in sorted(facts, key=lambda fact: fact.resolved.manifest.ref)))


def _plan_pack(fact: PackSurvey) -> PackPlan:
    if fact.installed:
        return PackPlan(fact.resolved, True, (), (), (), 0, 0)
    manifest, reuse = fact.resolved.manifest, fact.reuse
    if manifest.plain and not manifest.is_derived:
        needed = manifest.archive.size - fact.installed_bytes
        return _plan_archive(fact, needed, manifest.size - fact.linked_bytes, manifest.plain.entries or 0)
    linked = {link.file.path for link in reuse.links}
    own = [file for file in manifest.files if file.path not in linked]
    size = sum(-(-file.size // BLOCK) * BLOCK for file in own)
    inodes = len(own) + len(manifest.all_directories()) + 1
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
    """Plan an opaque archive.

    The archive stays on the volume until it is completely unpacked; each file takes half a block more on average.
    """
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
        f"{manifest.ref} works with {other.pack} {' or '.join(other.versions)}, but the environment asks for "
        f"{chosen.get(other.pack, 'none')}"
        for manifest in manifests
        for other in manifest.requires
        if chosen.get(other.pack) not in other.versions
    ]
    if faults:
        raise IncompatibleError("; ".join(faults) + "; set versions that work together")
