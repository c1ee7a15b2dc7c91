"""A line between a client and a server that counts what it carries to the client, and says when it has carried enough.

async with Relay("127.0.0.1", 10000) as relay:
    ...  # the client talks to relay.port
    await relay.carries(5_000_000)  # bytes from now on
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable

_PIECE = 256 << 10


class Relay:
    """Passes every connection on to `host` and `port`; `carried` counts bytes to clients, heads of answers included.

    `on_piece` is called after each piece that went to a client.
    """

    def __init__(self, host: str, port: int, on_piece: Callable[[], object] = lambda: None) -> None:
        self.carried = 0
        self._there = host, port
        self._on_piece = on_piece
        self._enough = asyncio.Condition()
        self._lines: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        """Where clients connect, on 127.0.0.1."""
        return int(self._server.sockets[0].getsockname()[1])

    async def carries(self, count: int) -> None:
        """Wait until as many bytes more have gone to clients."""
        until = self.carried + count
        async with self._enough:
            await self._enough.wait_for(lambda: self.carried >= until)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", 0, limit=_PIECE)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for line in self._lines:
            line.cancel()
        await asyncio.gather(*self._lines, return_exceptions=True)
        await self._server.wait_closed()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = asyncio.current_task()
        assert line
        self._lines.add(line)
        try:
            with contextlib.suppress(ConnectionError):
                await self._carry(reader, writer)
        finally:
            self._lines.discard(line)
            writer.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(*self._there, limit=_PIECE)
        try:
            async with asyncio.TaskGroup() as group:
                asking = group.create_task(_pass_on(reader, there_writer))
                await self._answer(there_reader, writer)
                asking.cancel()
        except* ConnectionError:  # the client was killed, or the server went
            pass
        finally:
            there_writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(_PIECE):
            writer.write(piece)
            await writer.drain()
            self.carried += len(piece)
            self._on_piece()
            async with self._enough:
                self._enough.notify_all()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(_PIECE):
        writer.write(piece)
        await writer.drain()
    raise ConnectionResetError("the client has gone")
