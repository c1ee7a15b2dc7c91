"""The layers of an ordinary container image as an opaque archive: the part of a manifest that describes them.

An ordinary image is one that `models-pack upload` has not published. Its archive is the sequence of its layers, the
lowest first, as the registry stores them.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from models_init.core.pack_ref import DIGEST_PATTERN
from models_init.formats.documents import FORBID_UNKNOWN

_Digest = Annotated[str, Field(strict=True, pattern=DIGEST_PATTERN)]
_Text = Annotated[str, Field(strict=True)]

LAYERS_LIMIT = 512
"""Largest number of layers of an image; container runtimes support 128."""


@dataclass(frozen=True, slots=True, config=FORBID_UNKNOWN)
class LayerEntry:
    """An entry of a layer, by its path in the image, without a leading slash.

    A file without `hidden_by` is in the installed pack. `hidden_by` is the `diff_id` of the upper layer that removes or
    replaces it, or another text if the file is not part of the pack. `target` is the target of a symbolic link.
    """

    name: _Text
    kind: Literal["file", "directory", "link", "whiteout", "opaque"]
    target: _Text = ""
    hidden_by: _Text = ""


@dataclass(frozen=True, slots=True, config=FORBID_UNKNOWN)
class ImageLayer:
    """A layer: digest and size of its blob, and the digest of its tar stream (`diff_id`).

    `entries` are those at, above and below the directory of the packs; None unless a site has derived the manifest, or
    if they cannot be used again.
    """

    digest: _Digest
    size: Annotated[int, Field(strict=True, ge=0, lt=2**53)]
    diff_id: _Digest
    entries: tuple[LayerEntry, ...] | None = None


@dataclass(frozen=True, slots=True, config=FORBID_UNKNOWN)
class OrdinaryImage:
    """The layers of an image, the lowest first, and the directories of the image in which the pack is looked for.

    `root` is the directory in which it was found; empty unless a site has derived the manifest.
    """

    layers: Annotated[tuple[ImageLayer, ...], Field(min_length=1, max_length=LAYERS_LIMIT)]
    paths: Annotated[tuple[_Text, ...], Field(min_length=1)]
    root: _Text = ""

    def base(self) -> tuple[str, ...]:
        """Return the parts of the deepest directory that contains all `paths`; the rest of the image is not read."""
        parts = [path_parts(path) for path in self.paths]
        shortest = min(parts, key=len)
        count = next((i for i in range(len(shortest)) if len({path[i] for path in parts}) > 1), len(shortest))
        return shortest[:count]


def path_parts(path: str) -> tuple[str, ...]:
    """Return the parts of a path in an image."""
    return tuple(part for part in path.split("/") if part not in ("", "."))
