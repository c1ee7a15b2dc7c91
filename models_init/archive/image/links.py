"""Find the pack in an image whose layers have been applied, and replace its links by their targets."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from models_init.archive.errors import BadArchiveError
from models_init.archive.image.layer_reader import SHOWN_NAMES, Kind
from models_init.archive.image.layer_records import NOT_IN_PACK
from models_init.archive.tar_headers import shown
from models_init.archive.tar_reader import TarEntry
from models_init.formats.ordinary_image import path_parts
from models_init.formats.paths import check_path

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from models_init.archive.image.tree import ImageTree, Node
    from models_init.archive.manifest_builder import ManifestBuilder

_LINKS_LIMIT = 40  # links that are followed for one path, as in Linux


class _Place(NamedTuple):
    """An entry and its path in the image."""

    node: Node
    parts: tuple[str, ...]


class _Entry(NamedTuple):
    """An entry, its path in the pack, and the directories that contain it, the outermost first."""

    place: _Place
    path: str
    parents: tuple[Node, ...]


def complete(tree: ImageTree, builder: ManifestBuilder, others: Collection[str]) -> str:
    """Record the pack's files and directories in `builder`; return its directory in the image.

    `others` are more names in the image's top directory, for the error message. Raises `BadArchiveError`: there is no
    pack, or it contains something other than files, directories and links to them. Raises `VolumeError`.
    """
    root = _find_root(tree, others)
    _Completion(tree, root, builder).run()
    for node in _files_outside(tree.root, root.node):
        if node.entry:
            node.entry.hidden_by = NOT_IN_PACK
    return "/".join(root.parts)


def _find_root(tree: ImageTree, others: Collection[str]) -> _Place:
    """Return the first directory among the image's paths that is not empty."""
    for path in tree.image.paths:
        parts = path_parts(path)
        for depth in range(1, len(parts) + 1):
            node = tree.find(parts[:depth])
            if node and node.children is None:
                raise BadArchiveError(
                    f"{tree.layer_name(node.layer)}: {shown('/'.join(parts[:depth]))} is {node.description}, not a "
                    "directory"
                )
        if (node := tree.find(parts)) and node.children:
            return _Place(node, parts)
    names = sorted({*others, *(tree.root.children or ())})[:SHOWN_NAMES]
    top = ", ".join(shown(name, 40) for name in names) or "nothing"
    raise BadArchiveError(f"it contains nothing below {' or '.join(tree.image.paths)}; at its top are {top}")


def _files_outside(node: Node, root: Node) -> Iterator[Node]:
    """Yield the files that are not below `root`."""
    pending = [node]
    while pending:
        node = pending.pop()
        if node.file:
            yield node
        pending += [child for child in (node.children or {}).values() if child is not root]


class _Completion:
    """Walks through the pack, and through each directory that a link points to, under the link's name."""

    def __init__(self, tree: ImageTree, root: _Place, builder: ManifestBuilder) -> None:
        self._tree = tree
        self._root = root
        self._builder = builder
        self._size = self._entries = 0

    def run(self) -> None:
        """Record everything. Not recursive: a path may have more parts than Python allows nested calls."""
        open_directories = [self._content(self._root, "", (self._root.node,))]
        while open_directories:
            if not (entry := next(open_directories[-1], None)):
                open_directories.pop()
            elif (place := self._add(*entry)).node.children is not None:
                _, path, parents = entry
                open_directories.append(self._content(place, path, (*parents, place.node)))

    def _content(self, directory: _Place, path: str, open_: tuple[Node, ...]) -> Iterator[_Entry]:
        """Yield the entries of a directory at `path` of the pack; `open_` are the directory and its parents."""
        for name, child in sorted((directory.node.children or {}).items()):
            yield _Entry(_Place(child, (*directory.parts, name)), f"{path}/{name}" if path else name, open_)

    def _add(self, place: _Place, path: str, open_: tuple[Node, ...]) -> _Place:
        """Record one entry, without the entries below it; return its place, or that of the target of a link."""
        node, link = place.node, None
        if node.kind == Kind.SYMBOLIC_LINK:
            link, place = place, self._target(place)
            node = place.node
        is_copy = place.parts != (*self._root.parts, *path_parts(path))
        if is_copy:
            self._check_copy(place, path, link, open_)
        if node.file:
            self._count(path, node.file.size)
            if is_copy:
                entry = TarEntry(self._path(path), False, node.file.size, node.file.executable, iter(()))
                self._tree.writer.link(node.file.path, entry)
            self._builder.add_file(node.file._replace(path=path))
        elif node.children is not None:
            self._count(path, 0)
            if is_copy:
                self._tree.writer.add(TarEntry(self._path(path), True, 0, False, iter(())), iter(()))
            self._builder.add_directory(path)
        else:
            raise self._refused(place, f"is {node.description}; a pack consists of files and directories")
        return place

    def _path(self, path: str) -> str:
        """Return the path on the volume of an entry of the pack."""
        return self._tree.path((*self._root.parts, path))

    def _count(self, path: str, size: int) -> None:
        """Raise `BadArchiveError` if the copies for links exceed a limit."""
        self._size += size
        self._entries += 1
        limits = self._tree.limits
        if self._size > limits.size or self._entries > limits.entries:
            raise BadArchiveError(
                f"with the copies for its links, up to {shown(path)}, it exceeds the limit of {limits.size} bytes or "
                f"{limits.entries} files and directories"
            )

    def _check_copy(self, place: _Place, path: str, link: _Place | None, open_: tuple[Node, ...]) -> None:
        if place.node in open_:
            raise self._refused(link or place, "is a symbolic link to a directory that contains it")
        try:
            check_path(path)
        except ValueError as error:
            raise self._refused(link or place, f"leads to an invalid name: {error}") from error

    def _target(self, link: _Place) -> _Place:
        """Resolve a link inside the image as Linux does. Raises `BadArchiveError`: it does not lead into the pack."""
        (node, at), links = link, 0
        names: list[str] = []
        while node.kind == Kind.SYMBOLIC_LINK or names:
            if node.kind == Kind.SYMBOLIC_LINK:
                links += 1
                if links > _LINKS_LIMIT:
                    raise self._refused(link, f"{_leads(link)}, over more than {_LINKS_LIMIT} links")
                at = () if node.target.startswith("/") else at[:-1]
                names += reversed(node.target.split("/"))
            name = names.pop()
            at = at[:-1] if name == ".." else at if name in ("", ".") else (*at, name)
            found = self._tree.find(at)
            if found is None:
                break
            node = found
        if at[: len(self._root.parts)] != self._root.parts:
            raise self._refused(
                link, f"{_leads(link)}, out of the directory of the pack, /{'/'.join(self._root.parts)}"
            )
        if found is None:
            raise self._refused(link, f"{_leads(link)}, which does not exist")
        return _Place(node, at)

    def _refused(self, place: _Place, why: str) -> BadArchiveError:
        return BadArchiveError(f"{self._tree.layer_name(place.node.layer)}: {shown('/'.join(place.parts))} {why}")


def _leads(link: _Place) -> str:
    return f"is a symbolic link to {shown(link.node.target)}"
