"""Translate errors of the volume's file system into `VolumeError`."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from models_init.core.errors import NoSpaceError, NotWritableError, VolumeError

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
        where = error.filename or str(path)
        if error.errno in _FULL:
            raise NoSpaceError(
                f"the volume is full at {where}: {error.strerror}; free some space or run with --prune, then run again"
            ) from error
        if error.errno in _FORBIDDEN:
            raise NotWritableError(
                f"{where} cannot be written: {error.strerror}; mount the volume read-write and give it to user "
                f"{os.geteuid()}"
            ) from error
        if error.errno == errno.ELOOP:
            raise NotWritableError(
                f"{where} is a symbolic link, and nothing is written through it: the volume's own files and "
                "directories must be real; remove it, then run again"
            ) from error
        raise VolumeError(f"{where} failed: {error.strerror or error}; check the disk, then run again") from error
