"""Detect directories of other users at the paths of packs, before anything is fetched."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from models_init.core.errors import NotWritableError
from models_init.fs.files import is_empty
from models_init.fs.os_errors import volume_errors
from models_init.volume.atomic import is_directory

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from models_init.core.pack_ref import PackRef
    from models_init.volume.layout import Volume


def require_places(volume: Volume, packs: Iterable[PackRef]) -> None:
    """Raise `NotWritableError` if a pack that is not installed cannot get its public name."""
    with volume_errors(volume.root):
        for ref in volume.missing(packs):
            for directory in _changed_directories(volume, ref):
                if not os.access(directory, os.R_OK | os.W_OK | os.X_OK, effective_ids=True):
                    raise NotWritableError(_message(ref, directory))


def _changed_directories(volume: Volume, ref: PackRef) -> Iterator[Path]:
    """Yield the existing directories that publishing the pack changes.

    An empty directory at the pack's path is not among them, because it is only replaced. A symbolic link in place of a
    directory ends the list, because publishing reports it.
    """
    pack = volume.pack_path(ref)
    for directory in (pack.parent.parent, pack.parent):
        if not is_directory(directory):
            return
        yield directory
    if is_directory(pack) and os.access(pack, os.R_OK | os.X_OK, effective_ids=True) and not is_empty(pack):
        yield pack


def _message(ref: PackRef, directory: Path) -> str:
    owner, user = directory.stat().st_uid, os.geteuid()
    has_files = any(names for _, _, names in os.walk(directory))
    remedy = (
        f"give it to user {user} with `chown -R {user} {directory}`"
        if has_files
        else f"it has no files: remove it with `rm -r {directory}` as user {owner}"
    )
    return (
        f"{ref} cannot be installed: {directory} belongs to user {owner}, and user {user} cannot write there; kubelet "
        "creates such directories for a container that mounts a pack by subPath before the pack is installed; "
        f"{remedy}, then run again"
    )
