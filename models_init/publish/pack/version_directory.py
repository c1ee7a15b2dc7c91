"""Find version directories (`<name>/<version>/`) on a disk, and write files into them atomically."""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from models_init.core.errors import LockedError, ManifestError, NoSpaceError, NotWritableError, UsageError, VolumeError
from models_init.core.pack_ref import PackRef
from models_init.core.units import human_size
from models_init.formats.manifest import MANIFEST_LIMIT, MANIFEST_NAME, SIGNATURE_NAME, Manifest, published

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ARCHIVE_NAME = "pack.tar.zst"

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}
_NOT_WRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR}


@dataclass(frozen=True, slots=True)
class VersionDirectory:
    """The directory of one version of a pack; its path ends in the pack's name and version."""

    path: Path

    @property
    def manifest(self) -> Path:
        """The manifest's path; the file need not exist."""
        return self.path / MANIFEST_NAME

    @property
    def signature(self) -> Path:
        """The path of the manifest's signature; the file need not exist."""
        return self.path / SIGNATURE_NAME

    def ref(self) -> PackRef:
        """Return the pack's name and version from the path.

        Raises `ManifestError`: the path does not end in a valid name and version.
        """
        try:
            return PackRef.make(self.path.parent.name, self.path.name)
        except ValueError as error:
            raise ManifestError(f"{self.path} is not <name>/<version>: {error}; rename the directories") from error

    def document(self) -> bytes:
        """Return the manifest's bytes.

        Raises `ManifestError`: the manifest is missing, unreadable or too large.
        """
        try:
            if self.manifest.stat().st_size > MANIFEST_LIMIT:
                raise ManifestError(
                    f"{self.manifest} is larger than {human_size(MANIFEST_LIMIT)}: it is not a manifest; build it again"
                )
            return self.manifest.read_bytes()
        except OSError as error:
            raise ManifestError(f"{self.manifest} cannot be read: {error.strerror}; build the pack again") from error

    def parsed(self) -> Manifest:
        """Read and parse the manifest.

        Raises `ManifestError` or a subclass: the manifest cannot be read or used.
        """
        return published(self.document(), self.ref()).manifest

    def has_manifest(self, document: bytes) -> bool:
        """Return True if the directory has exactly this manifest, False if it has none.

        Raises `UsageError`: the directory has a different manifest.
        """
        if not self.manifest.exists():
            return False
        if self.document() != document:
            raise UsageError(
                f"{self.path} contains a different pack with the same name and version, and a version never changes: "
                "choose another --version, or remove that directory if it was never published"
            )
        return True


def find(directory: Path) -> list[VersionDirectory]:
    """List the version directories in a tree, which may be the directory itself.

    Raises `UsageError`: there are none.
    """
    top = directory.resolve()
    if not top.is_dir():
        raise UsageError(f"{directory} is not a directory: name one that `models-pack build` wrote")
    found = [
        VersionDirectory(path)
        for path in sorted({file.parent for name in (MANIFEST_NAME, ARCHIVE_NAME) for file in top.rglob(name)})
    ]
    if not found:
        raise UsageError(f"{directory} contains no {MANIFEST_NAME}: name a directory that `models-pack build` wrote")
    return found


@contextmanager
def new_directory(directory: Path) -> Iterator[None]:
    """Create a directory and its parents; if the block fails, remove those that were created and are empty."""
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    with translate_os_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for path in missing:
            with suppress(OSError):
                path.rmdir()
        raise
    with translate_os_errors(directory):
        for path in missing:
            _sync_directory(path.parent)


@contextmanager
def draft(path: Path) -> Iterator[BinaryIO]:
    """Open `<path>.part` for exclusive writing from its start; remove it after the block unless it was published.

    The name is fixed, so that a killed run leaves at most one such file, which the next run reuses.

    Raises `LockedError`: another run is writing the file.
    """
    part = _part(path)
    with translate_os_errors(part):
        file = _open_locked(part)
    try:
        yield file
    finally:
        if _is_at(file, part):
            part.unlink()
        with suppress(OSError):  # data worth keeping has been synced; on a full disk, close fails a second time
            file.close()


def sync(file: BinaryIO, path: Path) -> None:
    """Flush a draft of `path` to the disk (fsync)."""
    with translate_os_errors(path):
        file.flush()
        os.fsync(file.fileno())


def publish(path: Path) -> None:
    """Rename a synced draft to its public name."""
    with translate_os_errors(path):
        _part(path).rename(path)
        _sync_directory(path.parent)


@contextmanager
def translate_os_errors(path: Path) -> Iterator[None]:
    """Translate an `OSError` from writing to `path`.

    Raises `NoSpaceError`, `NotWritableError` or `VolumeError`, depending on the errno.
    """
    try:
        yield
    except OSError as error:
        why = f"{path} cannot be written: {error.strerror}"
        if error.errno in _NO_SPACE:
            raise NoSpaceError(f"{why}; free some space or choose another directory") from error
        if error.errno in _NOT_WRITABLE:
            raise NotWritableError(f"{why}; choose another directory, or change its permissions") from error
        raise VolumeError(f"{why}; check the disk") from error


def _part(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def _open_locked(part: Path) -> BinaryIO:
    """Open, lock and truncate the file; retry if another run renamed it before the lock was acquired."""
    while True:
        file = part.open("ab")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.close()
            raise LockedError(f"{part} is being written by another run: wait for it, then run again") from error
        if _is_at(file, part):
            file.truncate(0)
            return file
        file.close()


def _is_at(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
