"""Version folders on a disk, `<name>/<version>/`: where they are, how a file gets into one whole or not at all."""

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

_FULL = {errno.ENOSPC, errno.EDQUOT}
_REFUSED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR}


@dataclass(frozen=True, slots=True)
class VersionFolder:
    """The folder of one version of one pack; its path ends in the pack's name and version."""

    path: Path

    @property
    def manifest(self) -> Path:
        """Where the manifest lies, or would."""
        return self.path / MANIFEST_NAME

    @property
    def signature(self) -> Path:
        """Where the manifest's signature lies, or would."""
        return self.path / SIGNATURE_NAME

    def ref(self) -> PackRef:
        """Read the pack's name and version off the path; `ManifestError` if they are none."""
        try:
            return PackRef.make(self.path.parent.name, self.path.name)
        except ValueError as error:
            raise ManifestError(f"{self.path} is no <name>/<version>: {error}; give the folder its names") from error

    def document(self) -> bytes:
        """Read the manifest as it stands there; `ManifestError` if there is none that could be read."""
        try:
            if self.manifest.stat().st_size > MANIFEST_LIMIT:
                raise ManifestError(f"{self.manifest} is larger than {human_size(MANIFEST_LIMIT)}: it is no manifest")
            return self.manifest.read_bytes()
        except OSError as error:
            raise ManifestError(f"{self.manifest} cannot be read: {error.strerror}; build the pack anew") from error

    def parsed(self) -> Manifest:
        """Read what the manifest says; `ManifestError` for whatever is wrong with it."""
        return published(self.document(), self.ref()).manifest

    def stands(self, document: bytes) -> bool:
        """Say whether this very version stands there; `UsageError` if it does with other content."""
        if not self.manifest.exists():
            return False
        if self.document() != document:
            raise UsageError(
                f"{self.path} holds another pack under that name and version, and a version never changes: "
                "choose another --version, or remove that folder if it was never published"
            )
        return True


def find(folder: Path) -> list[VersionFolder]:
    """List the version folders in a tree, or the folder itself if it is one; `UsageError` if there is none."""
    top = folder.resolve()
    if not top.is_dir():
        raise UsageError(f"{folder} is no folder: name one that `models-pack build` wrote")
    found = [
        VersionFolder(path)
        for path in sorted({file.parent for name in (MANIFEST_NAME, ARCHIVE_NAME) for file in top.rglob(name)})
    ]
    if not found:
        raise UsageError(f"{folder} holds no {MANIFEST_NAME}: name a folder that `models-pack build` wrote")
    return found


@contextmanager
def new_folder(folder: Path) -> Iterator[None]:
    """Make a folder with its parents; if the block fails, take away again those that it left empty."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    with translate_os_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for path in missing:
            with suppress(OSError):
                path.rmdir()
        raise
    with translate_os_errors(folder):
        for path in missing:
            _sync_folder(path.parent)


@contextmanager
def draft(path: Path) -> Iterator[BinaryIO]:
    """Open `<path>.part` for writing, alone, from its start; it is gone after the block unless `place`d.

    The name is fixed, so that a killed run leaves at most one, and the next run takes it over. Raises `LockedError`
    when another run writes it.
    """
    part = _part(path)
    with translate_os_errors(part):
        file = _open_locked(part)
    try:
        yield file
    finally:
        if _is_at(file, part):
            part.unlink()
        with suppress(OSError):  # what is worth keeping was settled; on a full disk closing fails once more
            file.close()


def sync(file: BinaryIO, path: Path) -> None:
    """Bring a draft of `path` to the disk."""
    with translate_os_errors(path):
        file.flush()
        os.fsync(file.fileno())


def publish(path: Path) -> None:
    """Give a settled draft its public name."""
    with translate_os_errors(path):
        _part(path).rename(path)
        _sync_folder(path.parent)


@contextmanager
def translate_os_errors(path: Path) -> Iterator[None]:
    """Turn what the file system says about writing to `path` into an error for the user."""
    try:
        yield
    except OSError as error:
        why = f"{path} cannot be written: {error.strerror}"
        if error.errno in _FULL:
            raise NoSpaceError(f"{why}; make room or choose another folder") from error
        if error.errno in _REFUSED:
            raise NotWritableError(f"{why}; choose another folder, or get the right to write there") from error
        raise VolumeError(f"{why}; look at the disk") from error


def _part(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def _open_locked(part: Path) -> BinaryIO:
    """Open and lock; again if another run gave the file its public name before we had the lock."""
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


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
