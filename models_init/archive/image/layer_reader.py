"""Read the entries of one layer of a container image (https://github.com/opencontainers/image-spec, layer.md).

Only one directory, its parents and its content are yielded. The rest of the image may contain anything, except what tar
readers interpret differently.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING

from models_init.archive import tar_headers
from models_init.archive.errors import BadArchiveError
from models_init.archive.tar_headers import shown
from models_init.archive.tar_stream import TarStream, next_header
from models_init.formats.ordinary_image import path_parts
from models_init.formats.paths import check_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models_init.archive.decompress import Readable
    from models_init.archive.tar_stream import EntryHeader

_WHITEOUT, _OPAQUE, _RESERVED = ".wh.", ".wh..wh..opq", ".wh..wh."

SHOWN_NAMES = 10
"""Largest number of names from the top directory of an image that a message lists."""

_NAME_LIMIT = 4096  # characters: PATH_MAX of Linux; longer names and targets are rejected without further checks


class Kind(Enum):
    """The kind of an entry.

    `OTHER` is an entry that a pack cannot contain, `HIDDEN` a file that an upper layer will remove.
    """

    FILE = auto()
    DIRECTORY = auto()
    SYMBOLIC_LINK = auto()
    HARD_LINK = auto()
    WHITEOUT = auto()
    OPAQUE = auto()
    OTHER = auto()
    HIDDEN = auto()


@dataclass(frozen=True, slots=True)
class LayerItem:
    """An entry of a layer; `parts` is its path in the image.

    The path of a whiteout is that of the entry that it hides; the path of an opaque marker is that of its directory.
    `target` is the target of a link, or a description of an entry of the kind `OTHER`. `digest` is the required digest
    of a file; it is empty if the digest of the whole layer is verified. `source` is the path of an installed file with
    this content. `content` can be read until the next entry is requested.
    """

    kind: Kind
    parts: tuple[str, ...]
    target: str = ""
    size: int = 0
    executable: bool = False
    content: Iterator[memoryview] = field(default_factory=lambda: iter(()))
    digest: str = ""
    source: str = ""

    @property
    def name(self) -> str:
        """The path in the image, for messages."""
        return shown("/".join(self.parts))


class LayerReader:
    """Reads one layer; `base` is the path, as parts, of the directory whose entries are yielded."""

    def __init__(self, layer: Readable, base: tuple[str, ...]) -> None:
        self._stream = TarStream(layer)
        self._base = base
        self.others: set[str] = set()  # names in the image's top directory that are not yielded

    def items(self) -> Iterator[LayerItem]:
        """Yield the entries, and read the layer to its end. Raises `BadArchiveError`."""
        stream = self._stream
        stream.check_format()
        while header := next_header(stream, in_layer=True):
            content = stream.content(header)
            item = _item(header, content)
            if item.parts[: len(self._base)] == self._base[: len(item.parts)]:
                self._check_name(item)
                yield item
            elif len(self.others) < SHOWN_NAMES:
                self.others.add(item.parts[0])
            for _ in content:  # skip the rest that the caller has not read
                pass
            stream.skip_padding(header.size)
        stream.end()

    def _check_name(self, item: LayerItem) -> None:
        """Raise `BadArchiveError` unless the path relative to the directory is valid in a pack, and a target short."""
        if len(item.target) > _NAME_LIMIT:
            raise BadArchiveError(f"{item.name} is a link to {shown(item.target)}, which is too long for a path")
        if inner := "/".join(item.parts[len(self._base) :]):
            try:
                check_path(inner)
            except ValueError as error:
                raise BadArchiveError(f"an entry has an invalid name: {error}") from error


def _item(header: EntryHeader, content: Iterator[memoryview]) -> LayerItem:
    parts = _parts(header)
    if any(part.startswith(_WHITEOUT) for part in parts):
        return _marker(parts)
    match header.kind:
        case tar_headers.REGULAR | tar_headers.OLD_REGULAR:
            return LayerItem(Kind.FILE, parts, "", header.size, header.executable, content)
        case tar_headers.DIRECTORY:
            return LayerItem(Kind.DIRECTORY, parts)
        case tar_headers.SYMBOLIC_LINK:
            return LayerItem(Kind.SYMBOLIC_LINK, parts, header.target)
        case tar_headers.HARD_LINK:
            return LayerItem(Kind.HARD_LINK, parts, header.target)
        case kind:
            return LayerItem(Kind.OTHER, parts, tar_headers.kind_name(kind))


def _marker(parts: tuple[str, ...]) -> LayerItem:
    """Return the whiteout or the opaque marker with this path.

    Old versions of Docker wrote records of the file system aufs under such names into the top directory of the image.
    Raises `BadArchiveError`: the marker has no name.
    """
    *parents, name = parts
    if any(parent.startswith(_WHITEOUT) for parent in parents):
        return LayerItem(Kind.OTHER, parts, "an entry below a whiteout")
    if name == _OPAQUE:
        return LayerItem(Kind.OPAQUE, tuple(parents))
    if name.startswith(_RESERVED):
        return LayerItem(Kind.OTHER, parts, "a record of the file system aufs")
    hidden = name.removeprefix(_WHITEOUT)
    if hidden in ("", ".", ".."):
        raise BadArchiveError(f"{shown('/'.join(parts))} is a whiteout without a name")
    return LayerItem(Kind.WHITEOUT, (*parents, hidden))


def _parts(header: EntryHeader) -> tuple[str, ...]:
    """Return the path of an entry in the image; a leading slash is ignored, as in container runtimes.

    Raises `BadArchiveError`: the path leads upwards, is too long, or a link or a device has content.
    """
    if len(header.name) > _NAME_LIMIT:
        raise BadArchiveError(f"an entry has an invalid name: {shown(header.name)} is too long for a path")
    parts = path_parts(header.name)
    if not parts and header.kind != tar_headers.DIRECTORY:
        raise BadArchiveError(f"an entry has an invalid name: {shown(header.name)} is that of the top directory")
    if ".." in parts:
        raise BadArchiveError(f"an entry has an invalid name: {shown(header.name)} leads upwards")
    if header.size and header.kind not in (tar_headers.REGULAR, tar_headers.OLD_REGULAR):
        raise BadArchiveError(f"{shown(header.name)} is {_named(header.kind)} with {header.size} bytes of content")
    return parts


def _named(kind: bytes) -> str:
    return "a directory" if kind == tar_headers.DIRECTORY else tar_headers.kind_name(kind)
