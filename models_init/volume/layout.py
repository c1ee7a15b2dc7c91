"""The tree that a site trusts: where packs, manifests, releases and staging lie, and what is there.

What has a public name (below `packs/`, `releases/`, `manifests/`) is complete and never changes: it is built below
`staging/`, brought to the disk, and renamed. `current` is absent or leads to a complete, verified release.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from models_init.core.errors import NotWritableError, VolumeError
from models_init.core.pack_ref import PackRef
from models_init.formats import release as releases
from models_init.fs.capabilities import has_hard_links, require_symbolic_links
from models_init.fs.files import exchange, make_folder, sync_file_system, sync_path, temp_path, write_file
from models_init.fs.os_errors import volume_errors

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

    from models_init.formats.release import Release

_PARTS = ("packs", "manifests", "releases", "staging")
_SPOOL = ".spool"
_DIGEST_DIGITS = 12  # of a manifest's digest in the name of its staging folder: tells manifests of one version apart
_NO_LINK = {errno.ENOENT, errno.ENOTDIR, errno.EINVAL}
_DONE_ALREADY = {errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST}


class StagedPack(NamedTuple):
    """A pack on its way in, and its folder."""

    ref: PackRef
    path: Path


class SeedTree(NamedTuple):
    """A tree, whole or not, and the manifest that says what ought to lie in it."""

    ref: PackRef
    root: Path
    manifest: Path
    whole: bool


class Volume:
    """The folder `root`. Reading needs no preparation; call `prepare` before anything that writes."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.staging = root / "staging"
        self.hard_links = True  # until `prepare` finds otherwise

    # -- where things lie

    def pack_path(self, ref: PackRef) -> Path:
        """The installed pack."""
        return self.root / "packs" / ref.name / ref.version

    def manifest_path(self, ref: PackRef) -> Path:
        """The manifest that the installed pack was verified against."""
        return self.root / "manifests" / ref.name / f"{ref.version}.json"

    def staging_path(self, ref: PackRef, digest: str) -> Path:
        """Where the pack grows until it is complete; one folder for each manifest, so that two never mix."""
        return self.staging / ref.name / f"{ref.version}@{digest.removeprefix('sha256:')[:_DIGEST_DIGITS]}"

    def release_path(self, release_id: str) -> Path:
        """A release."""
        return self.root / "releases" / release_id

    def record_path(self, release_id: str) -> Path:
        """What a release consists of; the file whose lock is a reader's lease."""
        return self.release_path(release_id) / "release.json"

    # -- what is there

    def current(self) -> Release | None:
        """The active release, if its record and its packs are there."""
        return self.release(self.current_name())

    def current_record(self) -> Release | None:
        """What is recorded of the active release, whether its packs are there or not."""
        return self.record(self.current_name())

    def current_name(self) -> str:
        """The release that `current` leads to, whatever its state; empty where there is no such link."""
        with volume_errors(self.root):
            try:
                return os.path.basename(os.readlink(self.root / "current"))
            except OSError as error:
                if error.errno not in _NO_LINK:
                    raise
                return ""

    def release(self, release_id: str) -> Release | None:
        """One release, if its record is readable and all its packs are installed."""
        release = self.record(release_id)
        return release if release and all(self.is_installed(pack.ref) for pack in release.packs) else None

    def record(self, release_id: str) -> Release | None:
        """What is recorded of a release, whether its packs are there or not."""
        try:
            release = releases.parse(self.record_path(release_id).read_bytes())
        except (OSError, ValueError):
            return None
        return release if release.id == release_id else None

    def inferred(self, release_id: str) -> Release | None:
        """A release whose record is lost, as its links and the manifests of their packs tell it: if its id follows."""
        folder = self.release_path(release_id)
        try:
            links = [os.readlink(folder / name) for name in os.listdir(folder) if (folder / name).is_symlink()]
            refs = [PackRef.make(*link.split("/")[-2:]) for link in links]
            packs = {ref: _digest(self.manifest_path(ref)) for ref in refs}
            created = datetime.fromtimestamp(folder.stat().st_mtime, UTC).isoformat(timespec="seconds")
        except (OSError, ValueError, TypeError):
            return None
        release = releases.release_of(packs, created, source="unknown", program="unknown")
        return release if release.id == release_id else None

    def recorded(self) -> list[Release]:
        """What is recorded of all releases."""
        return [release for name in self.release_names() if (release := self.record(name))]

    def releases(self) -> list[Release]:
        """All whole releases, oldest first."""
        found = (self.release(name) for name in self.release_names())
        return sorted((release for release in found if release), key=lambda release: (release.created, release.id))

    def release_names(self) -> list[str]:
        """The folders of all releases, whole or not."""
        return [name for name in _names(self.root / "releases") if not name.startswith(".")]

    def packs(self) -> list[PackRef]:
        """All installed packs, in order of name and version."""
        return [ref for ref in sorted(_refs(self.root / "packs")) if self.is_installed(ref)]

    def pack_folders(self) -> list[PackRef]:
        """The folders of all packs, with a manifest or without."""
        return sorted(_refs(self.root / "packs"))

    def manifests(self) -> list[PackRef]:
        """All manifests, with a pack or without."""
        return sorted(
            PackRef(ref.name, ref.version.removesuffix(".json"))
            for ref in _refs(self.root / "manifests")
            if ref.version.endswith(".json")
        )

    def staged(self) -> list[StagedPack]:
        """All packs on their way in."""
        found = []
        for name in _names(self.staging):
            for folder in _names(self.staging / name):
                with suppress(ValueError):
                    path = self.staging / name / folder.removesuffix(".json").removesuffix(_SPOOL)
                    found.append(StagedPack(PackRef.make(name, folder.partition("@")[0]), path))
        return sorted(set(found))

    def seed_trees(self, first: Collection[str]) -> list[SeedTree]:
        """The trees whose chunks may be of use: packs named in `first`, newest version first, then all others."""
        packs = sorted(self.packs(), key=lambda ref: (ref.name in first, ref.version), reverse=True)
        installed = [SeedTree(ref, self.pack_path(ref), self.manifest_path(ref), whole=True) for ref in packs]
        staged = [
            SeedTree(ref, path, manifest_path_of(path), whole=False) for ref, path in self.staged() if path.is_dir()
        ]
        return installed + staged

    def leftovers(self) -> list[Path]:
        """What killed runs left in staging under names that no pack can have."""
        return [self.staging / name for name in _names(self.staging) if name.startswith(".")]

    def is_installed(self, ref: PackRef) -> bool:
        """Tell whether the pack has its public name, and with it the manifest that it was verified against."""
        with volume_errors(self.root):
            return self.pack_path(ref).is_dir() and self.manifest_path(ref).is_file()

    def free(self) -> tuple[int, int]:
        """Bytes and inodes that the running user can still take. File systems without inodes say 2**63."""
        with volume_errors(self.root):
            existing = next(path for path in (self.root, *self.root.absolute().parents) if path.exists())
            status = os.statvfs(existing)
        return status.f_bavail * status.f_frsize, status.f_favail if status.f_files else 1 << 63

    # -- what changes it

    def prepare(self) -> None:
        """Make the folders of the tree and try what the work will need. Raises `NotWritableError`, `VolumeError`."""
        with volume_errors(self.root):
            self.require_place()
            self.root.mkdir(mode=0o755, exist_ok=True)
            self.make_parts()
        self._try_links()

    def require_place(self) -> None:
        """Raise `NotWritableError` where there is no folder and none can be made; `OSError`."""
        if not self.root.absolute().parent.is_dir():
            raise NotWritableError(f"{self.root} is not there and neither is its parent folder; check MODELS_DIR")
        if self.root.exists() and not self.root.is_dir():
            raise NotWritableError(f"{self.root} is not a folder; check MODELS_DIR")

    def parts(self) -> list[Path]:
        """The folders that a prepared volume consists of."""
        return [self.root / part for part in _PARTS]

    def make_parts(self) -> None:
        """Make the folders below the root. Raises `OSError` where one is a link, too."""
        for folder in self.parts():
            make_folder(folder)

    def keep_manifest(self, ref: PackRef, digest: str, document: bytes) -> None:
        """Put the manifest beside the folder in staging that is to become its pack."""
        with volume_errors(self.root):
            make_folder(self.staging / ref.name)
            self.replace(manifest_path_of(self.staging_path(ref, digest)), document)

    def publish(self, ref: PackRef, digest: str, is_whole: Callable[[], bool] = lambda: True) -> None:
        """Give the complete, verified tree in staging its public name, with the manifest that is kept beside it.

        Everything is on the disk before the renames. Finding the pack published already, by a run beside this one, is
        success; a pack whose manifest is gone is replaced, for nobody can say what it is. `is_whole` is asked last
        whether what lies in staging still is what was verified; what is not is not published.
        """
        staging, pack = self.staging_path(ref, digest), self.pack_path(ref)
        with volume_errors(self.root):
            sync_file_system(self.root)
            for path in (pack, self.manifest_path(ref)):
                make_folder(path.parent)
                sync_path(path.parent.parent)
            if not self.is_installed(ref):
                # A run beside this one may publish it, too; what lies in staging then is half made by a third one.
                if os.path.lexists(pack) and not self.is_installed(ref):
                    if not is_whole():  # the manifest would make a pack of whatever lies there
                        raise VolumeError(f"{ref} is gone from staging; run again")
                    self._replace_tree(staging, pack)
                self._rename(manifest_path_of(staging), self.manifest_path(ref))
                if self.manifest_path(ref).is_file() and not pack.is_dir() and is_whole():
                    self._rename(staging, pack)
            if not self.is_installed(ref):
                raise VolumeError(f"{ref} is gone from staging; run again")
            self.remove_staged(staging)

    def remove_staged(self, path: Path) -> None:
        """Remove a folder in staging, its manifest and the spool of an opaque archive. Raises `VolumeError`."""
        with volume_errors(path):
            self.remove_atomically(path)
            self.remove_atomically(manifest_path_of(path))
            if spool_path_of(path).exists():
                self.remove_atomically(spool_path_of(path))

    def _replace_tree(self, new: Path, old: Path) -> None:
        """Put a tree in place of one that readers may have open; where that cannot be done at once, in two steps."""
        try:
            if not exchange(new, old):
                self.remove_atomically(old)
        except FileNotFoundError:  # a run beside this one did it
            return
        sync_path(old.parent)

    def _rename(self, old: Path, new: Path) -> None:
        """Rename, unless a run beside this one did."""
        try:
            os.rename(old, new)
        except OSError as error:
            if error.errno not in _DONE_ALREADY:
                raise
        sync_path(new.parent)

    def replace(self, path: Path, content: bytes) -> None:
        """Put a small file in place of another, at once and durably. Raises `OSError`."""
        name = temp_path(self.staging, "file")
        write_file(name, content)
        os.rename(name, path)
        sync_path(path.parent)

    def remove_atomically(self, path: Path) -> None:
        """Take a file or a tree out of sight at once, then remove it; nothing half-removed has a public name.

        What is not there is no fault. Raises `OSError`.
        """
        trash = temp_path(self.staging, "trash")
        try:
            os.rename(path, trash)
        except FileNotFoundError:
            return
        sync_path(path.parent)
        remove_tree(trash)
        self.remove_empty_folder(path.parent)

    def remove_empty_folder(self, folder: Path) -> None:
        """Remove the folder of a pack's name once no version is left in it."""
        if folder.parent.name in _PARTS:
            with suppress(OSError):  # another version is there
                folder.rmdir()

    def _try_links(self) -> None:
        """Symbolic links there must be; where hard links are refused, `hard_links` says so from now on."""
        with volume_errors(self.root):
            require_symbolic_links(self.staging, self.root)
            self.hard_links = has_hard_links(self.staging)


def manifest_path_of(staging: Path) -> Path:
    """Where the manifest of a folder in staging lies."""
    return staging.parent / f"{staging.name}.json"


def spool_path_of(staging: Path) -> Path:
    """Where the parts of a plain archive lie until it is unpacked."""
    return staging.parent / f"{staging.name}{_SPOOL}"


def _digest(path: Path) -> str:
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def remove_tree(path: Path) -> None:
    """Remove a file, a link or a tree. Raises `OSError`."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _refs(folder: Path) -> Iterator[PackRef]:
    for name in _names(folder):
        if (folder / name).is_symlink():  # what lies there is not the volume's, and least of all to be pruned
            continue
        for version in _names(folder / name):
            with suppress(ValueError):
                yield PackRef.make(name, version)


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []
