"""One connection, which receives into memory of its own.

A stream reader that makes a `bytes` object of everything that comes costs a third of all time on the event loop, page
faults and copies (measured: 518 against 785 MiB a second and core); here the kernel fills one buffer again and again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    import ssl

MEMORY = 512 << 10
"""Bytes that a connection takes in before they are read."""

_GULP = MEMORY // 2
"""Bytes that one call of the kernel gives at most: the reader has its turn before the next call, so that reading is
paused (two more calls) only where the reader itself is held up. Not below asyncio's buffer for TLS (256 KiB): what that
still holds at the connection's end is given in one call, and the rest of it would be dropped."""


class Wire(asyncio.BufferedProtocol):
    """Bytes that come, in order, each until it is taken; who waits `idle_limit` seconds in vain gets `TimeoutError`.

    Reading stops while the memory is full, so that TCP tells the server to wait. The end of TLS is an end like any
    other, announced or not: who reads to the end must know from what was read that nothing is missing.
    """

    def __init__(self, idle_limit: float) -> None:
        self.idle_limit = idle_limit
        self._loop = asyncio.get_running_loop()
        self._bytes = bytearray(MEMORY)
        self._memory = memoryview(self._bytes)
        self._begin = self._end = 0
        self._full = self._ended = False
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._due = 0.0  # when the wait that is under way is too long
        self._timer: asyncio.TimerHandle | None = None
        self.idle_since: float | None = None  # the end of an earlier request, on the monotonic clock
        self._transport: asyncio.Transport | None = None

    # -- for whoever reads

    async def some(self) -> memoryview:
        """What is there, waiting for the first byte; empty at the end. Valid until it is taken.

        Raises `OSError` (`TimeoutError` among them).
        """
        while self._begin == self._end:
            if self._error:
                raise self._error
            if self._ended:
                break
            await self._wait(self._loop.time() + self.idle_limit)
        return self._memory[self._begin : self._end]

    async def until(self, mark: bytes, limit: int) -> bytes:
        """Take all up to `mark`, and that; `ValueError` if that is more than `limit` bytes, `EOFError` at the end.

        All of it must come within `idle_limit`: a byte now and then is no progress here. Raises `OSError`, too.
        """
        due = self._loop.time() + self.idle_limit
        while True:
            found = self._bytes.find(mark, self._begin, min(self._end, self._begin + limit))
            if found >= 0:
                taken = bytes(self._memory[self._begin : found + len(mark)])
                self.take(len(taken))
                return taken
            if self._end - self._begin >= limit:
                raise ValueError(f"no end within {limit} bytes")
            if self._error:
                raise self._error
            if self._ended:
                raise EOFError
            self._compact()
            await self._wait(due)

    def take(self, count: int) -> None:
        """Give the memory of `count` bytes free."""
        self._begin += count
        if self._begin == self._end:
            self._begin = self._end = 0
            if self._full:
                self._full = False
                self.transport.resume_reading()

    def skip(self, data: bytes) -> bool:
        """Take exactly this, if it is there already."""
        is_there = self._memory[self._begin : min(self._end, self._begin + len(data))] == data
        if is_there:
            self.take(len(data))
        return is_there

    def write(self, data: bytes) -> None:
        """Send."""
        self.transport.write(data)

    @property
    def is_silent(self) -> bool:
        """Whether it is open, and nothing came that nobody asked for."""
        return not self._ended and self._begin == self._end and not self.transport.is_closing()

    @property
    def transport(self) -> asyncio.Transport:
        """What carries it."""
        if not self._transport:
            raise TypeError("not connected yet")
        return self._transport

    def abort(self) -> None:
        """Close it at once."""
        if self._transport:
            self._transport.abort()

    async def encrypt(self, context: ssl.SSLContext, host: str) -> None:
        """Speak TLS from now on, on a wire that `is_silent`: what came before would pass for encrypted.

        Raises `OSError`.
        """
        encrypted = await self._loop.start_tls(self.transport, self, context, server_hostname=host)
        if not encrypted:
            raise ConnectionResetError
        self._transport = encrypted

    async def _wait(self, due: float) -> None:
        self._waiter = self._loop.create_future()
        self._due = due
        if not self._timer:
            self._timer = self._loop.call_at(due, self._look)
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _look(self) -> None:
        """One timer for many waits: it looks whether the one that is under way is too long, and is set anew."""
        self._timer = None
        if self._waiter and not self._waiter.done():
            if self._loop.time() < self._due:
                self._timer = self._loop.call_at(self._due, self._look)
            else:
                self._error = TimeoutError("idle")
                self._wake()

    def _wake(self) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)

    def _compact(self) -> None:
        """Make room behind what is there: only a head or a chunk's size must lie in one piece."""
        if self._end == MEMORY and self._begin:
            count = self._end - self._begin
            self._memory[:count] = bytes(self._memory[self._begin : self._end])
            self._begin, self._end = 0, count
            if self._full:
                self._full = False
                self.transport.resume_reading()

    # -- for the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.BaseProtocol`."""
        self._transport = cast("asyncio.Transport", transport)

    def get_buffer(self, _sizehint: int) -> memoryview:
        """See `asyncio.BufferedProtocol`."""
        return self._memory[self._end : self._end + _GULP]

    def buffer_updated(self, count: int) -> None:
        """See `asyncio.BufferedProtocol`."""
        self._end += count
        if self._end == MEMORY:
            self._full = True
            self.transport.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        """See `asyncio.BufferedProtocol`: the other side ends, and so does this one."""
        self._ended = True
        self._wake()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """See `asyncio.BaseProtocol`."""
        self._ended = True
        self._error = self._error or error
        if self._timer:
            self._timer.cancel()
            self._timer = None
        self._wake()
