"""Find layers of an image whose content is in installed packs, so that they need not be fetched.

A layer is identified by the digest of its tar stream (`diff_id`), which does not change when the layer is compressed
again.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from models_init.archive.image.layer_reader import Kind, LayerItem
from models_init.core.errors import ManifestError
from models_init.formats import manifest
from models_init.formats.ordinary_image import path_parts
from models_init.fs.files import file_pieces

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from models_init.formats.manifest import File, Manifest
    from models_init.formats.ordinary_image import LayerEntry, OrdinaryImage
    from models_init.volume.layout import Volume

_KINDS = {
    "directory": Kind.DIRECTORY,
    "link": Kind.SYMBOLIC_LINK,
    "whiteout": Kind.WHITEOUT,
    "opaque": Kind.OPAQUE,
}


class InstalledLayer(NamedTuple):
    """A layer whose files an installed pack contains; `files` has them by their path in the image."""

    directory: Path
    entries: tuple[LayerEntry, ...]
    files: dict[str, File]

    def items(self) -> Iterator[LayerItem]:
        """Yield the entries of the layer, in its order."""
        for entry in self.entries:
            parts = path_parts(entry.name)
            if entry.kind != "file":
                yield LayerItem(_KINDS[entry.kind], parts, entry.target)
            elif entry.hidden_by:
                yield LayerItem(Kind.HIDDEN, parts)
            else:
                file = self.files[entry.name]
                source = str(self.directory / file.path)
                content = file_pieces(source, file.size)
                yield LayerItem(Kind.FILE, parts, "", file.size, file.executable, content, file.digest, source)


def find_layers(volume: Volume, ref_name: str, image: OrdinaryImage) -> dict[int, InstalledLayer]:
    """Return the layers of `image` that installed packs contain, by number. Blocks; call it in a worker thread."""
    found: dict[int, InstalledLayer] = {}
    for tree in volume.seed_trees({ref_name}):
        content: Manifest | None = None
        with suppress(OSError, ManifestError):
            content = manifest.parse(tree.manifest.read_bytes(), tree.ref) if tree.complete else None
        if content and content.image and content.image.base() == image.base():
            files = _by_image_path(content, content.image.root)
            known = {layer.diff_id: layer for layer in content.image.layers}
            for number, layer in enumerate(image.layers):
                entries = known[layer.diff_id].entries if layer.diff_id in known else None
                hiding = {upper.diff_id for upper in image.layers[number + 1 :]}
                if number not in found and entries is not None and _is_complete(entries, files, hiding):
                    found[number] = InstalledLayer(tree.root, entries, files)
    return found


def _by_image_path(content: Manifest, root: str) -> dict[str, File]:
    return {f"{root}/{file.path}" if root else file.path: file for file in content.files}


def _is_complete(entries: tuple[LayerEntry, ...], files: dict[str, File], hiding: Collection[str]) -> bool:
    """Return True if each file of a layer is installed, or is also hidden by another layer of the new image."""
    return all(
        ".." not in path_parts(entry.name)
        and (entry.kind != "file" or (entry.hidden_by in hiding if entry.hidden_by else entry.name in files))
        for entry in entries
    )
