"""Present an image that `models-pack upload` has not published as a pack with an opaque archive.

The archive is the sequence of the layers' blobs, the lowest first; it exists only as ranges of these blobs. Its name
contains the digest of the image's manifest, so that the image can be found even after the tag has been moved.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from models_init.formats.manifest import SCHEMA, Archive, Manifest, OpaqueArchive, encode
from models_init.formats.ordinary_image import ImageLayer, OrdinaryImage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from models_init.core.pack_ref import PackRef
    from models_init.formats.oci import Descriptor, ImageConfig, ImageManifest

_FILE = re.compile(r"image-([0-9a-f]{64})\.layers\Z")


class ResolvedImage(NamedTuple):
    """The manifest of an image, and its digest."""

    content: ImageManifest
    digest: str

    @property
    def size(self) -> int:
        """The size of all layers in bytes."""
        return sum(layer.size for layer in self.content.layers)


class BlobRange(NamedTuple):
    """Bytes `start` to `stop` of a blob."""

    blob: Descriptor
    start: int
    stop: int


def archive_name(image: ResolvedImage) -> str:
    """Return the name of the archive that consists of the image's layers."""
    return f"image-{image.digest.removeprefix('sha256:')}.layers"


def image_digest(archive: str) -> str:
    """Return the digest of the image's manifest from the name of its archive, or "" if it is another archive."""
    match = _FILE.match(archive)
    return f"sha256:{match[1]}" if match else ""


def describe(ref: PackRef, image: ResolvedImage, config: ImageConfig, paths: tuple[str, ...]) -> bytes:
    """Return the manifest for an image; `paths` are the directories in which the pack is searched for."""
    layers = tuple(
        ImageLayer(layer.digest, layer.size, diff_id)
        for layer, diff_id in zip(image.content.layers, config.rootfs.diff_ids, strict=True)
    )
    archive = Archive(archive_name(image), image.size, image.digest)
    opaque = OpaqueArchive(image=OrdinaryImage(layers, paths))
    return encode(Manifest(SCHEMA, ref.name, ref.version, archive, (), plain=opaque))


def blob_ranges(blobs: Sequence[Descriptor], start: int, stop: int) -> Iterator[BlobRange]:
    """Yield the ranges of blobs that together form the bytes `start` to `stop` of their concatenation."""
    begin = 0
    for blob in blobs:
        first, last = max(start - begin, 0), min(stop - begin, blob.size)
        if first < last:
            yield BlobRange(blob, first, last)
        begin += blob.size
