"""Test the capabilities of a volume in a temporary directory that is removed afterwards.

A volume that does not exist is not created; its parent directory is tested instead.
"""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from models_init.fs import capabilities
from models_init.fs.files import temp_path
from models_init.fs.os_errors import volume_errors
from models_init.volume.layout import remove_tree
from models_init.volume.lock import Lock, locking_works

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from models_init.install.check_report import CheckReport
    from models_init.volume.layout import Volume

CHECKS = ("volume", "links", "lock")


def inspect(volume: Volume, found: CheckReport) -> None:
    """Test the operations of an install on a volume, without touching existing files. Blocks: for worker threads."""
    with found.guarding("volume"), volume_errors(volume.root), _trial(volume) as directory:
        capabilities.change(directory)
        found.ok("volume", f"{_named(volume)}: files can be made, flushed, renamed and removed")
        with found.guarding("links"), volume_errors(volume.root):
            _try_links(volume, directory, found)
        with found.guarding("lock"), volume_errors(volume.root):
            _try_lock(volume, directory, found)
    for check in CHECKS[1:]:
        if found.failed("volume"):
            found.skip(check, "the volume cannot be written")


def _named(volume: Volume) -> str:
    return str(volume.root) if volume.root.is_dir() else f"{volume.root} (will be made)"


@contextmanager
def _trial(volume: Volume) -> Iterator[Path]:
    """Create a temporary directory, in staging if that exists.

    If the run is killed, a later prune finds and removes the directory in staging.
    """
    parent = _parent(volume)
    directory = temp_path(parent, "check")
    directory.mkdir()
    try:
        yield directory
    finally:
        remove_tree(directory)


def _parent(volume: Volume) -> Path:
    volume.require_place()
    if not volume.root.is_dir():
        parent = volume.root.absolute().parent
        _require_writable(parent)
        return parent
    for directory in (volume.root, *filter(os.path.isdir, volume.parts())):
        _require_writable(directory)
    return volume.staging if volume.staging.is_dir() else volume.root


def _require_writable(directory: Path) -> None:
    """Check the permissions first, so that the error names a directory that the operator knows."""
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
        number = errno.EROFS if os.statvfs(directory).f_flag & os.ST_RDONLY else errno.EACCES
        raise OSError(number, os.strerror(number), str(directory))


def _try_links(volume: Volume, directory: Path, found: CheckReport) -> None:
    capabilities.require_symbolic_links(directory, volume.root)
    volume.hard_links = capabilities.has_hard_links(directory)
    if volume.hard_links:
        found.ok("links", "symbolic links and hard links work")
    else:
        found.warn(
            "links",
            "symbolic links work; hard links are refused, so an upgrade copies what did not change: "
            "a local file system or NFS for MODELS_DIR saves that room",
        )


def _try_lock(volume: Volume, directory: Path, found: CheckReport) -> None:
    lock = Lock(volume.root / ".lock")
    if not locking_works(directory / "lock"):
        found.warn(
            "lock",
            "this file system grants a lock to everybody: two runs at once are safe, and may fetch the same twice",
        )
    elif lock.is_held():
        found.warn("lock", f"in use now ({lock.holder()}): an install would wait for it")
    else:
        found.ok("lock", "a second run will wait for the first")
