"""An HTTP response: its status, its headers, and a body that is copied into a sink as it arrives."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiohttp

from models_init.core.errors import SourceError, UnavailableError
from models_init.sources.http.errors import body_error
from models_init.sources.http.origin import web_address

if TYPE_CHECKING:
    from models_init.sources.http.origin import Origin
    from models_init.sources.source import Sink

_LOWEST_RATE = 1 << 10
"""Bytes per second: a connection that delivers less over the whole idle limit counts as silent."""


class Response:
    """A status, headers, and a body that has not been read yet. Ends with `release`, read or not."""

    def __init__(
        self, response: aiohttp.ClientResponse, origin: Origin, idle_limit: float, *, is_elsewhere: bool
    ) -> None:
        self._response = response
        self._origin = origin
        self._idle_limit = idle_limit
        self._low_speed = _LowSpeedDetector(idle_limit)
        self._unread = memoryview(b"")
        self._is_elsewhere = is_elsewhere

    @property
    def status(self) -> int:
        """The status code."""
        return self._response.status

    @property
    def path(self) -> str:
        """The path of the URL, decoded, without the leading slash: for messages, as it has no query."""
        return self._response.url.path.lstrip("/")

    @property
    def elsewhere(self) -> str:
        """The host that answered, if a redirect has led to another origin than was requested; else an empty string."""
        return self._origin.name if self._is_elsewhere else ""

    @property
    def length(self) -> int | None:
        """Bytes of the body, as announced."""
        return self._response.content_length

    @property
    def location(self) -> str:
        """The absolute URL that a redirect leads to, or an empty string. It may be signed: a secret."""
        location = self.header("Location")
        return web_address(location, str(self._response.url)) if location else ""

    def header(self, name: str) -> str:
        """Return a header's value, or an empty string; case does not matter. Bytes beyond ASCII are read as Latin-1."""
        value = self._response.headers.get(name, "")
        return value if value.isascii() else value.encode(errors="surrogateescape").decode("latin-1")

    async def read_into(self, sink: Sink, count: int) -> int:
        """Copy the next `count` bytes of the body into the sink, and return how many: fewer if the body ends.

        The connection goes on receiving, up to twice the read buffer, while the sink is busy.
        Raises `UnavailableError`, and what the sink raises.
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
        """Return the whole body. Raises `SourceError` if it has more than `limit` bytes, and `UnavailableError`."""
        body = bytearray()
        while block := await self._next_block(limit + 1):
            body += block
            if len(body) > limit:
                raise SourceError(f"{what} on {self._origin.name} is larger than {limit} bytes: it cannot be right")
        return bytes(body)

    def release(self) -> None:
        """Return the connection to the pool; close it if the body was not read to its end."""
        if self._response.content.at_eof() or not self._response.connection:
            self._response.release()
        else:
            if transport := self._response.connection.transport:
                transport.abort()  # closing TLS in order would wait for what the server still wants to send
            self._response.close()

    async def _next_block(self, limit: int) -> memoryview:
        """Return the next bytes of the body, at most `limit`; none at its end."""
        if not self._unread:
            self._unread = memoryview(await self._receive())
        block, self._unread = self._unread[:limit], self._unread[limit:]
        return block

    async def _receive(self) -> bytes:
        loop, content = asyncio.get_running_loop(), self._response.content
        began, block = loop.time(), b""
        try:
            # aiohttp's own limit does not end a body with malformed transfer chunks: its reader would wait forever
            async with asyncio.timeout(self._idle_limit):
                while not block and not content.at_eof():  # it also reports where transfer chunks end
                    block, _ = await content.readchunk()
        except (aiohttp.ClientError, OSError, RuntimeError) as error:  # "Connection closed." is a bare RuntimeError
            raise body_error(error, self._origin.name) from None
        if self._low_speed.is_slow(len(block), loop.time() - began):
            raise UnavailableError(f"{self._origin.name} sends next to nothing; check the network")
        return block


class _LowSpeedDetector:
    """Tell whether bytes arrive at all: an idle limit alone never ends a connection that sends a byte now and then."""

    def __init__(self, window: float) -> None:
        self._window = window
        self._seconds = 0.0
        self._bytes = 0

    def is_slow(self, size: int, seconds: float) -> bool:
        """Count bytes and the seconds spent waiting for them; return whether a whole window brought next to none."""
        self._bytes += size
        self._seconds += seconds
        if self._seconds < self._window:
            return False
        slow = self._bytes < _LOWEST_RATE * self._seconds and size > 0
        self._bytes, self._seconds = 0, 0.0
        return slow
