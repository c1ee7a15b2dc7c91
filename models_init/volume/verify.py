"""Compare installed packs with their manifests, down to each chunk."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from models_init.core.digests import digest_of
from models_init.core.errors import ManifestError
from models_init.core.file_modes import DIRECTORY_MODE
from models_init.formats import manifest
from models_init.fs.os_errors import volume_errors
from models_init.runtime.workers import each
from models_init.transfer import chunk_io
from models_init.transfer.ranges import portions
from models_init.volume.activation import Switch

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from models_init.core.events import Observer
    from models_init.core.pack_ref import PackRef
    from models_init.formats.manifest import File, Manifest, Placement
    from models_init.formats.release import InstalledPack, Release
    from models_init.runtime.workers import Workers
    from models_init.volume.layout import Volume

_NEEDS_BYTES = {"missing", "type", "size", "bytes"}


@dataclass(frozen=True, slots=True)
class Damage:
    """One difference from the published state.

    `kind` is manifest, record, link, missing, type, size, mode, bytes or extra. `where` names the pack or the release,
    and `path` is relative to it. `detail` is a readable description.
    """

    where: str
    path: str
    kind: str
    detail: str


@dataclass(frozen=True, slots=True)
class PackState:
    """The state of one pack; `content` is None if its manifest is missing or not the verified one."""

    pack: InstalledPack
    content: Manifest | None
    damages: tuple[Damage, ...]

    @property
    def broken(self) -> list[File]:
        """Return the files whose bytes must be restored."""
        paths = {damage.path for damage in self.damages if damage.kind in _NEEDS_BYTES}
        return [file for file in self.content.files if file.path in paths] if self.content else []

    @property
    def is_missing(self) -> bool:
        """Return True if the pack has no tree."""
        return any(damage.path == "." and damage.kind in {"missing", "type"} for damage in self.damages)


@dataclass(frozen=True, slots=True)
class ReleaseState:
    """The state of a release."""

    release: Release
    packs: tuple[PackState, ...]
    links: tuple[Damage, ...]

    @property
    def damages(self) -> list[Damage]:
        """Return all differences from the published state."""
        return [*self.links, *(damage for pack in self.packs for damage in pack.damages)]

    @property
    def size(self) -> int:
        """Return the number of hashed bytes."""
        return sum(pack.content.size for pack in self.packs if pack.content)


async def verify(
    volume: Volume, release: Release, workers: Workers, observer: Observer, skip: Collection[PackRef] = ()
) -> ReleaseState:
    """Hash all files of the release on all cores; compare names, types, sizes and modes. Raises `VolumeError`.

    The packs in `skip` are left out.
    """
    packs = [await _verify_pack(volume, pack, workers, observer) for pack in release.packs if pack.ref not in skip]
    return ReleaseState(release, tuple(packs), tuple(_verify_directory(volume, release)))


def _verify_directory(volume: Volume, release: Release) -> Iterator[Damage]:
    switch, where = Switch(volume), f"release {release.id}"
    if not switch.has_record(release):
        yield Damage(where, "release.json", "record", "missing or damaged")
    for name in switch.wrong_links(release):
        yield Damage(where, name, "link", "does not point to its pack")
    for name in switch.unexpected_files(release):
        yield Damage(where, name, "extra", "not part of the release")


def installed_manifest(volume: Volume, pack: InstalledPack) -> Manifest | None:
    """Return the manifest that the pack was verified against, or None if it is missing or differs."""
    try:
        document = volume.manifest_path(pack.ref).read_bytes()
        return manifest.parse(document, pack.ref) if digest_of(document) == pack.manifest else None
    except (OSError, ManifestError):
        return None


def missing_manifest(pack: InstalledPack) -> Damage:
    """Return the damage of a pack without the manifest that it was verified against."""
    return Damage(str(pack.ref), "", "manifest", "missing or different")


async def _verify_pack(volume: Volume, pack: InstalledPack, workers: Workers, observer: Observer) -> PackState:
    content = await workers.run(installed_manifest, volume, pack)
    if not content:
        return PackState(pack, None, (missing_manifest(pack),))
    observer.event("verifying", pack=pack.ref.name, version=pack.ref.version, bytes=content.size)
    observer.expect(content.size)
    where, root = str(pack.ref), volume.pack_path(pack.ref)
    with volume_errors(root, reading=True):
        found = await workers.run(_scan, root)
        damages = list(_compare(where, content, found))
        if any(damage.kind == "mode" for damage in damages) and await workers.run(_modes_are_fixed, volume, found):
            damages = [damage for damage in damages if damage.kind != "mode"]
    absent = {damage.path for damage in damages if damage.kind in {"missing", "type"}}
    damages += await _hash(where, root, [file for file in content.files if file.path not in absent], workers, observer)
    return PackState(pack, content, tuple(sorted(damages, key=lambda damage: damage.path)))


def _scan(root: Path) -> dict[str, os.stat_result]:
    """Return all entries of the tree by relative path."""
    found = {".": os.lstat(root)} if os.path.lexists(root) else {}
    if root.is_symlink():
        return found
    for parent, directories, names in os.walk(root):
        prefix = "" if parent == str(root) else os.path.relpath(parent, root) + "/"
        for name in (*directories, *names):
            found[prefix + name] = os.lstat(f"{parent}/{name}")
    return found


def _modes_are_fixed(volume: Volume, found: Mapping[str, os.stat_result]) -> bool:
    """Return True if the file system does not store modes.

    On a volume that is not writable, this is assumed if all files and directories have the same mode and everybody may
    read them.
    """
    keeps_modes = volume.keeps_modes()
    if keeps_modes is not None:
        return not keeps_modes
    modes = {stat.S_IMODE(status.st_mode) for status in found.values()}
    return len(modes) == 1 and modes.pop() & 0o444 == 0o444


def _compare(where: str, content: Manifest, found: Mapping[str, os.stat_result]) -> Iterator[Damage]:
    expected: dict[str, tuple[int, int, int | None]] = dict.fromkeys(
        [".", *content.all_directories()], (stat.S_IFDIR, DIRECTORY_MODE, None)
    )
    expected |= {file.path: (stat.S_IFREG, chunk_io.mode(file), file.size) for file in content.files}
    for path, (kind, mode, size) in expected.items():
        status = found.get(path)
        if status is None:
            yield Damage(where, path, "missing", "")
        elif stat.S_IFMT(status.st_mode) != kind:
            yield Damage(where, path, "type", f"not a {'directory' if kind == stat.S_IFDIR else 'regular file'}")
        else:
            if size is not None and status.st_size != size:
                yield Damage(where, path, "size", f"{status.st_size:,} bytes instead of {size:,}")
            if chunk_io.permissions(status) != mode:
                yield Damage(where, path, "mode", f"{stat.S_IMODE(status.st_mode):04o} instead of {mode:04o}")
    for path in sorted(found.keys() - expected.keys()):
        yield Damage(where, path, "extra", "not part of the pack")


async def _hash(where: str, root: Path, files: Sequence[File], workers: Workers, observer: Observer) -> list[Damage]:
    """Return a damage for each file with wrong chunks, with the offsets of these chunks."""

    async def unsound(part: list[Placement]) -> list[Placement]:
        sound = set(map(id, await workers.run(chunk_io.sound, str(root), part)))
        observer.advance(sum(placement.chunk.size for placement in part))
        return [placement for placement in part if id(placement) not in sound]

    wanted = (placement for file in files for placement in manifest.placements(file))
    with volume_errors(root, reading=True):
        wrong = [placement for part in await each(unsound, portions(wanted)) for placement in part]
    return [
        Damage(where, path, "bytes", _differing(list(group)))
        for path, group in groupby(wrong, key=lambda placement: placement.file.path)
    ]


def _differing(wrong: Sequence[Placement]) -> str:
    if len(wrong) == 1:
        return f"1 chunk differs, from byte {wrong[0].start:,}"
    return f"{len(wrong)} chunks differ, the first from byte {wrong[0].start:,}"
