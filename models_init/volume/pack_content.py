"""Distinguish an installed pack from an empty directory in its place.

kubelet creates such a directory for a container that mounts a pack by subPath before the pack is installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from models_init.core.errors import ManifestError
from models_init.fs.files import is_empty

if TYPE_CHECKING:
    from pathlib import Path

    from models_init.core.pack_ref import PackRef


def is_placeholder(directory: Path) -> bool:
    """Return True for an empty directory, and for one that cannot be listed, which no reader could use either."""
    try:
        return is_empty(directory)
    except PermissionError:
        return True


def has_content(directory: Path, manifest_path: Path, ref: PackRef) -> bool:
    """Return True if `directory` is a directory with the content of a pack, which may be empty if the pack is."""
    return directory.is_dir() and (not is_placeholder(directory) or _is_without_files(manifest_path, ref))


def _is_without_files(manifest_path: Path, ref: PackRef) -> bool:
    from models_init.formats import manifest  # noqa: PLC0415 - a start with nothing to do needs no manifest

    try:
        content = manifest.parse(manifest_path.read_bytes(), ref)
    except (OSError, ManifestError):
        return False
    return not (content.files or content.directories)
