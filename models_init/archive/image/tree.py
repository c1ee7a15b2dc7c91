"""Apply the layers of an image one after the other, the lowest first, to a tree on the volume.

Files and directories are written immediately. Symbolic links are only recorded; `links` replaces them after all layers
have been applied. Entries that a pack cannot contain are rejected only then, because an upper layer may remove them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from models_init.archive.errors import BadArchiveError
from models_init.archive.image.layer_reader import Kind
from models_init.archive.image.layer_records import LayerRecords, RecordedEntry
from models_init.archive.manifest_builder import FileHasher
from models_init.archive.tar_headers import shown
from models_init.archive.tar_reader import TarEntry
from models_init.formats.ordinary_image import path_parts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models_init.archive.image.layer_reader import LayerItem
    from models_init.archive.manifest_builder import FileRecord
    from models_init.archive.tar_reader import Limits
    from models_init.archive.tree_writer import TreeWriter
    from models_init.formats.ordinary_image import OrdinaryImage


class ChangedFileError(Exception):
    """A file of an installed pack, which was used instead of a layer, differs from its manifest.

    `layer` is the number of the layer; None if it may be any of the layers that were not fetched.
    """

    def __init__(self, layer: int | None = None) -> None:
        self.layer = layer


@dataclass(slots=True, eq=False)
class Node:
    """An entry of the image; `layer` is the number of the last layer that contains it.

    `children` is None except for directories. `file` describes a file, with its path on the volume. `target` is the
    target of a symbolic link, or a description of an entry of the kind `OTHER`.
    """

    kind: Kind
    layer: int
    target: str = ""
    file: FileRecord | None = None
    children: dict[str, Node] | None = None
    entry: RecordedEntry | None = None

    @property
    def description(self) -> str:
        """The kind of the entry, with an article, for messages."""
        match self.kind:
            case Kind.DIRECTORY:
                return "a directory"
            case Kind.SYMBOLIC_LINK:
                return f"a symbolic link to {shown(self.target)}"
            case Kind.FILE:
                return "a file"
            case _:
                return self.target


class ImageTree:
    """The directory `base` of the image, its parents and its content; the content is written to `writer`."""

    def __init__(self, image: OrdinaryImage, writer: TreeWriter, limits: Limits) -> None:
        self.image = image
        self.base = image.base()
        self.writer = writer
        self.limits = limits
        self.records = LayerRecords(image.layers)
        self.root = Node(Kind.DIRECTORY, -1, children={})
        self._layer = -1
        self._entries = self._size = 0

    def begin_layer(self) -> None:
        """Begin the next layer."""
        self._layer += 1

    def add(self, item: LayerItem) -> None:
        """Apply an entry of the current layer.

        Raises `BadArchiveError`: it conflicts with another entry or exceeds a limit. Raises `VolumeError`. Raises
        `ChangedFileError`: the content of a file does not have the digest that the entry requires.
        """
        self._count(item.parts, item.size)
        match item.kind:
            case Kind.WHITEOUT:
                self._record(item.parts, "whiteout")
                self._remove_lower(self._directory(item.parts[:-1], item), item.parts)
            case Kind.OPAQUE:
                self._record(item.parts, "opaque")
                self._empty(self._directory(item.parts, item), item.parts)
            case Kind.DIRECTORY:
                self._add_directory(item)
            case _:
                self._add_leaf(item)

    def find(self, parts: tuple[str, ...]) -> Node | None:
        """Return the entry at a path, without following links; None if there is none."""
        node: Node | None = self.root
        for name in parts:
            node = node.children.get(name) if node and node.children is not None else None
        return node

    def path(self, parts: tuple[str, ...]) -> str:
        """Return the path on the volume of an entry below `base`."""
        return "/".join(parts[len(self.base) :])

    def is_inside(self, parts: tuple[str, ...]) -> bool:
        """Return True if the path is below `base`."""
        return len(parts) > len(self.base) and parts[: len(self.base)] == self.base

    def layer_name(self, number: int) -> str:
        """Return the number and the digest of a layer, for messages."""
        return f"layer {number + 1} of {len(self.image.layers)} ({self.image.layers[number].digest[:19]}…)"

    def _count(self, parts: tuple[str, ...], size: int = 0) -> None:
        """Count an entry, even if an upper layer removes it. Raises `BadArchiveError`: it exceeds a limit."""
        self._entries += 1
        self._size += size
        if self._size > self.limits.size:
            limit = f"{self.limits.size} bytes for all files"
        elif self._entries > self.limits.entries:
            limit = f"{self.limits.entries} files, directories and whiteouts"
        else:
            return
        raise BadArchiveError(f"with {shown('/'.join(parts))} it exceeds the limit of {limit}")

    def _record(self, parts: tuple[str, ...], kind: str, target: str = "") -> RecordedEntry:
        return self.records.add(self._layer, RecordedEntry("/".join(parts), kind, target))  # type: ignore[arg-type]

    def _directory(self, parts: tuple[str, ...], item: LayerItem) -> Node:
        """Return a directory; create it if it does not exist. Raises `BadArchiveError`: it is not a directory."""
        node = self.root
        for depth, name in enumerate(parts, 1):
            children = node.children if node.children is not None else {}
            child = children.get(name)
            if child is None:
                self._count(parts)
                child = self._make_directory(node, parts[:depth])
            if child.children is None:
                raise BadArchiveError(f"{item.name} is below {shown('/'.join(parts[:depth]))}, {child.description}")
            node = child
        return node

    def _make_directory(self, parent: Node, parts: tuple[str, ...]) -> Node:
        node = Node(Kind.DIRECTORY, self._layer, children={}, entry=self._record(parts, "directory"))
        if self.is_inside(parts):
            self.writer.add(TarEntry(self.path(parts), True, 0, False, iter(())), iter(()))
        _children(parent)[parts[-1]] = node
        return node

    def _add_directory(self, item: LayerItem) -> None:
        if not item.parts:
            return
        parent = self._directory(item.parts[:-1], item)
        existing = _children(parent).get(item.parts[-1])
        if existing and existing.children is not None:
            existing.layer = self._layer
            self._record(item.parts, "directory")
            return
        self._remove_lower(parent, item.parts)
        self._require_free(parent, item)
        self._make_directory(parent, item.parts)

    def _add_leaf(self, item: LayerItem) -> None:
        parent = self._directory(item.parts[:-1], item)
        self._remove_lower(parent, item.parts)
        self._require_free(parent, item)
        node = self._leaf(item)
        match node.kind:
            case Kind.FILE | Kind.HIDDEN:
                node.entry = self._record(item.parts, "file")
            case Kind.SYMBOLIC_LINK if _is_unicode(node.target):
                node.entry = self._record(item.parts, "link", node.target)
            case _:
                self.records.drop(self._layer)
        _children(parent)[item.parts[-1]] = node

    def _require_free(self, parent: Node, item: LayerItem) -> None:
        """Raise `BadArchiveError` if the current layer already contains another entry of this name."""
        if existing := _children(parent).get(item.parts[-1]):
            what = "is also a directory" if existing.children is not None else "occurs twice"
            raise BadArchiveError(f"{item.name} {what} in the layer")

    def _leaf(self, item: LayerItem) -> Node:
        if item.kind == Kind.HARD_LINK:
            return self._hard_link(item)
        if item.kind == Kind.HIDDEN:
            return Node(Kind.HIDDEN, self._layer, "a file of a layer that was not fetched")
        if item.kind != Kind.FILE:
            return Node(item.kind, self._layer, item.target)
        if not self.is_inside(item.parts):
            return Node(Kind.OTHER, self._layer, "a file")
        entry = TarEntry(self.path(item.parts), False, item.size, item.executable, item.content)
        if item.source:
            return Node(Kind.FILE, self._layer, file=self._adopted(item, entry))
        hasher = FileHasher(entry)
        self.writer.add(entry, hasher.pieces())
        return Node(Kind.FILE, self._layer, file=hasher.record())

    def _adopted(self, item: LayerItem, entry: TarEntry) -> FileRecord:
        """Link or copy an installed file, and verify it. Raises `ChangedFileError`."""
        is_linked = self.writer.adopt(item.source, entry)
        content = self.writer.pieces(entry) if is_linked else item.content
        hasher = FileHasher(replace(entry, content=self._readable(content)))
        if is_linked:
            for _ in hasher.pieces():
                pass
        else:
            self.writer.add(entry, hasher.pieces())
        record = hasher.record()
        if item.digest != f"sha256:{record.digest.hex()}":
            raise ChangedFileError(self._layer)
        return record

    def _readable(self, content: Iterator[memoryview]) -> Iterator[memoryview]:
        try:
            yield from content
        except OSError as error:
            raise ChangedFileError(self._layer) from error

    def _hard_link(self, item: LayerItem) -> Node:
        """Return the entry for a hard link to an entry of this layer or of a lower one."""
        parts = path_parts(item.target)
        is_inside = self.is_inside(parts) and ".." not in parts
        found = self.find(parts) if is_inside else None
        if found and found.kind == Kind.SYMBOLIC_LINK:
            return Node(Kind.SYMBOLIC_LINK, self._layer, found.target)
        if not found or not found.file or not self.is_inside(item.parts):
            where = "does not exist" if is_inside else f"is not below /{'/'.join(self.base)}"
            reason = found.description if found else where
            return Node(Kind.OTHER, self._layer, f"a hard link to {shown(item.target)}, which {_clause(reason)}")
        path = self.path(item.parts)
        self._count(item.parts, found.file.size)
        record = found.file._replace(path=path)
        self.writer.link(found.file.path, TarEntry(path, False, record.size, record.executable, iter(())))
        return Node(Kind.FILE, self._layer, file=record)

    def _empty(self, directory: Node, parts: tuple[str, ...]) -> None:
        """Remove the entries that lower layers have added to a directory."""
        for name in list(_children(directory)):
            self._remove_lower(directory, (*parts, name))

    def _remove_lower(self, parent: Node, parts: tuple[str, ...]) -> None:
        """Remove an entry and everything below it, except entries of the current layer.

        Not recursive: a path may have more parts than Python allows nested calls.
        """
        found = [(parent, parts)]
        for directory, path in found:  # the list grows: parents before their children
            node = _children(directory).get(path[-1])
            if node and node.children:
                found += [(node, (*path, name)) for name in node.children]
        for directory, path in reversed(found):
            self._remove_single(directory, path)

    def _remove_single(self, parent: Node, parts: tuple[str, ...]) -> None:
        """Remove an entry, unless it does not exist, is of the current layer, or is a directory with entries."""
        node = _children(parent).get(parts[-1])
        if node is None or node.children or node.layer == self._layer:
            return
        if node.entry:
            node.entry.hidden_by = self.image.layers[self._layer].diff_id
        if self.is_inside(parts) and node.file:
            self.writer.remove_file(node.file.path)
        elif self.is_inside(parts) and node.children is not None:
            self.writer.remove_directory(self.path(parts))
        del _children(parent)[parts[-1]]


def _children(directory: Node) -> dict[str, Node]:
    if directory.children is None:
        raise TypeError("the entry is not a directory")
    return directory.children


def _is_unicode(text: str) -> bool:
    """Return False for a target with bytes that are not UTF-8, which the derived manifest cannot contain."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _clause(reason: str) -> str:
    return f"is {reason}" if reason.startswith(("a ", "an ")) else reason
