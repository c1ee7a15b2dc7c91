"""Write files as drafts named `<name>.part`, which are locked, and renamed when they are complete."""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO

from models_init.core.errors import LockedError, NoSpaceError, NotWritableError, VolumeError
from models_init.fs.files import sync_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}
_NOT_WRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.EISDIR}


@contextmanager
def draft(path: Path) -> Iterator[BinaryIO]:
    """Open the draft of `path` for writing from its start; remove it after the block unless it was published.

    The name is fixed, so that a killed run leaves at most one such file, which the next run reuses.

    Raises `LockedError`: another run is writing the file.
    """
    part = part_path(path)
    with translate_os_errors(part):
        file = os.fdopen(open_part(path), "wb")
    try:
        file.truncate(0)
        yield file
    finally:
        if _is_at(file.fileno(), part):
            part.unlink()
        with suppress(OSError):  # data worth keeping has been synced; on a full disk, close fails a second time
            file.close()


def sync(file: BinaryIO, path: Path) -> None:
    """Flush a draft of `path` to the disk (fsync)."""
    with translate_os_errors(path):
        file.flush()
        os.fsync(file.fileno())


def publish(*paths: Path) -> None:
    """Rename synced drafts in one directory to their final names, in this order."""
    for path in paths:
        with translate_os_errors(path):
            part_path(path).rename(path)
    with translate_os_errors(paths[0].parent):
        sync_path(paths[0].parent)


def part_path(path: Path) -> Path:
    """Return the path of the draft of `path`."""
    return path.with_name(f"{path.name}.part")


def open_part(path: Path) -> int:
    """Open and lock the draft of `path`, with the data of an earlier run, and return the descriptor.

    The lock is acquired after opening. If another run has published the file in between, the draft is opened again:
    otherwise this run would write into the published file.

    Raises `LockedError`: another run is writing the file. Raises `OSError`.
    """
    part = part_path(path)
    while True:
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise LockedError(f"{part} is being written by another run: wait for it, then run again") from error
        if _is_at(descriptor, part):
            return descriptor
        os.close(descriptor)


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


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
