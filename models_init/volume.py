"""The tree that a site trusts: packs, releases, staging, and the link `current`.

`current` is absent or leads to a complete, verified release. What has a public name (below `packs/`, `releases/`,
`manifests/`) is complete and never changes: it is built below `staging/`, brought to the disk, and renamed.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING

from models_init import release as releases
from models_init.errors import NotWritableError, WrongBytesError
from models_init.faults import volume_faults
from models_init.files import disk_usage, sync_file_system, sync_path, write_file
from models_init.names import PackRef

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from models_init.release import Release

_PARTS = ("packs", "manifests", "releases", "staging")


class Volume:
    """The folder `root`. Reading needs no preparation; call `prepare` before anything that writes."""

    def __init__(self, root: Path) -> None:
        self.root = root

    # -- what is there

    def current(self) -> Release | None:
        """The active release, if its record and its packs are there."""
        try:
            target = os.readlink(self.root / "current")
        except OSError:
            return None
        return self.release(os.path.basename(target))

    def release(self, release_id: str) -> Release | None:
        """One release, if its record is readable and all its packs are installed."""
        try:
            release = releases.parse((self.root / "releases" / release_id / "release.json").read_bytes())
        except (OSError, ValueError):
            return None
        whole = release.id == release_id and all(self.is_installed(pack.ref) for pack in release.packs)
        return release if whole else None

    def releases(self) -> list[Release]:
        """All whole releases, oldest first."""
        found = (self.release(name) for name in _names(self.root / "releases"))
        return sorted((release for release in found if release), key=lambda release: (release.created, release.id))

    def packs(self) -> list[PackRef]:
        """All installed packs, in order of name and version."""
        return [ref for ref in self._refs("packs") if self.is_installed(ref)]

    def staged(self) -> list[PackRef]:
        """All packs on their way in."""
        return self._refs("staging")

    def staged_bytes(self, ref: PackRef) -> int:
        """What a pack on its way in takes on the disk."""
        return disk_usage(self.staging_path(ref))[0]

    def is_installed(self, ref: PackRef) -> bool:
        """Tell whether the pack has its public name, and with it the manifest that it was verified against."""
        return self.pack_path(ref).is_dir() and self.manifest_path(ref).is_file()

    def pack_path(self, ref: PackRef) -> Path:
        """Where the installed pack lies."""
        return self.root / "packs" / ref.name / ref.version

    def manifest_path(self, ref: PackRef) -> Path:
        """Where the manifest lies that the installed pack was verified against."""
        return self.root / "manifests" / ref.name / f"{ref.version}.json"

    def staging_path(self, ref: PackRef) -> Path:
        """Where the pack grows until it is complete."""
        return self.root / "staging" / ref.name / ref.version

    def free(self) -> tuple[int, int]:
        """Bytes and inodes that the running user can still take. File systems without inodes say 2**63."""
        existing = next(path for path in (self.root, *self.root.parents) if path.exists())
        with volume_faults(existing):
            status = os.statvfs(existing)
        return status.f_bavail * status.f_frsize, status.f_favail if status.f_files else 1 << 63

    # -- what changes it

    def prepare(self) -> None:
        """Make the folders of the tree. Raises `NotWritableError` where that cannot be."""
        if not self.root.parent.is_dir():
            raise NotWritableError(f"{self.root} is not there and neither is its parent folder; check MODELS_DIR")
        if self.root.exists() and not self.root.is_dir():
            raise NotWritableError(f"{self.root} is not a folder; check MODELS_DIR")
        with volume_faults(self.root):
            for folder in (self.root, *(self.root / part for part in _PARTS)):
                folder.mkdir(mode=0o755, exist_ok=True)
            probe = self._aside("probe")
            probe.mkdir()
            probe.rmdir()

    def keep_manifest(self, ref: PackRef, document: bytes) -> None:
        """Put a manifest where the installed pack will want it; without the pack it means nothing."""
        path = self.manifest_path(ref)
        with volume_faults(self.root):
            path.parent.mkdir(mode=0o755, exist_ok=True)
            aside = self._aside("manifest")
            write_file(aside, document)
            os.rename(aside, path)
            sync_path(path.parent)

    def publish(self, ref: PackRef, digest: str) -> None:
        """Give the complete, verified tree in staging its public name; the manifest with that digest is kept already.

        Everything is on the disk before the rename, the name after it. Finding the pack published already (by a run
        beside this one) is success.
        """
        staging, pack = self.staging_path(ref), self.pack_path(ref)
        with volume_faults(self.root):
            self._require_manifest(ref, digest)
            sync_file_system(self.root)
            pack.parent.mkdir(mode=0o755, exist_ok=True)
            try:
                os.rename(staging, pack)
            except OSError:
                if not pack.is_dir():
                    raise
                shutil.rmtree(staging, ignore_errors=True)
            sync_path(pack.parent)
            sync_path(pack.parent.parent)
            with suppress(OSError):  # another version of the pack is on its way in
                staging.parent.rmdir()

    def activate(self, release: Release) -> None:
        """Make `current` lead to the release; all its packs are installed."""
        with volume_faults(self.root):
            if not self.release(release.id):
                self._build_release(release)
            link = self._aside("current")
            os.symlink(f"releases/{release.id}", link)
            os.rename(link, self.root / "current")
            sync_path(self.root)

    def _require_manifest(self, ref: PackRef, digest: str) -> None:
        """Where locks do not hold, a run beside this one may have kept the manifest of a pack republished since."""
        kept = hashlib.sha256(self.manifest_path(ref).read_bytes()).hexdigest()
        if digest != f"sha256:{kept}":
            raise WrongBytesError(f"{ref} was republished while it was fetched; run again to get the new one")

    def _build_release(self, release: Release) -> None:
        aside = self._aside("release")
        aside.mkdir(mode=0o755)
        write_file(aside / "release.json", release.encode())
        for pack in release.packs:
            os.symlink(f"../../packs/{pack.ref.name}/{pack.ref.version}", aside / pack.ref.name)
        sync_path(aside)
        path = self.root / "releases" / release.id
        if path.exists():  # a damaged record: nothing of ours writes one
            os.rename(path, self._aside("damaged"))
        os.rename(aside, path)
        sync_path(path.parent)

    def _aside(self, what: str) -> Path:
        """A name that no other run uses and that no pack can have."""
        return self.root / "staging" / f".{what}-{uuid.uuid4().hex}"

    def _refs(self, part: str) -> list[PackRef]:
        return sorted(_refs(self.root / part))


def _refs(folder: Path) -> Iterable[PackRef]:
    for name in _names(folder):
        for version in _names(folder / name):
            with suppress(ValueError):
                yield PackRef.make(name, version)


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []
