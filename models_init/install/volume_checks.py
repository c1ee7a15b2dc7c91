"""Test the capabilities of a volume in a temporary directory that is removed afterwards.

A volume that does not exist is not created; its parent directory is tested instead.
"""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from models_init.core.errors import NotWritableError
from models_init.core.names import changing_names, colliding_names, same_path_error
from models_init.fs import capabilities
from models_init.fs.files import temp_path
from models_init.fs.os_errors import volume_errors
from models_init.volume.atomic import is_directory, remove_tree
from models_init.volume.copied_links import copied_packs, require_replaceable
from models_init.volume.lock import Lock, locking_works

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from models_init.formats.manifest import Manifest
    from models_init.install.check_report import CheckReport
    from models_init.volume.layout import Volume

CHECKS = ("volume", "links", "modes", "lock")


def inspect(volume: Volume, found: CheckReport) -> None:
    """Test the operations of an install on a volume, without touching existing files.

    Blocks; call it in a worker thread.
    """
    with found.guarding("volume"), volume_errors(volume.root), _temporary_directory(volume) as directory:
        volume.check_parts()
        capabilities.change(directory)
        found.ok("volume", f"{_named(volume)}: files can be created, synced, renamed and removed")
        for check, test in (("links", _test_links), ("modes", _test_modes), ("lock", _test_lock)):
            with found.guarding(check), volume_errors(volume.root):
                test(volume, directory, found)
    for check in CHECKS[1:]:
        if found.failed("volume"):
            found.skip(check, "the volume cannot be written")


def check_names(volume: Volume, manifest: Manifest) -> None:
    """Raise `NotWritableError` if two names of the pack are the same on the volume, or it lists one differently.

    The volume is tested only if it is writable and the pack has a name that could be affected.

    Blocks; call it in a worker thread.
    """
    paths = [*manifest.all_directories(), *(file.path for file in manifest.files)]
    affected = next(changing_names([manifest.version, *paths]), None)
    rules = volume.name_rules() if affected else None
    if not rules:
        return
    for one, other in colliding_names(paths, case=rules.ignores_case, form=rules.ignores_form):
        raise same_path_error(str(volume.root), str(manifest.ref), one, other)
    if not rules.keeps_names:
        raise NotWritableError(
            f"{volume.root} cannot hold {manifest.ref}: this file system lists {affected!a} under another name; use "
            "one for MODELS_DIR that keeps upper and lower case and Unicode normal forms"
        )


def _named(volume: Volume) -> str:
    return str(volume.root) if volume.root.is_dir() else f"{volume.root} (will be created)"


@contextmanager
def _temporary_directory(volume: Volume) -> Iterator[Path]:
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
    """Check the permissions first, so that the error names a directory of the volume."""
    if not os.access(directory, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
        number = errno.EROFS if os.statvfs(directory).f_flag & os.ST_RDONLY else errno.EACCES
        raise OSError(number, os.strerror(number), str(directory))


def _test_links(volume: Volume, directory: Path, found: CheckReport) -> None:
    require_replaceable(volume)
    capabilities.require_symbolic_links(directory, volume.root)
    volume.hard_links = capabilities.has_hard_links(directory)
    faults = list(_link_faults(volume))
    if faults:
        found.warn("links", "; ".join(faults))
    else:
        found.ok("links", "symbolic links and hard links work")


def _link_faults(volume: Volume) -> Iterator[str]:
    if not volume.hard_links:
        yield (
            "symbolic links work, hard links do not: an upgrade copies unchanged files, and a local file system or NFS "
            "for MODELS_DIR would save that space"
        )
    if is_directory(volume.root / "current"):
        yield "current is a directory, a copy of an installed release: the next run replaces it by a link"
    if copies := copied_packs(volume):
        yield f"directories in place of links in the current release: {', '.join(copies)}; --repair replaces them"


def _test_modes(_volume: Volume, directory: Path, found: CheckReport) -> None:
    if capabilities.keeps_modes(directory):
        found.ok("modes", "permission bits are kept")
    else:
        found.warn(
            "modes",
            "permission bits are fixed by the mount: they are not verified, and the mount must let the engine read all "
            "files and run executables",
        )


def _test_lock(volume: Volume, directory: Path, found: CheckReport) -> None:
    lock = Lock(volume.root / ".lock")
    if not locking_works(directory / "lock"):
        found.warn(
            "lock",
            "locks do not work on this file system: two runs at the same time are safe, but may fetch the same data",
        )
    elif lock.is_held():
        found.warn("lock", f"in use ({lock.holder()}): an install would wait for it")
    else:
        found.ok("lock", "locks work: a second run waits for the first")
