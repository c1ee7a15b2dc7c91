"""Repair the damages that `verify` found: fetch only the damaged chunks, replace each file by a rename."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from models_init.core.digests import digest_of
from models_init.core.errors import DamagedError
from models_init.core.units import count
from models_init.formats import manifest
from models_init.fs.files import removed_on_error, sync_file_system, sync_path, temp_path
from models_init.fs.os_errors import volume_errors
from models_init.install import assemble, resolve
from models_init.transfer import chunk_io
from models_init.transfer.plan import make_plan
from models_init.volume.activation import Switch
from models_init.volume.verify import installed_manifest, missing_manifest, verify

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from models_init.formats.manifest import Manifest, Resolved
    from models_init.formats.release import InstalledPack, Release
    from models_init.install.context import InstallContext
    from models_init.volume.layout import Volume
    from models_init.volume.verify import Damage, PackState, ReleaseState


@dataclass(frozen=True, slots=True)
class RepairResult:
    """The release, all damages that were repaired, and the bytes of archives that were fetched."""

    state: ReleaseState
    damages: tuple[Damage, ...]
    bytes_fetched: int


async def repair(context: InstallContext, release: Release) -> RepairResult:
    """Verify a release, repair its damages and those of versions that share a damaged file, and verify the result.

    The volume must be prepared and locked. Raises the errors of the source and the volume; repairs done until then are
    kept. Raises `DamagedError`: a damaged pack is still damaged afterwards.
    """
    fetched, manifests = await _restore_manifests(context, release)
    state = await verify(context.volume, release, context.workers, context.observer)
    for pack in state.packs:
        await context.workers.run(_remove_wrong_type if pack.is_missing else _fix_metadata, context.volume, pack)
        if pack.broken:
            fetched += await _refetch(context, pack)
    with volume_errors(context.volume.root):
        Switch(context.volume).repair_record(release)
        for installed in release.packs:
            for digest in (installed.manifest, _repair_digest(installed)):
                context.volume.remove_staged(context.volume.staging_path(installed.ref, digest))
        for pack in state.packs:
            if pack.content and pack.content.is_derived:
                origin = manifest.origin(pack.content).digest
                context.volume.remove_staged(context.volume.staging_path(pack.pack.ref, origin))
    if state.damages:
        await _verify_result(context, state)
    return RepairResult(state, (*manifests, *state.damages), fetched)


async def _verify_result(context: InstallContext, before: ReleaseState) -> None:
    """Verify the repaired packs. Raises `DamagedError`."""
    intact = {pack.pack.ref for pack in before.packs if not pack.damages}
    after = await verify(context.volume, before.release, context.workers, context.observer, intact)
    if after.damages:
        first = after.damages[0]
        raise DamagedError(
            f"release {before.release} is still damaged after the repair: {count(len(after.damages), 'difference')}, "
            f"the first in {first.where}: {first.path} ({first.kind}); the disk or the file system does not keep what "
            "is written: check it, then run --repair again"
        )


async def _restore_manifests(context: InstallContext, release: Release) -> tuple[int, list[Damage]]:
    """Fetch the manifests that differ from those of the release; nothing can be verified without them.

    For a pack from an opaque archive this fetches the archive. Returns the bytes of archives that were fetched, and the
    damages that were repaired.
    """
    fetched, restored = 0, []
    for pack in release.packs:
        if not installed_manifest(context.volume, pack):
            document = await resolve.fetch_document(context.source, context.trust, pack.ref)
            found = manifest.published(document, pack.ref)
            if found.manifest.plain:
                found, received = await _unpack(context, found)
                fetched, document = fetched + received, manifest.encode(found.manifest)
            if found.digest != pack.manifest:
                raise DamagedError(
                    f"the manifest of the installed {pack.ref} is damaged, and the source has another one now; "
                    "install another version, or ask the publisher for the old manifest"
                )
            await context.workers.run(_put_manifest, context.volume, pack, document)
            restored.append(missing_manifest(pack))
    return fetched, restored


async def _unpack(context: InstallContext, published: Resolved) -> tuple[Resolved, int]:
    """Fetch an opaque archive and unpack it to staging; return its manifest and the number of fetched bytes."""
    plan = make_plan(await assemble.survey(context, [published]))
    assemble.check_space(plan, *context.volume.free())
    assemble.check_available(plan, context.source)
    fetcher = context.fetcher_for(plan)
    context.observer.expect(plan.fetch_bytes)
    found, _ = await assemble.assemble_pack(context, plan.packs[0], fetcher)
    return found, fetcher.traffic.fetched


def _put_manifest(volume: Volume, pack: InstalledPack, document: bytes) -> None:
    path = volume.manifest_path(pack.ref)
    with volume_errors(volume.root):
        path.parent.mkdir(mode=0o755, exist_ok=True)
        volume.replace(path, document)


async def _refetch(context: InstallContext, pack: PackState) -> int:
    """Rebuild the broken files in staging, reusing their own valid chunks, then replace them.

    A missing pack is restored as a whole, because no incomplete pack may have a public name. An opaque archive is
    fetched as a whole, because no part of it can be fetched alone. Returns the number of fetched bytes.
    """
    content = pack.content
    if content is None:
        raise TypeError("a pack without a manifest has no broken files")
    fetched = 0
    if content.is_derived:
        _, fetched = await _unpack(context, manifest.origin(content))
    part = _part(pack, content)
    plan = make_plan(await assemble.survey(context, [part]))
    assemble.check_space(plan, *context.volume.free())
    assemble.check_available(plan, context.source)
    fetcher = context.fetcher_for(plan)
    context.observer.event("repairing", pack=content.pack, version=content.version, files=len(pack.broken))
    context.observer.expect(plan.fetch_bytes)
    _, is_whole = await assemble.assemble_pack(context, plan.packs[0], fetcher)
    if pack.is_missing:
        await context.workers.run(context.volume.publish, pack.pack.ref, part.digest, is_whole)
    else:
        await context.workers.run(_replace_files, context.volume, pack, context.staging(part).root)
    return fetched + fetcher.traffic.fetched


def _part(pack: PackState, content: Manifest) -> Resolved:
    """Return the manifest to rebuild: the pack's, or one with only its broken files and their own staging directory.

    A concurrent run may be staging the whole pack in the regular staging directory; preparing that directory for only
    these files would remove the rest.
    """
    if pack.is_missing or content.is_derived:
        return manifest.Resolved(content, pack.pack.manifest)
    broken = replace(content, files=tuple(pack.broken), directories=())
    return manifest.Resolved(broken, _repair_digest(pack.pack))


def _repair_digest(pack: InstalledPack) -> str:
    """Return a stand-in for a digest in the staging path; the same each time, so that a later run can resume."""
    return digest_of(f"repair {pack.manifest}".encode())


def _replace_files(volume: Volume, pack: PackState, staging: Path) -> None:
    """Rename each new file to its path, and to all paths to which the damaged file was hard-linked."""
    root = volume.pack_path(pack.pack.ref)
    with volume_errors(root):
        sync_file_system(volume.root)
        shared = _hard_links_of(volume, pack)
        for file in pack.broken:
            for place in sorted(shared.get(file.digest, set()) - {root / file.path}):
                name = temp_path(volume.staging, "repaired")
                with removed_on_error(name):
                    os.link(staging / file.path, name)
                    os.rename(name, place)
            _make_directories(root, (root / file.path).parent)
            _replace_file(volume, staging / file.path, root / file.path)
        sync_file_system(volume.root)


def _replace_file(volume: Volume, new: Path, place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        volume.remove_atomically(place)
    os.rename(new, place)


def _hard_links_of(volume: Volume, pack: PackState) -> dict[str, set[Path]]:
    """Return all paths on the volume that share an inode with a broken file, by digest."""
    damaged = {
        inode: file.digest for file in pack.broken if (inode := _inode(volume.pack_path(pack.pack.ref) / file.path))
    }
    found: dict[str, set[Path]] = {}
    for place in _files(volume) if damaged else ():
        digest = damaged.get(_inode(place) or (0, 0))
        if digest:
            found.setdefault(digest, set()).add(place)
    return found


def _files(volume: Volume) -> Iterator[Path]:
    for ref in volume.pack_directories():
        for parent, _, names in os.walk(volume.pack_path(ref)):
            yield from (volume.root / parent / name for name in names)


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return (status.st_dev, status.st_ino) if stat.S_ISREG(status.st_mode) else None


def _remove_wrong_type(volume: Volume, pack: PackState) -> None:
    """Remove an entry that has the pack's path but is not a directory."""
    with volume_errors(volume.root):
        volume.remove_atomically(volume.pack_path(pack.pack.ref))


