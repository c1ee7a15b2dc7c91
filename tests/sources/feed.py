"""The other side of a wire, without a socket: bytes come when the test wants them, and none while reading is paused."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from models_init.sources.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

T = TypeVar("T")


class Feed(asyncio.Transport):
    """Gives the wire one piece with each turn of the event loop, then ends; `given` counts bytes, `pauses` pauses."""

    def __init__(self, wire: Wire, pieces: Iterable[bytes]) -> None:
        super().__init__()
        self.given = self.pauses = 0
        self._wire = wire
        self._pieces = (memoryview(piece) for piece in pieces if piece)
        self._left = memoryview(b"")
        self._is_paused = self._is_closed = False
        self._loop = asyncio.get_running_loop()
        wire.connection_made(self)
        self._next = self._loop.call_soon(self._turn)

    def is_closing(self) -> bool:
        """See `asyncio.BaseTransport`."""
        return self._is_closed

    def pause_reading(self) -> None:
        """See `asyncio.ReadTransport`."""
        self._is_paused = True
        self.pauses += 1

    def resume_reading(self) -> None:
        """See `asyncio.ReadTransport`."""
        self._is_paused = False
        self._next.cancel()
        self._next = self._loop.call_soon(self._turn)

    def abort(self) -> None:
        """See `asyncio.WriteTransport`."""
        if not self._is_closed:
            self._is_closed = True
            self._loop.call_soon(self._wire.connection_lost, None)

    def _turn(self) -> None:
        if self._is_paused or self._is_closed:
            return
        self._left = self._left or next(self._pieces, memoryview(b""))
        if not self._left:
            assert not self._wire.eof_received()
            self.abort()
            return
        room = self._wire.get_buffer(-1)
        assert len(room), "who has no room must have paused"
        given = self._left[: len(room)]
        room[: len(given)] = given
        self._left = self._left[len(given) :]
        self.given += len(given)
        self._next = self._loop.call_soon(self._turn)
        self._wire.buffer_updated(len(given))


async def play(pieces: Iterable[bytes], read: Callable[[Wire], Awaitable[T]]) -> T:
    """Have `read` read from a wire that gets these pieces."""
    wire = Wire(idle_limit=60.0)
    feed = Feed(wire, pieces)
    try:
        return await read(wire)
    finally:
        feed.abort()
        await asyncio.sleep(0)
