"""Detect directories in place of the volume's links, as left by tools that follow links when they copy a volume."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from models_init.core.errors import DamagedError, NotWritableError
from models_init.formats import release as releases
from models_init.fs.os_errors import volume_errors
from models_init.volume.atomic import is_directory

if TYPE_CHECKING:
    from pathlib import Path

    from models_init.formats.release import Release
    from models_init.volume.layout import Volume

_WHY = "is a directory instead of a symbolic link, as in a volume that was copied with its links followed"


def copied_release(volume: Volume) -> Release | None:
    """Return the installed release of which the directory `current` is a copy, or None if it is not such a copy."""
    current = volume.root / "current"
    try:
        release = releases.parse((current / "release.json").read_bytes())
        names = set(os.listdir(current))
    except (OSError, ValueError):
        return None
    is_copy = names <= {"release.json", *(pack.ref.name for pack in release.packs)}
    return release if is_copy and volume.release(release.id) == release else None


def require_link(volume: Volume) -> None:
    """Raise `DamagedError` if `current` is a directory or leads elsewhere, so that the current release is unknown."""
    current = volume.root / "current"
    if _is_directory(current):
        raise DamagedError(f"{current} {_WHY}; run without an action to replace it by the link")
    if current.is_symlink() and not volume.current_name():
        raise DamagedError(
            f"{current} is a link to {os.readlink(current)} and not to a release of this volume (releases/ID); run "
            "without an action to replace it"
        )


def require_replaceable(volume: Volume) -> None:
    """Raise `NotWritableError` if `current` is a directory that may contain anything other than installed files."""
    current = volume.root / "current"
    if _is_directory(current) and not copied_release(volume):
        raise NotWritableError(
            f"{current} {_WHY}, and not a copy of an installed release; move it away with "
            f"`mv {current} {current}.old`, then run again"
        )


def _is_directory(path: Path) -> bool:
    with volume_errors(path):
        return is_directory(path)


def copied_packs(volume: Volume) -> list[str]:
    """Return the names of packs that have a directory instead of a link in the current release."""
    current = volume.current()
    if not current:
        return []
    return [pack.ref.name for pack in current.packs if is_directory(volume.release_path(current.id) / pack.ref.name)]
