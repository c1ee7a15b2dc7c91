"""An HTTP response: its status, its headers, and a body that is copied into a sink as it arrives."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from models_init.core.errors import SourceError, UnavailableError
from models_init.sources.http.aiohttp_import import aiohttp
from models_init.sources.http.dates import http_date, retry_seconds
from models_init.sources.http.errors import body_error
from models_init.sources.http.origin import web_address

if TYPE_CHECKING:
    from collections.abc import Callable

    from models_init.sources.http.origin import Origin
    from models_init.sources.source import Sink

_CACHE_HEADERS = ("Via", "X-Cache", "Age")

_LOWEST_RATE = 1 << 10
"""Bytes per second. A connection that is slower over the whole idle limit counts as idle."""


class Response:
    """A status, headers, and a body that is read on demand. Always call `release`, even if the body was not read."""

    def __init__(
        self, response: aiohttp.ClientResponse, origin: Origin, idle_limit: float, *, is_elsewhere: bool
    ) -> None:
        self._response = response
        self._origin = origin
        self._idle_limit = idle_limit
        self._low_speed = _LowSpeedDetector(idle_limit)
        self._unread = memoryview(b"")
        self._is_elsewhere = is_elsewhere
        self._received = 0
        self.on_release: Callable[[int, int], None] | None = None
        """Called once, with the status and the number of received bytes of the body."""

    @property
    def status(self) -> int:
        """The status code."""
        return self._response.status

    @property
    def host(self) -> str:
        """Name and port of the server that sent the response, for messages."""
        return self._origin.name

    @property
    def retry_after(self) -> float | None:
        """The seconds of the header `Retry-After`, or None if there is none."""
        return retry_seconds(self.header("Retry-After"), http_date(self.header("Date")))

    @property
    def path(self) -> str:
        """The path of the URL, decoded, without the leading slash, for messages: it contains no query string."""
        return self._response.url.path.lstrip("/")

    @property
    def elsewhere(self) -> str:
        """The host that sent the response if a redirect led to another origin, otherwise an empty string."""
        return self._origin.name if self._is_elsewhere else ""

    @property
    def length(self) -> int | None:
        """The Content-Length in bytes, or None if there is none."""
        return self._response.content_length

    @property
    def cache(self) -> str:
        """The headers that a cache between client and server has added, for messages; empty without a cache."""
        found = [f"{name}: {value[:100]}" for name in _CACHE_HEADERS if (value := self.header(name))]
        return ", ".join(found)

    @property
    def location(self) -> str:
        """The absolute URL of a redirect's target, or an empty string. It may be signed and thus secret."""
        location = self.header("Location")
        return web_address(location, str(self._response.url)) if location else ""

    def header(self, name: str) -> str:
        """Return a header's value, or an empty string. Case does not matter; the value is decoded as Latin-1."""
        return _latin(self._response.headers.get(name, ""))

    def all_values(self, name: str) -> str:
        """Return the values of a header that is a list and may be sent in several lines, as one list."""
        return _latin(", ".join(self._response.headers.getall(name, [])))

    async def read_into(self, sink: Sink, count: int) -> int:
        """Copy the next `count` bytes of the body into the sink; return their number, which is less if the body ends.

        While the sink is busy, the connection continues to receive, up to twice the read buffer.
        Raises `UnavailableError` and the exceptions of the sink.
        """
        left = count
        while left and (block := await self._next_block(left)):
            left -= len(block)
            while block:
                buffer = sink.get_buffer()
                size = min(len(buffer), len(block))
                buffer[:size] = block[:size]
                block = block[size:]
                await sink.buffer_updated(size)
        return count - left

    async def body(self, limit: int, what: str) -> bytes:
        """Return the whole body; `what` names it in messages.

        Raises `SourceError`: it has more than `limit` bytes. Raises `UnavailableError`: the connection failed.
        """
        body = bytearray()
        while block := await self._next_block(limit + 1):
            body += block
            if len(body) > limit:
                raise SourceError(f"{what} on {self._origin.name} is larger than {limit} bytes; check MODELS_URL")
        return bytes(body)

    def release(self) -> None:
        """Return the connection to the pool, or close it if the body was not read to its end."""
        if self.on_release:
            self.on_release(self.status, self._received)
            self.on_release = None
        if self._response.content.at_eof() or not self._response.connection:
            self._response.release()
        else:
            if transport := self._response.connection.transport:
                transport.abort()  # an orderly TLS shutdown would wait for the rest of the body
            self._response.close()

    async def _next_block(self, limit: int) -> memoryview:
        """Return the next bytes of the body, at most `limit`; empty at its end."""
        if not self._unread:
            self._unread = memoryview(await self._receive())
        block, self._unread = self._unread[:limit], self._unread[limit:]
        return block

    async def _receive(self) -> bytes:
        loop, content = asyncio.get_running_loop(), self._response.content
        began, block = loop.time(), b""
        try:
            # aiohttp's own timeout does not end a body with malformed transfer chunks: its reader would wait forever
            async with asyncio.timeout(self._idle_limit):
                while not block and not content.at_eof():  # the end of a transfer chunk is reported as an empty block
                    block, _ = await content.readchunk()
        except (aiohttp.ClientError, OSError, RuntimeError) as error:  # aiohttp: RuntimeError("Connection closed.")
            raise body_error(error, self._origin.name) from None
        self._received += len(block)
        if self._low_speed.is_slow(len(block), loop.time() - began):
            raise UnavailableError(f"{self._origin.name} sends almost no bytes; check the network")
        return block


def _latin(value: str) -> str:
    return value if value.isascii() else value.encode(errors="surrogateescape").decode("latin-1")


class _LowSpeedDetector:
    """Detects connections that send only an occasional byte, which an idle limit alone would never end."""

    def __init__(self, window: float) -> None:
        self._window = window
        self._seconds = 0.0
        self._bytes = 0

    def is_slow(self, size: int, seconds: float) -> bool:
        """Count bytes and the seconds spent waiting for them.

        Return True if a whole window has passed with fewer than `_LOWEST_RATE` bytes per second.
        """
        self._bytes += size
        self._seconds += seconds
        if self._seconds < self._window:
            return False
        slow = self._bytes < _LOWEST_RATE * self._seconds and size > 0
        self._bytes, self._seconds = 0, 0.0
        return slow
