"""Build the layers of ordinary images, and read them as an install does."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from models_init.archive.image.scan import ImageArchive, scan_image
from models_init.archive.tree_writer import TreeWriter
from models_init.core.digests import digest_of
from models_init.formats.manifest import Archive, OpaqueArchive
from models_init.formats.ordinary_image import ImageLayer, OrdinaryImage, path_parts
from models_init.fs.page_cache import NoPageCachePolicy
from tests.archive.archives import END, block, file, pax, summed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from models_init.archive.scan import ScanResult

PATHS = ("/models/nl-nl", "/models")


def layer(*entries: bytes) -> bytes:
    """Return a layer with these entries."""
    return b"".join(entries) + END


def directory(name: str) -> bytes:
    """Return the entry of a directory."""
    return block(name.encode() + b"/", kind=b"5", mode=0o755)


def regular(name: str, content: bytes = b"", mode: int = 0o644) -> bytes:
    """Return the entry of a file."""
    return file(name.encode(), content, mode=mode)


def link(name: str, target: str, kind: bytes = b"2") -> bytes:
    """Return the entry of a symbolic link, or of a hard link (kind `1`)."""
    head = bytearray(block(name.encode(), kind=kind))
    if len(target) > 100:
        return pax({b"linkpath": target.encode()}) + bytes(head)
    head[157 : 157 + len(target.encode())] = target.encode()
    return summed(head)


def hard(name: str, target: str) -> bytes:
    """Return the entry of a hard link."""
    return link(name, target, b"1")


def described(
    layers: Sequence[bytes], compress: Callable[[bytes], bytes] = bytes, paths: Sequence[str] = PATHS
) -> tuple[OrdinaryImage, bytes]:
    """Return the description of an image, and its layers as one stream."""
    blobs = [compress(plain) for plain in layers]
    described = [
        ImageLayer(digest_of(blob), len(blob), digest_of(plain)) for blob, plain in zip(blobs, layers, strict=True)
    ]
    return OrdinaryImage(tuple(described), tuple(paths)), b"".join(blobs)


def scanned(image: OrdinaryImage, stream: bytes, root: Path) -> ScanResult:
    """Read an image; the pack's files are at `pack_below(root, result)`."""
    archive = Archive("image.layers", len(stream), digest_of(b"image"))
    return scan_image(
        io.BytesIO(stream),
        ImageArchive(archive, OpaqueArchive(image=image), image, {}),
        TreeWriter(root, NoPageCachePolicy()),
    )


def unpacked(layers: Sequence[bytes], root: Path, paths: Sequence[str] = PATHS) -> dict[str, bytes | None]:
    """Return the pack of an image by path, with None for directories; the image must be valid."""
    result = scanned(*described(layers, paths=paths), root)
    assert result.fault == ""
    assert result.wrong == frozenset()
    assert result.image is not None
    top = root.joinpath(*path_parts(result.image.root)[len(result.image.base()) :])
    found = {path.relative_to(top).as_posix(): path for path in top.rglob("*")}
    assert not any(path.is_symlink() for path in found.values())
    assert set(found) == result.builder.paths()
    return {name: None if path.is_dir() else path.read_bytes() for name, path in found.items()}
