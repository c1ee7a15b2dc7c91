"""Decompress an archive (zstd, gzip or uncompressed) to its tar stream in bounded memory."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Protocol, cast

from models_init.archive.errors import BadArchiveError
from models_init.archive.zstd_frames import MAGIC, SKIPPABLE, WINDOW_LIMIT, FrameParser

if TYPE_CHECKING:
    from typing import IO

PIECE = 256 << 10
"""Approximate number of bytes to read or decompress at once."""

_GZIP = b"\x1f\x8b"
_GZIP_ONLY = 16 + zlib.MAX_WBITS  # zlib's number for a gzip header and trailer


class Readable(Protocol):
    """A stream of bytes; only an empty result marks its end."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` of the next bytes; fewer if no more are available yet."""


def opened(archive: Readable, window_limit: int = WINDOW_LIMIT) -> Readable:
    """Return the tar stream of an archive; the compression is detected from the first bytes, not from the name.

    `window_limit` is the largest window in bytes that a zstd frame may request. Reading from the result raises
    `BadArchiveError` if the archive is damaged or truncated.
    """
    source = _PeekableStream(archive)
    head = source.peek(4)
    if head[:2] == _GZIP:
        return _Gzip(source)
    if head == MAGIC or head[1:] == SKIPPABLE:
        return _Zstd(source, window_limit)
    return source


class _PeekableStream:
    """A stream whose first bytes can be read twice."""

    def __init__(self, inner: Readable) -> None:
        self._inner = inner
        self._head = b""

    def peek(self, size: int) -> bytes:
        while len(self._head) < size and (more := self._inner.read(size - len(self._head))):
            self._head += more
        return self._head

    def read(self, size: int, /) -> bytes:
        if self._head:
            data, self._head = self._head[:size], self._head[size:]
            return data
        return self._inner.read(size)


class _Zstd:
    """Decompresses any number of consecutive frames: archives built by models-pack have one for each chunk."""

    def __init__(self, source: Readable, window_limit: int) -> None:
        import zstandard  # noqa: PLC0415 - not every archive needs it

        decompressor = zstandard.ZstdDecompressor(max_window_size=window_limit)
        self._error = zstandard.ZstdError
        checked = cast("IO[bytes]", _FrameChecker(source, window_limit))
        self._reader = decompressor.stream_reader(checked, read_size=PIECE, read_across_frames=True)

    def read(self, size: int, /) -> bytes:
        try:
            return self._reader.read(size)
        except self._error as error:
            raise BadArchiveError(f"the zstd stream is damaged: {error}") from error


class _FrameChecker:
    """Checks frame boundaries in the bytes that the decompressor reads."""

    def __init__(self, source: Readable, window_limit: int) -> None:
        self._source = source
        self._parser = FrameParser(window_limit)

    def read(self, size: int, /) -> bytes:
        piece = self._source.read(size)
        if piece:
            self._parser.feed(piece)
        else:
            self._parser.end()
        return piece


class _Gzip:
    """Decompresses any number of consecutive members: layers of container images may have one for each file."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._member = zlib.decompressobj(_GZIP_ONLY)
        self._rest = b""

    def read(self, size: int, /) -> bytes:
        while True:
            if not self._rest:
                self._rest = self._source.read(PIECE)
            if self._member.eof:
                if not self._rest:
                    return b""
                self._begin_member()
            if not self._rest:
                raise BadArchiveError("the gzip stream is truncated")
            if data := self._decompress(size):
                return data

    def _begin_member(self) -> None:
        while len(self._rest) < len(_GZIP) and (more := self._source.read(PIECE)):
            self._rest += more
        if not self._rest.startswith(_GZIP):
            raise BadArchiveError("data that is not gzip follows the gzip stream")
        self._member = zlib.decompressobj(_GZIP_ONLY)

    def _decompress(self, size: int) -> bytes:
        member = self._member
        try:
            data = member.decompress(self._rest, size)
        except zlib.error as error:
            raise BadArchiveError(f"the gzip stream is damaged: {error}") from error
        self._rest = member.unused_data if member.eof else member.unconsumed_tail
        return data
