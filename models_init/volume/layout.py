"""Define the layout of the volume: paths of packs, manifests, releases and staging; list and publish them.

Everything under a public name (below `packs/`, `releases/`, `manifests/`) is complete and never changes: it is built
below `staging/`, synced to disk, and renamed. `current` is absent or links to a complete, verified release.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from models_init.core.digests import digest_of
from models_init.core.errors import NotWritableError, VolumeError
from models_init.core.pack_ref import PackRef
from models_init.formats import release as releases
from models_init.fs import capabilities
from models_init.fs.files import exchange, make_directory, sync_file_system, sync_path, temp_path
from models_init.fs.os_errors import volume_errors
from models_init.volume.atomic import PARTS, AtomicChanges
from models_init.volume.pack_content import has_content, is_placeholder

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator
    from pathlib import Path

    from models_init.formats.release import Release

_SPOOL = ".spool"
_DIGEST_DIGITS = 12  # of the manifest's digest in the staging path; distinguishes manifests of one version
_NO_LINK = {errno.ENOENT, errno.ENOTDIR, errno.EINVAL}
UNLIMITED = 1 << 63
"""Free bytes or inodes of a file system that does not count them."""


class StagedPack(NamedTuple):
    """An incomplete pack and its directory in staging."""

    ref: PackRef
    path: Path


class SeedTree(NamedTuple):
    """A tree that may contain reusable chunks, `complete` or not, and the path of its manifest."""

    ref: PackRef
    root: Path
    manifest: Path
    complete: bool


class Volume(AtomicChanges):
    """The directory `root`. Reading needs no preparation; call `prepare` before any method that writes."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.hard_links = True  # assumed until `prepare` has tested it
        self._keeps_modes: bool | None = None

    # -- paths

    def pack_path(self, ref: PackRef) -> Path:
        """Return the directory of the installed pack."""
        return self.root / "packs" / ref.name / ref.version

    def manifest_path(self, ref: PackRef) -> Path:
        """Return the path of the manifest that the installed pack was verified against."""
        return self.root / "manifests" / ref.name / f"{ref.version}.json"

    def staging_path(self, ref: PackRef, digest: str) -> Path:
        """Return the staging directory of the pack; one for each manifest, so that two manifests never mix."""
        return self.staging / ref.name / f"{ref.version}@{digest.removeprefix('sha256:')[:_DIGEST_DIGITS]}"

    def release_path(self, release_id: str) -> Path:
        """Return the directory of a release."""
        return self.root / "releases" / release_id

    def record_path(self, release_id: str) -> Path:
        """Return the path of a release's record, the file that readers lock for a lease."""
        return self.release_path(release_id) / "release.json"

    # -- content

    def current(self) -> Release | None:
        """Return the current release if its record and its packs exist."""
        return self.release(self.current_name())

    def current_record(self) -> Release | None:
        """Return the record of the current release, whether its packs exist or not."""
        return self.record(self.current_name())

    def current_name(self) -> str:
        """Return the id of the release that `current` links to, in any state, or "" if there is no such link.

        A link to any other path does not count: it may lead to another volume, or nowhere in a reader's container.
        """
        with volume_errors(self.root):
            try:
                directory, name = os.path.split(os.path.normpath(os.readlink(self.root / "current")))
            except OSError as error:
                if error.errno not in _NO_LINK:
                    raise
                return ""
        return name if directory == "releases" else ""

    def release(self, release_id: str) -> Release | None:
        """Return a release if its record is readable and all its packs are installed."""
        release = self.record(release_id)
        return release if release and all(self.is_installed(pack.ref) for pack in release.packs) else None

    def record(self, release_id: str) -> Release | None:
        """Return the record of a release, whether its packs exist or not."""
        try:
            release = releases.parse(self.record_path(release_id).read_bytes())
        except (OSError, ValueError):
            return None
        return release if release.id == release_id else None

    def inferred(self, release_id: str) -> Release | None:
        """Reconstruct a release whose record is lost from its links and its packs' manifests.

        Returns None if the id computed from them differs from `release_id`.
        """
        directory = self.release_path(release_id)
        try:
            links = [os.readlink(directory / name) for name in os.listdir(directory) if (directory / name).is_symlink()]
            refs = [PackRef.make(*link.split("/")[-2:]) for link in links]
            packs = {ref: _digest(self.manifest_path(ref)) for ref in refs}
            created = datetime.fromtimestamp(directory.stat().st_mtime, UTC).isoformat(timespec="seconds")
        except (OSError, ValueError, TypeError):
            return None
        release = releases.release_of(packs, created, source="unknown", program="unknown")
        return release if release.id == release_id else None

    def recorded(self) -> list[Release]:
        """Return the records of all releases."""
        return [release for name in self.release_names() if (release := self.record(name))]

    def releases(self) -> list[Release]:
        """Return all complete releases, oldest first."""
        found = (self.release(name) for name in self.release_names())
        return sorted((release for release in found if release), key=lambda release: (release.created, release.id))

    def release_names(self) -> list[str]:
        """Return the directory names of all releases, complete or not."""
        return [name for name in _names(self.root / "releases") if not name.startswith(".")]

    def packs(self) -> list[PackRef]:
        """Return all installed packs, sorted by name and version."""
        return [ref for ref in sorted(_refs(self.root / "packs")) if self.is_installed(ref)]

    def pack_directories(self) -> list[PackRef]:
        """Return all packs that have a directory, with or without a manifest."""
        return sorted(_refs(self.root / "packs"))

    def manifests(self) -> list[PackRef]:
        """Return all packs that have a manifest, with or without a directory."""
        return sorted(
            PackRef(ref.name, ref.version.removesuffix(".json"))
            for ref in _refs(self.root / "manifests")
            if ref.version.endswith(".json")
        )

    def staged(self) -> list[StagedPack]:
        """Return all packs in staging."""
        found = []
        for name in _names(self.staging):
            for directory in _names(self.staging / name):
                with suppress(ValueError):
                    path = self.staging / name / directory.removesuffix(".json").removesuffix(_SPOOL)
                    found.append(StagedPack(PackRef.make(name, directory.partition("@")[0]), path))
        return sorted(set(found))

    def seed_trees(self, first: Collection[str]) -> list[SeedTree]:
        """Return the trees to search for chunks: packs named in `first`, newest version first, then the others.

        Trees in staging come last.
        """
        packs = sorted(self.packs(), key=lambda ref: (ref.name in first, ref.version), reverse=True)
        installed = [SeedTree(ref, self.pack_path(ref), self.manifest_path(ref), complete=True) for ref in packs]
        staged = [
            SeedTree(ref, path, manifest_path_of(path), complete=False) for ref, path in self.staged() if path.is_dir()
        ]
        return installed + staged

    def leftovers(self) -> list[Path]:
        """Return the temporary files of killed runs in staging; no pack can have their names."""
        return [self.staging / name for name in _names(self.staging) if name.startswith(".")]

    def is_installed(self, ref: PackRef) -> bool:
        """Return True if the pack's directory, with content, and its manifest have their public names."""
        with volume_errors(self.root, reading=True):
            return self.manifest_path(ref).is_file() and self._has_content(ref)

    def missing(self, packs: Iterable[PackRef]) -> list[PackRef]:
        """Return the packs that are not installed."""
        return [ref for ref in packs if not self.is_installed(ref)]

    def _has_content(self, ref: PackRef) -> bool:
        return has_content(self.pack_path(ref), self.manifest_path(ref), ref)

    def free(self) -> tuple[int, int]:
        """Return the bytes and inodes available to the running user, or `UNLIMITED` if they are not counted.

        Some file systems report 0 free inodes although files can be created. In that case, creating a file is tested.
        """
        with volume_errors(self.root):
            directory = self._nearest_directory()
            status = os.statvfs(directory)
        size = status.f_bavail * status.f_frsize if status.f_blocks else UNLIMITED
        inodes = status.f_favail if status.f_files else UNLIMITED
        return size, inodes or (UNLIMITED if capabilities.can_create_files(directory) else 0)

    def keeps_modes(self) -> bool | None:
        """Return True if the file system stores permission bits, or None if it cannot be tested. Tests only once."""
        if self._keeps_modes is None:
            with suppress(OSError):
                self._keeps_modes = capabilities.keeps_modes(self._nearest_directory())
        return self._keeps_modes

    def name_rules(self) -> capabilities.NameRules | None:
        """Return how the file system treats names that differ only in case or form, or None if it cannot be tested."""
        with suppress(OSError):
            return capabilities.name_rules(self._nearest_directory())
        return None

    def _nearest_directory(self) -> Path:
        """Return `staging`, or the nearest existing directory above it."""
        return next(path for path in (self.staging, *self.staging.absolute().parents) if path.is_dir())

    # -- changes

    def prepare(self) -> None:
        """Create the directories and test the operations that an install needs.

        Raises `NotWritableError`, `VolumeError`.
        """
        with volume_errors(self.root):
            self.require_place()
            self.root.mkdir(mode=0o755, exist_ok=True)
            self.make_parts()
        self._try_links()

    def require_place(self) -> None:
        """Raise `NotWritableError` if the root is not a directory and cannot be created. Raises `OSError`."""
        if not self.root.absolute().parent.is_dir():
            raise NotWritableError(f"{self.root} does not exist, nor does its parent directory; check MODELS_DIR")
        if self.root.exists() and not self.root.is_dir():
            raise NotWritableError(f"{self.root} is not a directory; check MODELS_DIR")

    def parts(self) -> list[Path]:
        """Return the directories of a prepared volume."""
        return [self.root / part for part in PARTS]

    def make_parts(self) -> None:
        """Create the directories below the root.

        Raises `OSError`, including if one of them is a symbolic link or on another file system.
        """
        for directory in self.parts():
            make_directory(directory)
            self._require_one_file_system(directory)

    def check_parts(self) -> None:
        """Raise `OSError` if a directory below the root is on another file system."""
        for directory in filter(os.path.isdir, self.parts()):
            self._require_one_file_system(directory)

    def _require_one_file_system(self, directory: Path) -> None:
        """Raise `OSError` if nothing can be renamed into the directory, because it is a separate mount.

        Renaming a file that does not exist tests this without changing anything. The kernel compares the mounts first,
        so that two mounts of one file system are also detected.
        """
        try:
            os.rename(temp_path(self.root, "probe"), temp_path(directory, "probe"))
        except FileNotFoundError:
            return
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(directory)) from error

    def keep_manifest(self, ref: PackRef, digest: str, document: bytes) -> None:
        """Store the manifest next to the pack's staging directory."""
        with volume_errors(self.root):
            make_directory(self.staging / ref.name)
            self.replace(manifest_path_of(self.staging_path(ref, digest)), document)

    def publish(self, ref: PackRef, digest: str, is_whole: Callable[[], bool] = lambda: True) -> None:
        """Move the complete, verified tree and its manifest from staging to their public names.

        Everything is synced to disk before the renames. A pack that a concurrent run has already published counts as
        success. A pack whose manifest is missing is replaced, because its content is unknown. `is_whole` is called last
        and returns True if the tree in staging is still the verified one; otherwise the tree is not published. Raises
        `VolumeError`: the pack is no longer in staging.
        """
        staging, pack = self.staging_path(ref, digest), self.pack_path(ref)
        with volume_errors(self.root):
            sync_file_system(self.root)
            for path in (pack, self.manifest_path(ref)):
                make_directory(path.parent)
                sync_path(path.parent.parent)
            if not self.is_installed(ref):
                # A concurrent run may publish it, too; staging may then contain a third run's incomplete tree.
                if os.path.lexists(pack) and not is_placeholder(pack) and not self.is_installed(ref):
                    if not is_whole():  # the manifest would make the wrong tree a pack
                        raise _removed_from_staging(ref)
                    self._replace_tree(staging, pack)
                self._rename(manifest_path_of(staging), self.manifest_path(ref))
                if self.manifest_path(ref).is_file() and not self._has_content(ref) and is_whole():
                    self._rename_directory(staging, pack)  # also replaces an empty directory
            if not self.is_installed(ref):
                raise _removed_from_staging(ref)
            self.remove_staged(staging)

    def remove_staged(self, path: Path) -> None:
        """Remove a staging directory, its manifest and the spool of an opaque archive. Raises `VolumeError`."""
        with volume_errors(path):
            self.remove_atomically(path)
            self.remove_atomically(manifest_path_of(path))
            if spool_path_of(path).exists():
                self.remove_atomically(spool_path_of(path))

    def _replace_tree(self, new: Path, old: Path) -> None:
        """Replace a tree that has no manifest and may be in use. Takes two steps if two names cannot be exchanged."""
        try:
            if not exchange(new, old):
                self.remove_atomically(old)
        except FileNotFoundError:  # a concurrent run did it
            return
        sync_path(old.parent)

    def _try_links(self) -> None:
        """Require symbolic links; set `hard_links` to False if the file system does not support hard links."""
        with volume_errors(self.root):
            capabilities.require_symbolic_links(self.staging, self.root)
            self.hard_links = capabilities.has_hard_links(self.staging)


def manifest_path_of(staging: Path) -> Path:
    """Return the path of the manifest of a staging directory."""
    return staging.parent / f"{staging.name}.json"


def spool_path_of(staging: Path) -> Path:
    """Return the directory for the parts of an opaque archive until it is unpacked."""
    return staging.parent / f"{staging.name}{_SPOOL}"


def _removed_from_staging(ref: PackRef) -> VolumeError:
    return VolumeError(f"{ref} is no longer in staging: another run removed it; run again")


def _digest(path: Path) -> str:
    return digest_of(path.read_bytes())


def _refs(directory: Path) -> Iterator[PackRef]:
    for name in _names(directory):
        if (directory / name).is_symlink():  # the target does not belong to the volume and must not be pruned
            continue
        for version in _names(directory / name):
            with suppress(ValueError):
                yield PackRef.make(name, version)


def _names(directory: Path) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except OSError:
        return []
