"""Translate errors of the volume's file system into `VolumeError`."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from models_init.core.errors import NoSpaceError, NotWritableError, VolumeError
from models_init.fs.files import visible_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextmanager
def volume_errors(path: str | Path) -> Iterator[None]:
    """Translate an `OSError` of the block into a `VolumeError`; `path` is named if the error has no file name."""
    try:
        yield
    except OSError as error:
        raise _translated(error, _subject(error) or str(path)) from error


def _translated(error: OSError, where: str) -> VolumeError:
    if error.errno in _FULL:
        return NoSpaceError(
            f"the volume is full at {where}: {error.strerror}; free some space or run with --prune, then run again"
        )
    if error.errno in _FORBIDDEN:
        return NotWritableError(f"{where} cannot be written: {error.strerror}; {_remedy(error)}")
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
    return VolumeError(f"{where} failed: {error.strerror or error}; check the disk, then run again")


def _remedy(error: OSError) -> str:
    if error.errno == errno.EROFS:
        return "mount the volume read-write"
    if os.geteuid() == 0:
        return "check its owner, its mount options and, on NFS, root_squash"
    return f"give the volume to user {os.geteuid()}"


def _subject(error: OSError) -> str:
    """Return the path that the error is about, without temporary names; empty if it has none.

    For a call with two paths this is the one whose directory cannot be written, else the new one.
    """
    names = [os.fsdecode(name) for name in (error.filename2, error.filename) if isinstance(name, str | bytes)]
    if len(names) > 1 and error.errno == errno.EACCES:
        names.sort(key=lambda name: os.access(os.path.dirname(name) or ".", os.W_OK | os.X_OK, effective_ids=True))
    return visible_path(names[0]) if names else ""
