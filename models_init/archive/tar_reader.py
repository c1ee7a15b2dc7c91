"""The entries of an archive that nobody vouches for: regular files and directories, under names that stay inside.

Everything else ends the reading with a `BadArchiveError` before any of it is handed out; so does whatever hides behind
the end. Memory is bounded by `Limits.entries`, not by the archive's size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from models_init.archive import tar_headers
from models_init.archive.decompress import PIECE, opened
from models_init.archive.errors import BadArchiveError
from models_init.archive.tar_headers import BLOCK, PaxFields, shown
from models_init.formats.manifest import check_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models_init.archive.decompress import Readable
    from models_init.archive.tar_headers import Header

ENTRIES_LIMIT = 250_000
"""Files and directories of a plain archive, at most, whatever its manifest says: about 60 MB of names and digests to
hold, and a derived manifest of half of what a manifest may have."""

_HEADER_LIMIT = 64 << 10
"""Bytes of an extended header: a name of 1,024 bytes, and room for the attributes that some tools put there."""

_NAME_LIMIT = 1024  # characters: what is longer is not even looked at

_PADDING_LIMIT = 1 << 20
"""Bytes of zeros behind the end: `tar -b 2048` fills up to records of 1 MiB, the usual ones have 10 KiB."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Caps at which reading stops: bytes of all files; files and directories, those that names imply included."""

    size: int
    entries: int = ENTRIES_LIMIT


@dataclass(frozen=True, slots=True)
class TarEntry:
    """A regular file or a directory. The `content` of a file can be read until the next entry is asked for.

    Its pieces are valid until the next one is asked for; there are `size` bytes in all.
    """

    path: str
    is_folder: bool
    size: int
    executable: bool
    content: Iterator[memoryview]


def read(archive: Readable, limits: Limits) -> Iterator[TarEntry]:
    """Yield the entries of an archive (tar, alone or compressed with gzip or zstd) and read it to its very end.

    Directories that only names imply are not yielded. Raises `BadArchiveError` and what reading the archive raises.
    """
    stream = _TarStream(opened(archive))
    tree = _Names(limits)
    while header := _next_header(stream):
        if not (path := _path(header)):
            _check_top(header, tree)
            continue
        is_folder = header.kind == tar_headers.FOLDER
        tree.add(path, header, is_folder=is_folder)
        content = stream.content(header)
        yield TarEntry(path, is_folder, header.size, header.executable and not is_folder, content)
        for _ in content:  # what nobody has read
            pass
        stream.skip_padding(header.size)
    stream.end()


class _EntryHeader(NamedTuple):
    """What all headers of one entry say together."""

    kind: bytes
    name: str
    size: int
    executable: bool


def _next_header(stream: _TarStream) -> _EntryHeader | None:
    """The header of the next file or directory, with what its extended headers say; None at the end."""
    name: str | None = None
    fields: PaxFields | None = None
    while block := stream.header(extended=name is not None or fields is not None):
        header = tar_headers.parse(block)
        match header.kind:
            case tar_headers.PAX_GLOBAL:
                tar_headers.pax(stream.small(header), everywhere=True)
            case tar_headers.PAX if fields is None:
                fields = tar_headers.pax(stream.small(header), everywhere=False)
            case tar_headers.LONG_NAME if name is None:
                name = tar_headers.long_name(stream.small(header))
            case tar_headers.PAX | tar_headers.LONG_NAME:
                raise BadArchiveError(f"{shown(header.name)} is a second extended header of its kind for one entry")
            case _:
                return _merged(header, name, fields or PaxFields())
    return None


def _merged(header: Header, name: str | None, fields: PaxFields) -> _EntryHeader:
    if name is not None and fields.path is not None and name != fields.path:
        raise BadArchiveError(f"one entry has two names, {shown(name)} (GNU) and {shown(fields.path)} (pax)")
    name = fields.path if fields.path is not None else name if name is not None else tar_headers.text(header.name)
    size = header.size if fields.size is None else fields.size
    kind = header.kind
    if kind == tar_headers.OLD_REGULAR and name.endswith("/"):
        kind = tar_headers.FOLDER  # as the tar of 1979 writes directories
    if kind == tar_headers.FOLDER and size:
        raise BadArchiveError(f"the directory {shown(name)} has a content of {size} bytes")
    return _EntryHeader(kind, name, size, header.executable)


