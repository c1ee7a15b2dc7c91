"""Remove packs, releases and leftovers that neither a kept release nor the environment needs."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from models_init.core.errors import DamagedError
from models_init.core.pack_ref import PackRef
from models_init.fs.files import FreedSpaceCounter, is_empty, make_directory, sync_path, temp_path
from models_init.fs.os_errors import volume_errors
from models_init.volume.activation import Switch
from models_init.volume.atomic import remove_tree
from models_init.volume.copied_links import require_link
from models_init.volume.layout import manifest_path_of, spool_path_of
from models_init.volume.lock import flock
from models_init.volume.retention import RetentionDecision, VolumeInventory, decide

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

    from models_init.volume.layout import Volume


@dataclass(frozen=True, slots=True)
class PrunedItem:
    """One decision, and the bytes that it frees, taking hard links into account."""

    verdict: RetentionDecision
    freed: int


def prune(volume: Volume, wanted: Collection[PackRef] | None, keep: int, *, dry_run: bool) -> list[PrunedItem]:
    """Decide which items on the volume are needed, and remove the others, unless `dry_run`.

    The caller holds the lock on the volume. A killed run leaves nothing half-removed that counts as complete. Raises
    `DamagedError`: `current` is a directory or links to an incomplete release, so that the needed packs are unknown.
    """
    require_link(volume)
    if volume.current_name() and not volume.current():
        raise DamagedError("the current release is incomplete; run without an action to repair it, then prune")
    with volume_errors(volume.root):
        with ExitStack() as leases:  # held until everything is hidden; an activation waits for that

            def is_in_use(path: Path) -> bool:
                return not leases.enter_context(_without_lease(path))

            in_use = {name for name in volume.release_names() if is_in_use(volume.record_path(name))}
            packs_in_use = {ref for ref in volume.manifests() if is_in_use(volume.manifest_path(ref))}
            inventory = replace(_inventory(volume, wanted), in_use=in_use, packs_in_use=packs_in_use)
            verdicts = decide(inventory, keep)
            freed_space = FreedSpaceCounter()
            freed = [
                0 if verdict.stays else sum(map(freed_space.remove, _paths(volume, verdict))) for verdict in verdicts
            ]
            removals = [verdict for verdict in verdicts if not verdict.stays and not dry_run]
            hidden = [path for verdict in removals for path in _hide_public(volume, verdict)]
        for path in hidden:  # a file that is open cannot be removed on NFS and FUSE
            remove_tree(path)
        for verdict in removals:
            _remove(volume, verdict)
    return [PrunedItem(verdict, size) for verdict, size in zip(verdicts, freed, strict=True)]


def _inventory(volume: Volume, wanted: Collection[PackRef] | None) -> VolumeInventory:
    """Return the content of the volume, without the leases."""
    now, switch = time.time(), Switch(volume)
    complete = {release.id: {pack.ref for pack in release.packs} for release in switch.in_order()}
    rolled_back_from = switch.rolled_back_from() if wanted is None else switch.rolled_back(wanted)
    return VolumeInventory(
        current=volume.current_name() or None,
        releases=complete,
        unfinished=[name for name in volume.release_names() if name not in complete],
        in_use=(),
        wanted=wanted,
        packs=volume.pack_directories(),
        manifests=volume.manifests(),
        staged=volume.staged(),
        leftovers=[(path, now - _changed(path)) for path in volume.leftovers()],
        rolled_back_from=rolled_back_from.id if rolled_back_from else None,
        not_activated={name: now - time for name, time in switch.staged().items() if name in complete},
    )


@contextmanager
def _without_lease(path: Path) -> Iterator[bool]:
    """Yield True if no reader holds a lease on this record or manifest; new leases wait until the block ends."""
    descriptor = -1
    try:
        with suppress(FileNotFoundError, IsADirectoryError):
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)  # an exclusive lock on NFS needs write access
        yield descriptor < 0 or _is_free(descriptor)
    finally:
        if descriptor >= 0:
            os.close(descriptor)


def _is_free(record: int) -> bool:
    """Lock a record or manifest; return False if a reader has a lease, or the lock server does not answer."""
    try:
        return flock(record, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno != errno.ENOLCK:
            raise
        return False


def _path(volume: Volume, verdict: RetentionDecision) -> Path:
    match verdict.kind, verdict.subject:
        case "release", str(name):
            return volume.release_path(name)
        case "pack", PackRef() as ref:
            return volume.pack_path(ref)
        case "manifest", PackRef() as ref:
            return volume.manifest_path(ref)
        case _, path:
            return path  # type: ignore[return-value]  # subjects of kind staging and leftover are paths


def _paths(volume: Volume, verdict: RetentionDecision) -> list[Path]:
    path = _path(volume, verdict)
    return [path, manifest_path_of(path), spool_path_of(path)] if verdict.kind == "staging" else [path]


def _hide_public(volume: Volume, verdict: RetentionDecision) -> list[Path]:
    """Remove the public name of a release, pack or manifest; return the paths to remove."""
    path = _path(volume, verdict)
    with suppress(OSError):  # another user's directory could not be renamed
        if is_empty(path):
            path.rmdir()
            return []
    match verdict.kind, verdict.subject:
        case "release", str(name):
            return _take_away(volume, path, volume.record_path(name), lambda: volume.current_name() == name)
        case "pack", PackRef() as ref:
            return _take_away(volume, path, volume.manifest_path(ref), lambda: _is_in_a_release(volume, ref))
        case "manifest", PackRef() as ref:
            return _take_away(volume, path, path, lambda: volume.pack_path(ref).is_dir())
    return []


def _remove(volume: Volume, verdict: RetentionDecision) -> None:
    """Remove what has no public name, and directories that are empty now."""
    path = _path(volume, verdict)
    match verdict.kind:
        case "leftover":
            remove_tree(path)
        case "staging":
            volume.remove_staged(path)
        case "pack" | "manifest":
            volume.remove_empty_directory(path.parent)


def _is_in_a_release(volume: Volume, ref: PackRef) -> bool:
    return any(pack.ref == ref for release in volume.recorded() for pack in release.packs)


def _take_away(volume: Volume, path: Path, record: Path, is_needed: Callable[[], bool]) -> list[Path]:
    """Remove the public name of a file or tree; return the paths to remove, or none if it is needed again.

    Without working locks, an install may have started to need it after the decision. A directory from a lower layer of
    overlayfs cannot be renamed. In that case its `record` is renamed, without which it does not count as installed,
    and the directory is removed in place.
    """
    trash = temp_path(volume.staging, "trash")
    document = _content(record)
    try:
        public = _hide(path, record, trash)
    except FileNotFoundError:
        return []
    if is_needed() and _put_back(trash, public):
        if document and not record.exists():  # a concurrent prune removed it, because the pack had no public name
            make_directory(record.parent)
            volume.replace(record, document)
        return []
    return [trash] if public == path else [path, trash]


def _put_back(trash: Path, public: Path) -> bool:
    """Restore the public name; return False if the install has created it again."""
    try:
        os.rename(trash, public)
    except OSError:
        return False
    sync_path(public.parent)
    return True


def _content(record: Path) -> bytes:
    """Return the content of a record or manifest, or no bytes if there is none."""
    try:
        return record.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return b""


def _hide(path: Path, record: Path, trash: Path) -> Path:
    """Rename a file or tree, or its record if overlayfs refuses that; return the path that no longer exists."""
    public = path
    try:
        os.rename(path, trash)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        public = record
        with suppress(FileNotFoundError):
            os.rename(record, trash)
    sync_path(public.parent)
    return public


def _changed(path: Path) -> float:
    try:
        return os.lstat(path).st_mtime
    except FileNotFoundError:
        return 0.0
