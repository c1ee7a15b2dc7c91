"""Read the layers of an ordinary image, verify each, and write the pack's files."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from models_init.archive.decompress import PIECE, opened
from models_init.archive.errors import BadArchiveError
from models_init.archive.image.layer_reader import LayerReader
from models_init.archive.image.links import complete
from models_init.archive.image.tree import ChangedFileError, ImageTree
from models_init.archive.manifest_builder import ManifestBuilder
from models_init.archive.scan import FREE_GROWTH, RATIO, HashingReader, ScanResult, limits_of
from models_init.archive.zstd_frames import LAYER_WINDOW_LIMIT
from models_init.formats.manifest import OpaqueArchive
from models_init.formats.ordinary_image import OrdinaryImage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from models_init.archive.decompress import Readable
    from models_init.archive.image.layer_reuse import InstalledLayer
    from models_init.archive.tree_writer import TreeWriter
    from models_init.formats.manifest import Archive
    from models_init.formats.ordinary_image import ImageLayer


class ImageArchive(NamedTuple):
    """An image: the archive and the totals in its manifest, and its layers.

    Layers in `installed` are not part of the stream.
    """

    archive: Archive
    declared: OpaqueArchive
    image: OrdinaryImage
    installed: Mapping[int, InstalledLayer]


def scan_image(stream: Readable, image: ImageArchive, writer: TreeWriter) -> ScanResult:
    """Read the layers from a stream, up to the first fault, and write the pack's files.

    If the image is not a valid pack, the tree is removed. Raises `ChangedFileError`: a file of an installed pack, used
    instead of a layer, differs from its manifest. Raises `VolumeError`, and everything that reading the stream raises
    except `BadArchiveError`.
    """
    scanner = _ImageScanner(image, writer)
    fault = scanner.read_layers(stream)
    if not fault and not scanner.wrong:
        try:
            return scanner.result()
        except BadArchiveError as error:
            fault = str(error)
    writer.discard()
    if fault and not scanner.wrong and image.installed:
        raise ChangedFileError  # the reason may be that an installed layer lacks a file
    digest = "" if scanner.wrong else image.archive.digest
    return ScanResult(digest, ManifestBuilder(), fault, None, frozenset(scanner.wrong))


class _ImageScanner:
    def __init__(self, image: ImageArchive, writer: TreeWriter) -> None:
        self._image = image
        self._tree = ImageTree(image.image, writer, limits_of(image.archive, OpaqueArchive()))
        self._others: set[str] = set()  # names in the image's top directory
        self.wrong: set[int] = set()

    def read_layers(self, stream: Readable) -> str:
        """Read the layers until one of them cannot be used; return the reason, or an empty string.

        After a layer with a wrong digest, the remaining layers are only hashed.
        """
        for number, layer in enumerate(self._image.image.layers):
            self._tree.begin_layer()
            try:
                if installed := self._image.installed.get(number):
                    self._apply(installed)
                else:
                    self._read(_Section(stream, layer.size), number, layer)
            except BadArchiveError as error:
                return f"{self._tree.layer_name(number)}: {error}"
        return ""

    def result(self) -> ScanResult:
        """Return the content of the complete tree. Raises `BadArchiveError`: it is not a valid pack."""
        builder = ManifestBuilder()
        root = complete(self._tree, builder, self._others)
        builder.check(self._image.declared)
        described = OrdinaryImage(self._tree.records.described(), self._image.image.paths, root)
        return ScanResult(self._image.archive.digest, builder, "", described)

    def _apply(self, installed: InstalledLayer) -> None:
        if not self.wrong:
            for item in installed.items():
                self._tree.add(item)

    def _read(self, section: _Section, number: int, layer: ImageLayer) -> None:
        """Apply one layer.

        Raises `BadArchiveError`: the layer is invalid although its digest is correct, so its publisher is at fault.
        """
        fault: BadArchiveError | None = None
        with HashingReader(section) as blob:
            try:
                if not self.wrong:
                    self._unpack(blob, layer)
            except BadArchiveError as error:
                fault = error
            while blob.read(PIECE):
                pass
            if blob.digest() != layer.digest:
                self.wrong.add(number)
            elif fault:
                raise fault

    def _unpack(self, blob: Readable, layer: ImageLayer) -> None:
        plain = _LimitedReader(opened(blob, LAYER_WINDOW_LIMIT), layer.size * RATIO + FREE_GROWTH)
        with HashingReader(plain) as content:
            reader = LayerReader(content, self._tree.base)
            for item in reader.items():
                self._tree.add(item)
            self._others |= reader.others
            if content.digest() != layer.diff_id:
                raise BadArchiveError("its content differs from the digest in the image's configuration (diff_id)")


class _Section:
    """The next `size` bytes of a stream."""

    def __init__(self, stream: Readable, size: int) -> None:
        self._stream = stream
        self._left = size

    def read(self, size: int, /) -> bytes:
        data = self._stream.read(min(size, self._left)) if self._left else b""
        self._left -= len(data)
        return data


class _LimitedReader:
    """Raises `BadArchiveError` after `limit` bytes: a small layer may unpack to a huge size."""

    def __init__(self, inner: Readable, limit: int) -> None:
        self._inner = inner
        self._limit = self._left = limit

    def read(self, size: int, /) -> bytes:
        data = self._inner.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise BadArchiveError(f"it unpacks to more than {self._limit} bytes, {RATIO} times its size")
        return data
