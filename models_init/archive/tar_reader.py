"""Read the entries of an untrusted archive: regular files and directories, with paths inside the pack.

Everything else raises a `BadArchiveError` before any of it is yielded, including data after the end of the archive.
Memory use is bounded by `Limits.entries`, not by the archive's size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from models_init.archive import tar_headers
from models_init.archive.decompress import opened
from models_init.archive.errors import BadArchiveError
from models_init.archive.tar_headers import shown
from models_init.archive.tar_stream import TarStream, next_header
from models_init.formats.paths import check_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models_init.archive.decompress import Readable
    from models_init.archive.tar_stream import EntryHeader

ENTRIES_LIMIT = 250_000
"""Largest number of files and directories of an opaque archive, even if its manifest states more: about 60 MB of names
and digests in memory, and a derived manifest of half the size limit of manifests."""

_WHITEOUT = ".wh."
"""Prefix of the names by which a layer of a container image marks files of lower layers as removed."""

_NAME_LIMIT = 1024  # characters; longer names are rejected without further checks


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits at which reading stops: bytes of all files; number of files and directories, including implied ones."""

    size: int
    entries: int = ENTRIES_LIMIT


@dataclass(frozen=True, slots=True)
class TarEntry:
    """A regular file or a directory.

    The `content` of a file, `size` bytes in total, can be read until the next entry is requested. Each of its pieces is
    valid until the next piece is requested.
    """

    path: str
    is_directory: bool
    size: int
    executable: bool
    content: Iterator[memoryview]


def read(archive: Readable, limits: Limits) -> Iterator[TarEntry]:
    """Yield the entries of an archive (tar, uncompressed or compressed with gzip or zstd) and read it to its end.

    Implied parent directories are not yielded. Raises `BadArchiveError`, and everything that reading the archive
    raises.
    """
    stream = TarStream(opened(archive))
    stream.check_format()
    tree = _Names(limits)
    while header := next_header(stream):
        if not (path := _path(header)):
            _check_top(header, tree)
            continue
        is_directory = header.kind == tar_headers.DIRECTORY
        tree.add(path, header, is_directory=is_directory)
        content = stream.content(header)
        yield TarEntry(path, is_directory, header.size, header.executable and not is_directory, content)
        for _ in content:  # skip the rest that the caller has not read
            pass
        stream.skip_padding(header.size)
    stream.end()


def _path(header: EntryHeader) -> str:
    """Return the path inside the pack, empty for the top directory.

    A leading `./` is removed: `tar -C directory .` writes it.
    """
    name = header.name
    if header.kind == tar_headers.DIRECTORY:
        name = name.removesuffix("/")
        if name == ".":
            return ""
    path = name.removeprefix("./")
    if len(path) > _NAME_LIMIT:
        raise BadArchiveError(f"an entry has an invalid name: {shown(path)} is too long for a path")
    try:
        check_path(path)
    except ValueError as error:
        raise BadArchiveError(f"an entry has an invalid name: {error}") from error
    if path.startswith(_WHITEOUT) or f"/{_WHITEOUT}" in path:
        raise BadArchiveError(
            f"{shown(path)} is a whiteout, which removes files of another layer: the archive is a layer of a container "
            "image, not a whole pack"
        )
    return path


def _check_top(header: EntryHeader, tree: _Names) -> None:
    if tree.has_top:
        raise BadArchiveError(f"the directory {shown(header.name)} occurs twice in the archive")
    tree.has_top = True


class _Names:
    """The names read so far, and the total size of their files."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._files: set[str] = set()
        self._directories: dict[str, bool] = {}  # True if it had its own entry
        self._size = 0
        self.has_top = False

    def add(self, path: str, header: EntryHeader, *, is_directory: bool) -> None:
        """Add a name.

        Raises `BadArchiveError`: the name conflicts with another one or exceeds a limit.
        """
        self._add_parents(path)
        if path in self._files or self._directories.get(path):
            raise BadArchiveError(f"{shown(path)} occurs twice in the archive")
        if is_directory:
            self._directories[path] = True
        elif path in self._directories:
            raise BadArchiveError(f"{shown(path)} is both a directory and a file")
        else:
            self._files.add(path)
        self._size += header.size
        if self._size > self._limits.size:
            raise BadArchiveError(f"with {shown(path)} it exceeds the limit of {self._limits.size} bytes for all files")
        if len(self._files) + len(self._directories) > self._limits.entries:
            raise BadArchiveError(
                f"with {shown(path)} it exceeds the limit of {self._limits.entries} files and directories"
            )

    def _add_parents(self, path: str) -> None:
        parent = path.rpartition("/")[0]
        while parent and parent not in self._directories:
            if parent in self._files:
                raise BadArchiveError(f"{shown(path)} is below {shown(parent)}, which is a file")
            self._directories[parent] = False
            parent = parent.rpartition("/")[0]
