"""What an HTTP/1.1 answer consists of (RFC 9112): a head that is judged strictly, a body with or without a length.

Anything that could be read in two ways is no answer: then somebody in between reads it in the other one.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models_init.sources.wire import Wire

_HEAD_LIMIT = 64 << 10  # bytes of a status line with all headers
_LINE_LIMIT = 4 << 10  # bytes of a chunk's size with its extensions, or of one trailer
_TRAILERS = 10
_INTERIM = 10  # answers (1xx) before the one that counts
_LAST_CHUNK = b"\r\n0\r\n\r\n"
_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-9]\d\d)(?: [^\x00-\x08\x0a-\x1f\x7f]*)?\Z")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):([^\x00-\x08\x0a-\x1f\x7f]*)\Z")
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,12})[ \t]*(?:;[^\r\n]*)?\r\n\Z")
_BODILESS = {204, 304}


class NotHttpError(Exception):
    """What came is no HTTP, or not quite."""


class Head:
    """A status and headers; of a header that stands twice the values are joined with a comma."""

    def __init__(self, raw: bytes) -> None:
        first, *lines = raw.removesuffix(b"\r\n\r\n").split(b"\r\n")
        status = _STATUS.match(first)
        if not status:
            raise NotHttpError
        self.status = int(status[2])
        self.headers: dict[str, str] = {}
        for name, value in map(_header, lines):
            self.headers[name] = f"{self.headers[name]}, {value}" if name in self.headers else value
        self.length = _length(self.headers, self.status)
        self.in_chunks = self.length is None and "transfer-encoding" in self.headers
        is_old = status[1] == b"0"
        if is_old and self.in_chunks:
            raise NotHttpError
        self.keeps_alive = not is_old and "close" not in self.get("Connection").lower()

    def get(self, name: str) -> str:
        """A header's value, or an empty string."""
        return self.headers.get(name.lower(), "")


def head(wire: Wire) -> Head:
    """Read one, passing over those that only announce another. Raises `NotHttpError`, `EOFError`, `OSError`."""
    try:
        for _ in range(_INTERIM + 1):
            found = Head(wire.until(b"\r\n\r\n", _HEAD_LIMIT))
            if found.status >= 200:
                return found
            if found.status == 101:
                break
    except ValueError:
        raise NotHttpError from None
    raise NotHttpError


class Body:
    """The bytes that follow a head; `is_whole` once all of them are taken."""

    def __init__(self, wire: Wire, head: Head) -> None:
        self._wire = wire
        self._in_chunks = head.in_chunks
        self._left = 0 if head.in_chunks else head.length
        self._began = False
        self.is_whole = not head.in_chunks and head.length == 0

    def into(self, room: memoryview) -> int:
        """Lay the next bytes there; 0 at the end.

        Raises `EOFError` where it ends too early, `NotHttpError`, `OSError`.
        """
        if self._in_chunks and not self.is_whole and self._left == 0:
            self._next_chunk()
        if self.is_whole:
            return 0
        count = self._wire.into(room if self._left is None else room[: self._left])
        if self._left is None:
            self.is_whole = not count
        elif not count:
            raise EOFError
        else:
            self._left -= count
            self.is_whole = self._left == 0 and not self._in_chunks
        return count

    def finish(self) -> bool:
        """Tell whether that was all, so that the connection can be used again."""
        if self._in_chunks and self._began and self._left == 0 and not self.is_whole:
            self.is_whole = self._wire.skip(_LAST_CHUNK)  # who knows the length asks for no piece after the last
        return self.is_whole and self._left is not None

    def _next_chunk(self) -> None:
        try:
            if self._began and self._wire.until(b"\r\n", 2) != b"\r\n":
                raise NotHttpError
            size = _SIZE.match(self._wire.until(b"\r\n", _LINE_LIMIT))
            if not size:
                raise NotHttpError
            self._began, self._left = True, int(size[1], 16)
            if self._left == 0:
                self._pass_over_trailers()
        except ValueError:
            raise NotHttpError from None

    def _pass_over_trailers(self) -> None:
        for _ in range(_TRAILERS + 1):
            line = self._wire.until(b"\r\n", _LINE_LIMIT)
            if line == b"\r\n":
                self.is_whole = True
                return
            _header(line[:-2])
        raise NotHttpError


def _header(line: bytes) -> tuple[str, str]:
    match = _HEADER.match(line)
    if not match:
        raise NotHttpError
    return match[1].decode("ascii").lower(), match[2].strip(b" \t").decode("latin-1")


def _length(headers: dict[str, str], status: int) -> int | None:
    """Bytes of the body, None where only its end will tell."""
    encoding, length = headers.get("transfer-encoding"), headers.get("content-length")
    if encoding is not None and (encoding.lower() != "chunked" or length is not None):
        raise NotHttpError
    if status in _BODILESS:
        return 0
    if length is None:
        return None
    values = set(_listed(length))
    if len(values) != 1 or not re.fullmatch(r"[0-9]{1,15}", min(values)):
        raise NotHttpError
    return int(min(values))


def _listed(value: str) -> Iterator[str]:
    yield from (part.strip(" \t") for part in value.split(","))
