"""Translate errors of the volume's file system into `VolumeError`."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from models_init.core.errors import NoSpaceError, NotWritableError, VolumeError
from models_init.fs.files import visible_path

if TYPE_CHECKING:
    from collections.abc import Iterator

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_SHOWN = 300  # characters of a path that is too long
_WRONG_TYPE = {errno.EEXIST, errno.ENOTDIR, errno.EISDIR}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextmanager
def volume_errors(path: str | Path, *, reading: bool = False) -> Iterator[None]:
    """Translate an `OSError` of the block into a `VolumeError`; the message names `path` if the error has no file name.

    Set `reading` if the block only reads; it selects the verb of the message.
    """
    try:
        yield
    except OSError as error:
        raise _translated(error, _subject(error) or str(path), reading=reading) from error


def _translated(error: OSError, where: str, *, reading: bool) -> VolumeError:
    if error.errno in _FULL:
        return _full(error, where)
    if error.errno in _FORBIDDEN:
        return NotWritableError(
            f"{where} cannot be {'read' if reading else 'written'}: {error.strerror}; {_remedy(error)}"
        )
    if error.errno == errno.ENAMETOOLONG:
        return NotWritableError(
            f"{_end(where)} cannot be created: {error.strerror} ({len(os.fsencode(where))} bytes); set MODELS_DIR to a "
            "shorter path, or to a file system that allows names of 255 bytes"
        )
    if error.errno == errno.ELOOP:
        return NotWritableError(
            f"{where} is a symbolic link, and nothing is written through it: the volume's own files and "
            "directories must be real; remove it, then run again"
        )
    if error.errno == errno.EXDEV:
        return NotWritableError(
            f"{where} cannot be renamed: {error.strerror}; MODELS_DIR must be one file system, with no other one "
            "mounted below it"
        )
    if error.errno in _WRONG_TYPE:
        return VolumeError(
            f"{where} failed: {error.strerror}; a file has the place of a directory, or a directory that of a file: "
            "move it away, then run again"
        )
    return VolumeError(f"{where} failed: {error.strerror or error}; check the disk, then run again")


def _full(error: OSError, where: str) -> NoSpaceError:
    """Return the error for the limit that was reached: bytes, inodes, or a quota, which `df` does not show."""
    if error.errno == errno.EDQUOT:
        return NoSpaceError(
            f"the quota of the volume is used up at {where}: {error.strerror}; raise the quota of this user, "
            "project or subvolume, which df does not show, or run with --prune, then run again"
        )
    if error.errno == errno.ENOSPC and _lacks_inodes(where):
        return NoSpaceError(
            f"the volume has no inodes left at {where}: {error.strerror}; remove files, which df -i counts, or run "
            "with --prune, then run again"
        )
    return NoSpaceError(
        f"the volume is full at {where}: {error.strerror}; free some space or run with --prune, then run again"
    )


def _lacks_inodes(path: str) -> bool:
    """Return True if the file system of the path, which need not exist, counts inodes and has bytes but no inode."""
    existing = next((place for place in (path, *map(str, Path(path).parents)) if os.path.exists(place)), "/")
    try:
        status = os.statvfs(existing)
    except OSError:
        return False
    return status.f_files > 0 and status.f_favail == 0 and status.f_bavail > 0


def _end(path: str) -> str:
    """Return the path, or its last characters if it is very long."""
    return path if len(path) <= _SHOWN else f"…{path[-_SHOWN:]}"


def _remedy(error: OSError) -> str:
    if error.errno == errno.EROFS:
        return "mount the volume read-write"
    if os.geteuid() == 0:
        return "check its owner, its mount options and, on NFS, root_squash"
    return f"give the volume to user {os.geteuid()}"


def _subject(error: OSError) -> str:
    """Return the path that the error is about, without temporary names, or an empty string if it has none.

    For a call with two paths, this is the path whose directory cannot be written, or else the new path.
    """
    names = [os.fsdecode(name) for name in (error.filename2, error.filename) if isinstance(name, str | bytes)]
    if len(names) > 1 and error.errno == errno.EACCES:
        names.sort(key=lambda name: os.access(os.path.dirname(name) or ".", os.W_OK | os.X_OK, effective_ids=True))
    return visible_path(names[0]) if names else ""
