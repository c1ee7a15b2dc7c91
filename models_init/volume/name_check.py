"""Check that a volume distinguishes the names of a pack and keeps them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models_init.core.errors import NotWritableError
from models_init.core.names import changing_names, colliding_names, same_path_error

if TYPE_CHECKING:
    from models_init.formats.manifest import Manifest
    from models_init.volume.layout import Volume


def check_names(volume: Volume, manifest: Manifest) -> None:
    """Raise `NotWritableError` if two names of the pack are the same on the volume, or one is listed differently.

    The volume is tested only if the pack has a name that could be affected, and if it is writable. Blocks: for worker
    threads.
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
