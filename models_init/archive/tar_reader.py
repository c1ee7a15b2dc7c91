"""Read the entries of an untrusted archive: regular files and directories, under names inside the pack.

Everything else raises a `BadArchiveError` before any of it is yielded, including data after the end of the archive.
Memory use is bounded by `Limits.entries`, not by the archive's size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from models_init.archive import file_formats, tar_headers
from models_init.archive.decompress import PIECE, opened
from models_init.archive.errors import BadArchiveError
from models_init.archive.tar_headers import BLOCK, PaxFields, shown
from models_init.formats.manifest import check_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models_init.archive.decompress import Readable
    from models_init.archive.tar_headers import Header

ENTRIES_LIMIT = 250_000
"""Largest number of files and directories of an opaque archive, even if its manifest states more: about 60 MB of names
and digests in memory, and a derived manifest of half the size limit of manifests."""

_HEADER_LIMIT = 64 << 10
"""Largest size in bytes of an extended header: a name of 1,024 bytes, and room for the attributes that some tools
add."""

_SUPPORTED = "supported are tar archives, uncompressed or compressed with gzip or zstd (.tar, .tar.gz, .tar.zst)"

_WHITEOUT = ".wh."
"""Prefix of the names by which a layer of a container image marks files of lower layers as removed."""

_NAME_LIMIT = 1024  # characters; longer names are rejected without further checks

_PADDING_LIMIT = 1 << 20
"""Largest number of zero bytes after the end: `tar -b 2048` pads to records of 1 MiB, the usual records have 10 KiB."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits at which reading stops: bytes of all files; files and directories, including implied ones."""

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

    Directories that only paths imply are not yielded. Raises `BadArchiveError`, and everything that reading the archive
    raises.
    """
    stream = _TarStream(opened(archive))
    stream.check_format()
    tree = _Names(limits)
    while header := _next_header(stream):
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


class _EntryHeader(NamedTuple):
    """The combined information of all headers of one entry."""

    kind: bytes
    name: str
    size: int
    executable: bool


def _next_header(stream: _TarStream) -> _EntryHeader | None:
    """Return the header of the next file or directory, merged with its extended headers; None at the end."""
    name: str | None = None
    fields: PaxFields | None = None
    while block := stream.header(extended=name is not None or fields is not None):
        header = tar_headers.parse(block)
        match header.kind:
            case tar_headers.PAX_GLOBAL:
                tar_headers.pax(stream.small(header), is_global=True)
            case tar_headers.PAX if fields is None:
                fields = tar_headers.pax(stream.small(header), is_global=False)
            case tar_headers.LONG_NAME if name is None:
                name = tar_headers.long_name(stream.small(header))
            case tar_headers.PAX | tar_headers.LONG_NAME:
                raise BadArchiveError(f"{shown(header.name)} is a second extended header of its type for one entry")
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
        kind = tar_headers.DIRECTORY  # the tar of 1979 writes directories like this
    if kind == tar_headers.DIRECTORY and size:
        raise BadArchiveError(f"the directory {shown(name)} contains {size} bytes")
    return _EntryHeader(kind, name, size, header.executable)


def _path(header: _EntryHeader) -> str:
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


def _check_top(header: _EntryHeader, tree: _Names) -> None:
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

    def add(self, path: str, header: _EntryHeader, *, is_directory: bool) -> None:
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


class _TarStream:
    """The tar stream, read block by block; holds one piece of it in memory."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._piece = memoryview(b"")

    def check_format(self) -> None:
        """Raise `BadArchiveError` if the stream is empty or begins like a known format other than tar."""
        while len(self._piece) < BLOCK and (more := self._source.read(PIECE)):
            self._piece = memoryview(bytes(self._piece) + more)
        head = bytes(self._piece[:BLOCK])
        if not head:
            raise BadArchiveError(f"it is empty; {_SUPPORTED}")
        if not tar_headers.has_checksum(head) and (name := file_formats.identify(head)):
            raise BadArchiveError(f"it is {name}; {_SUPPORTED}")

    def header(self, *, extended: bool) -> bytes:
        """Return the next header block, empty at the end of the archive (two blocks of zeros).

        After an extended header (`extended`) another header must follow.
        """
        block = self._exactly(BLOCK, "where a header is expected")
        if any(block):
            return block
        if extended:
            raise BadArchiveError("the archive ends after an extended header, whose entry is missing")
        if any(self._exactly(BLOCK, "within its end marker")):
            raise BadArchiveError("data follows a single block of zeros, which some tar programs take for the end")
        return b""

    def small(self, header: Header) -> bytes:
        """Return the content of an extended header."""
        if header.size > _HEADER_LIMIT:
            raise BadArchiveError(
                f"the extended header {shown(header.name)} has {header.size} bytes, more than {_HEADER_LIMIT}"
            )
        data = self._exactly(header.size, "in an extended header")
        self.skip_padding(header.size)
        return data

    def content(self, header: _EntryHeader) -> Iterator[memoryview]:
        """Yield the bytes of a file, piece by piece."""
        left = header.size
        while left:
            piece = self._some(left)
            if not piece:
                raise BadArchiveError(f"it is truncated in {shown(header.name)}, {left} bytes before its end")
            left -= len(piece)
            yield piece

    def skip_padding(self, size: int) -> None:
        """Skip the padding of the last block of a content of `size` bytes; its bytes are ignored."""
        self._exactly(-size % BLOCK, "in the padding after a file")

    def end(self) -> None:
        """Read to the end; only a limited number of zeros may follow."""
        left = _PADDING_LIMIT
        while piece := self._some(PIECE):
            if any(piece):
                raise BadArchiveError("data follows the end of the archive")
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
                raise BadArchiveError(f"it is truncated {where}")
            data += more
        return data
