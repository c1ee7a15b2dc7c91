"""Read a tar stream block by block, and combine the header blocks of each entry; memory use is constant."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from models_init.archive import file_formats, tar_headers
from models_init.archive.decompress import PIECE
from models_init.archive.errors import BadArchiveError
from models_init.archive.tar_headers import BLOCK, PaxFields, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models_init.archive.decompress import Readable
    from models_init.archive.tar_headers import Header

_HEADER_LIMIT = 64 << 10
"""Largest size in bytes of an extended header: a name of 1,024 bytes, and room for the attributes that some tools
add."""

_SUPPORTED = "supported are tar archives, uncompressed or compressed with gzip or zstd (.tar, .tar.gz, .tar.zst)"

_PADDING_LIMIT = 1 << 20
"""Largest number of zero bytes after the end: `tar -b 2048` pads to records of 1 MiB; records usually have 10 KiB."""


_GLOBAL_LIMIT = 16 << 20
"""Largest number of bytes of all global pax headers of an archive: they belong to no entry, so no other limit applies,
and a small archive can unpack to any number of them."""


class EntryHeader(NamedTuple):
    """The combined information of all headers of one entry; `target` is the target of a link."""

    kind: bytes
    name: str
    size: int
    executable: bool
    target: str = ""


def next_header(stream: TarStream, *, in_layer: bool = False) -> EntryHeader | None:
    """Return the header of the next file or directory, merged with its extended headers; None at the end.

    In a layer of a container image (`in_layer`) the entry may also be a link, a device or a fifo.
    """
    errors = "surrogateescape" if in_layer else "strict"
    long: dict[bytes, str] = {}
    fields: PaxFields | None = None
    while block := stream.header(extended=bool(long) or fields is not None):
        header = tar_headers.parse(block, in_layer=in_layer)
        match header.kind:
            case tar_headers.PAX_GLOBAL:
                stream.count_global(header)
                tar_headers.pax(stream.small(header), is_global=True)
            case tar_headers.PAX if fields is None:
                fields = tar_headers.pax(stream.small(header), is_global=False, in_layer=in_layer)
            case tar_headers.LONG_NAME | tar_headers.LONG_LINK if header.kind not in long:
                long[header.kind] = tar_headers.long_name(stream.small(header), errors)
            case tar_headers.PAX | tar_headers.LONG_NAME | tar_headers.LONG_LINK:
                raise BadArchiveError(f"{shown(header.name)} is a second extended header of its type for one entry")
            case _:
                return _merged(header, long, fields or PaxFields(), errors)
    return None


def _merged(header: Header, long: dict[bytes, str], fields: PaxFields, errors: str) -> EntryHeader:
    name = _text(header.name, long.get(tar_headers.LONG_NAME), fields.path, errors)
    target = _text(header.target, long.get(tar_headers.LONG_LINK), fields.linkpath, errors)
    size = header.size if fields.size is None else fields.size
    kind = header.kind
    if kind == tar_headers.OLD_REGULAR and name.endswith("/"):
        kind = tar_headers.DIRECTORY  # the tar of 1979 writes directories like this
    if kind == tar_headers.DIRECTORY and size:
        raise BadArchiveError(f"the directory {shown(name)} contains {size} bytes")
    return EntryHeader(kind, name, size, header.executable, target)


def _text(short: bytes, gnu: str | None, pax: str | None, errors: str) -> str:
    """Return a name or a target: that of an extended header, else the one in the header block."""
    if gnu is not None and pax is not None and gnu != pax:
        raise BadArchiveError(f"one entry has two names, {shown(gnu)} (GNU) and {shown(pax)} (pax)")
    return pax if pax is not None else gnu if gnu is not None else tar_headers.text(short, errors)


class TarStream:
    """The tar stream, read block by block; holds one piece of it in memory."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._piece = memoryview(b"")
        self._global_left = _GLOBAL_LIMIT

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

    def count_global(self, header: Header) -> None:
        """Count a global pax header. Raises `BadArchiveError`: the archive has too many of them."""
        self._global_left -= BLOCK + header.size
        if self._global_left < 0:
            raise BadArchiveError(f"its global pax headers have more than {_GLOBAL_LIMIT} bytes")

    def content(self, header: EntryHeader) -> Iterator[memoryview]:
        """Yield the bytes of a file, piece by piece."""
        left = header.size
        while left:
            piece = self._some(left)
            if not piece:
                raise BadArchiveError(f"it is truncated in {shown(header.name)}, {left} bytes before its end")
            left -= len(piece)
            yield piece

    def skip_padding(self, size: int) -> None:
        """Skip the padding after `size` bytes of content; its bytes are ignored."""
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