def _path(header: _EntryHeader) -> str:
    """The name inside the pack, empty for the top directory; `./` at the start is what `tar -C folder .` writes."""
    name = header.name
    if header.kind == tar_headers.FOLDER:
        name = name.removesuffix("/")
        if name == ".":
            return ""
    path = name.removeprefix("./")
    if len(path) > _NAME_LIMIT:
        raise BadArchiveError(f"an entry's name cannot be used: {shown(path)} is too long for a path")
    try:
        check_path(path)
    except ValueError as error:
        raise BadArchiveError(f"an entry's name cannot be used: {error}") from error
    return path


def _check_top(header: _EntryHeader, tree: _Names) -> None:
    if tree.has_top:
        raise BadArchiveError(f"the directory {shown(header.name)} stands in the archive twice")
    tree.has_top = True


class _Names:
    """The names so far, and the bytes of their files."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._files: set[str] = set()
        self._folders: dict[str, bool] = {}  # whether it had an entry of its own
        self._size = 0
        self.has_top = False

    def add(self, path: str, header: _EntryHeader, *, is_folder: bool) -> None:
        """Take a name in; raise `BadArchiveError` where it does not go with the others, or is one too many."""
        self._add_parents(path)
        if path in self._files or self._folders.get(path):
            raise BadArchiveError(f"{shown(path)} stands in the archive twice")
        if is_folder:
            self._folders[path] = True
        elif path in self._folders:
            raise BadArchiveError(f"{shown(path)} is both a directory and a file")
        else:
            self._files.add(path)
        self._size += header.size
        if self._size > self._limits.size:
            raise BadArchiveError(f"with {shown(path)} it unpacks to more than {self._limits.size} bytes, its limit")
        if len(self._files) + len(self._folders) > self._limits.entries:
            raise BadArchiveError(
                f"with {shown(path)} it has more than {self._limits.entries} files and directories, its limit"
            )

    def _add_parents(self, path: str) -> None:
        parent = path.rpartition("/")[0]
        while parent and parent not in self._folders:
            if parent in self._files:
                raise BadArchiveError(f"{shown(path)} lies below {shown(parent)}, which is a file")
            self._folders[parent] = False
            parent = parent.rpartition("/")[0]


class _TarStream:
    """The tar stream, block by block; one piece of it is held at a time."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._piece = memoryview(b"")

    def header(self, *, extended: bool) -> bytes:
        """The next header block, nothing at the end of the archive: two blocks of zeros. `extended`: one must come."""
        block = self._exactly(BLOCK, "where a header ought to be")
        if any(block):
            return block
        if extended:
            raise BadArchiveError("the archive ends after an extended header, whose entry is missing")
        if any(self._exactly(BLOCK, "amid its end")):
            raise BadArchiveError("something follows a lone block of zeros: readers disagree whether that is the end")
        return b""

    def small(self, header: Header) -> bytes:
        """The content of an extended header."""
        if header.size > _HEADER_LIMIT:
            raise BadArchiveError(f"the extended header {shown(header.name)} has {header.size} bytes")
        data = self._exactly(header.size, "in an extended header")
        self.skip_padding(header.size)
        return data

    def content(self, header: _EntryHeader) -> Iterator[memoryview]:
        """The bytes of a file, piece by piece."""
        left = header.size
        while left:
            piece = self._some(left)
            if not piece:
                raise BadArchiveError(f"it breaks off in {shown(header.name)}, {left} bytes before that file's end")
            left -= len(piece)
            yield piece

    def skip_padding(self, size: int) -> None:
        """Pass over what fills the last block of a content of `size` bytes up; readers ignore what it holds."""
        self._exactly(-size % BLOCK, "behind a file's last byte")

    def end(self) -> None:
        """Read to the end, where nothing but zeros may follow, and not too many of them."""
        left = _PADDING_LIMIT
        while piece := self._some(PIECE):
            if any(piece):
                raise BadArchiveError("something follows the end of the archive")
            left -= len(piece)
            if left < 0:
                raise BadArchiveError(f"more than {_PADDING_LIMIT} bytes of zeros follow the end of the archive")

    def _some(self, most: int) -> memoryview:
        if not self._piece:
            self._piece = memoryview(self._source.read(PIECE))
        piece, self._piece = self._piece[:most], self._piece[most:]
        return piece

    def _exactly(self, size: int, where: str) -> bytes:
        data = bytes(self._some(size)) if size else b""
        while len(data) < size:
            more = self._some(size - len(data))
            if not more:
                raise BadArchiveError(f"it breaks off {where}")
            data += more
        return data
