"""Test which operations a file system supports, with temporary files in a directory on it."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from models_init.core.errors import NotWritableError
from models_init.fs.files import sync_path, temp_path, write_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_REFUSED = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS}
_FULL = {errno.ENOSPC, errno.EDQUOT}


def require_symbolic_links(directory: Path, volume: Path) -> None:
    """Check that the file system of `directory` supports symbolic links, on which activation is based.

    Some network and USB file systems do not. `volume` is the path to name in the message.
    Raises `NotWritableError`: symbolic links are not supported. Raises `OSError`: the test failed otherwise.
    """
    link = temp_path(directory, "probe")
    if not _is_granted(lambda: os.symlink("nowhere", link)):
        raise NotWritableError(
            f"{volume} refuses symbolic links, as SMB, exFAT and some FUSE mounts do; use a local file "
            "system or NFS for MODELS_DIR"
        )
    link.unlink(missing_ok=True)


def has_hard_links(directory: Path) -> bool:
    """Return True if the file system supports hard links, or is too full to test it. Raises `OSError`."""
    file, other = temp_path(directory, "probe"), temp_path(directory, "probe")
    granted = True
    _is_granted(lambda: os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)))
    if file.exists():
        granted = _is_granted(lambda: os.link(file, other))
    file.unlink(missing_ok=True)
    other.unlink(missing_ok=True)
    return granted


def change(directory: Path) -> None:
    """Create, sync, rename and replace files, as an install does. Raises `OSError` if a step fails."""
    one, other = temp_path(directory, "probe"), temp_path(directory, "probe")
    write_file(one, b"a file\n")
    write_file(other, b"another\n")
    os.rename(one, other)
    sync_path(directory)
    other.unlink()


def _is_granted(step: Callable[[], object]) -> bool:
    """Return True if the file system supports the operation; a full file system counts as supporting it.

    Raises `OSError`: the operation failed for another reason.
    """
    try:
        step()
    except OSError as error:
        if error.errno not in _REFUSED | _FULL:
            raise
        return error.errno in _FULL
    return True
