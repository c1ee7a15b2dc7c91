"""Check that a volume can tell the names of a pack apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models_init.core.names import colliding_names, same_path_error

if TYPE_CHECKING:
    from models_init.formats.manifest import Manifest
    from models_init.volume.layout import Volume


def check_names(volume: Volume, manifest: Manifest) -> None:
    """Raise `NotWritableError` if the volume ignores the difference between two names of the pack.

    The volume is tested only if the pack has names that differ in case or normal form alone. Blocks: for worker
    threads.
    """
    paths = [*manifest.all_directories(), *(file.path for file in manifest.files)]
    if not any(colliding_names(paths)):
        return
    rules = volume.name_rules()
    for one, other in colliding_names(paths, case=rules.ignores_case, form=rules.ignores_form):
        raise same_path_error(str(volume.root), str(manifest.ref), one, other)
