"""Record the entries of each layer in the derived manifest, so that a later image can reuse the layer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from models_init.formats.ordinary_image import LayerEntry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models_init.formats.ordinary_image import ImageLayer

NOT_IN_PACK = "not in the pack"
"""The value of `hidden_by` for a file outside the directory of the pack."""


@dataclass(slots=True)
class RecordedEntry:
    """An entry whose `hidden_by` may still change; see `LayerEntry`."""

    name: str
    kind: Literal["file", "directory", "link", "whiteout", "opaque"]
    target: str = ""
    hidden_by: str = ""


class LayerRecords:
    """The entries of all layers of an image."""

    def __init__(self, layers: Sequence[ImageLayer]) -> None:
        self._layers = layers
        self._entries: list[list[RecordedEntry] | None] = [[] for _ in layers]

    def add(self, layer: int, entry: RecordedEntry) -> RecordedEntry:
        """Record an entry of a layer."""
        entries = self._entries[layer]
        if entries is not None:
            entries.append(entry)
        return entry

    def drop(self, layer: int) -> None:
        """Drop the entries of a layer that cannot be described."""
        self._entries[layer] = None

    def described(self) -> tuple[ImageLayer, ...]:
        """Return the layers with their entries."""
        return tuple(
            replace(layer, entries=None if entries is None else tuple(map(_frozen, entries)))
            for layer, entries in zip(self._layers, self._entries, strict=True)
        )


def _frozen(entry: RecordedEntry) -> LayerEntry:
    return LayerEntry(entry.name, entry.kind, entry.target, entry.hidden_by)
