"""A CONNECT proxy that records requests and tunnels all of them to one server.

async with ConnectProxy(server.port) as proxy:
    ...  # https_proxy=http://127.0.0.1:{proxy.port}
assert (proxy.seen[0].method, proxy.seen[0].path) == ("CONNECT", "models.invalid:443")
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from tests.services.faulty import Server

if TYPE_CHECKING:
    import ssl

    from tests.services.faulty import Seen, ServerConnection

CONNECTED = b"HTTP/1.1 200 Connection established\r\n\r\n"
_PIECE = 256 << 10


class ConnectProxy(Server):
    """Answer CONNECT with `reply`, then tunnel to a port on 127.0.0.1 if the reply has a 2xx status.

    With `tls`, clients use TLS to the proxy itself as well.
    """

    def __init__(self, there: int, reply: bytes = CONNECTED, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(tls=tls)
        self._there = there
        self._reply = reply

    async def answer(self, _seen: Seen, line: ServerConnection) -> None:
        """Answer the request, and forward bytes in both directions until one side closes."""
        await line.write(self._reply)
        if not self._reply.startswith(b"HTTP/1.1 2"):
            return
        reader, writer = await asyncio.open_connection("127.0.0.1", self._there)
        forth = asyncio.create_task(_pass_on(line.reader, writer))
        try:
            while piece := await reader.read(_PIECE):
                await line.write(piece)
        finally:
            forth.cancel()
            writer.transport.abort()
            line.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while piece := await reader.read(_PIECE):
            writer.write(piece)
            await writer.drain()
    writer.transport.abort()