def _fix_metadata(volume: Volume, pack: PackState) -> None:
    """Repair names, types and modes, which need no content."""
    root = volume.pack_path(pack.pack.ref)
    modes = {file.path: chunk_io.mode(file) for file in pack.content.files} if pack.content else {}
    with volume_errors(root):
        for damage in pack.damages:
            _fix_entry(volume, root, damage, modes)


def _make_directories(root: Path, directory: Path) -> None:
    """Create a directory of a pack and its parents, except the pack's own directory `root`.

    Where locks do not work, a concurrent prune may have removed the pack. This then raises `FileNotFoundError`, because
    a new directory with a few repaired files would be an incomplete pack.
    """
    for path in reversed((directory, *directory.parents)):
        if path != root and path.is_relative_to(root):
            path.mkdir(mode=0o755, exist_ok=True)


def _fix_entry(volume: Volume, root: Path, damage: Damage, modes: dict[str, int]) -> None:
    path, is_file = root / damage.path, damage.path in modes
    match damage.kind:
        case "extra":
            volume.remove_atomically(path)
        case "mode":
            os.chmod(path, modes.get(damage.path, 0o755))
        case "missing" | "type" if not is_file:
            volume.remove_atomically(path)
            _make_directories(root, path)
            sync_path(path.parent)
