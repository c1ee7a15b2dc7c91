"""An HTTP proxy for one server that applies faults to some of the responses; a seed determines which.

    async with FaultProxy("http://127.0.0.1:10000", fault("stall", "100000", times=1), share=0.05, seed=7) as proxy:
        ...  # the client talks to proxy.origin
    assert proxy.carried < 2_000_000

The faults are defined in `proxyfaults`. Each request opens its own connection to the server, so that one response
cannot affect another. `scripts/fault-proxy` runs the proxy from the command line.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections import Counter
from dataclasses import dataclass
from fnmatch import fnmatchcase
from random import Random
from typing import TYPE_CHECKING, NamedTuple, Self
from urllib.parse import urlsplit

from tests.services.faulty import FOREVER, Server

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.services.faulty import Seen, ServerConnection

    Act = Callable[["Exchange", str], Awaitable[None]]

_PIECE = 256 << 10
_HEAD_LIMIT = 1 << 20
_OF_THE_CONNECTION = {"connection", "keep-alive"}  # headers that are not forwarded


@dataclass
class ProxyFault:
    """A fault for up to `times` responses whose path matches `on`, after `after` bytes were sent to clients.

    `met` counts the affected responses. `times` may be changed at any time.
    """

    name: str
    value: str
    act: Act
    on: str = "*"
    times: int = FOREVER
    after: int = 0
    met: int = 0

    def fits(self, seen: Seen, carried: int) -> bool:
        """Return True if the fault may affect the response to this request."""
        return self.met < self.times and carried >= self.after and fnmatchcase(seen.path, self.on)


class FaultProxy(Server):
    """Forward requests to the server at `to`; a fault is applied to the `share` of the responses that match one.

    No response begins while `gate` is clear. `sign` is a query that is added to requests without one, as by a gateway
    with its own token.
    """

    def __init__(
        self,
        to: str,
        *faults: ProxyFault,
        share: float = 1.0,
        seed: object = 0,
        sign: str = "",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        on_piece: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__(port=port, tls=tls, on_piece=on_piece)
        self.faults = list(faults)
        self.sign = sign
        self.gate = asyncio.Event()
        self.gate.set()
        self.on_fault: Callable[[ProxyFault, Seen], object] = lambda _fault, _seen: None
        self.there = urlsplit(to)
        self._share = share
        self._seed = seed
        self._asked = Counter[str]()
        self._opened = set[asyncio.StreamWriter]()

    def url(self, there: str) -> str:
        """Return the URL of `there` through this proxy."""
        return f"{self.origin}{urlsplit(there).path}"

    async def answer(self, seen: Seen, line: ServerConnection) -> None:
        """Forward the server's response, modified by a fault if one applies."""
        await self.gate.wait()
        fault, chance = self._draw(seen)
        exchange = Exchange(self, seen, line, chance)
        try:
            if fault:
                self.on_fault(fault, seen)
                await fault.act(exchange, fault.value)
            else:
                await exchange.pass_on()
        finally:
            exchange.leave()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection to the server; it is closed with this proxy at the latest."""
        secure = self.there.scheme == "https"
        port = self.there.port or (443 if secure else 80)
        context = ssl.create_default_context() if secure else None
        try:
            reader, writer = await asyncio.open_connection(self.there.hostname, port, ssl=context, limit=_HEAD_LIMIT)
        except OSError as error:
            raise ConnectionResetError("the server cannot be reached") from error
        self._opened.add(writer)
        return reader, writer

    def disconnect(self, writer: asyncio.StreamWriter) -> None:
        """Abort a connection to the server."""
        self._opened.discard(writer)
        writer.transport.abort()

    def _draw(self, seen: Seen) -> tuple[ProxyFault | None, Random]:
        """Choose a fault by the seed, the request and the number of equal earlier requests.

        The order of different requests is random and must not matter.
        """
        name = seen.path.split("/")[-3:]  # without the container's name, which differs in every test run
        asked = f"{seen.method} {name} {seen.headers.get('range', '')}"
        self._asked[asked] += 1
        chance = Random(f"{self._seed} {asked} {self._asked[asked]}")
        fitting = [fault for fault in self.faults if fault.fits(seen, self.carried)]
        if not fitting or chance.random() >= self._share:
            return None, chance
        fault = chance.choice(fitting)
        fault.met += 1
        return fault, chance

    async def __aexit__(self, *exception: object) -> None:
        self.gate.set()
        for writer in list(self._opened):
            self.disconnect(writer)
        await super().__aexit__(*exception)


class Head(NamedTuple):
    """The status and headers of a response; the names of headers are in lower case."""

    status: int
    headers: list[tuple[str, str]]

    def get(self, name: str) -> str:
        """Return a header's value, or an empty string."""
        return next((value for header, value in self.headers if header == name), "")

    def but(self, **changes: str) -> Self:
        """Return a copy with other headers, `content_length=` for Content-Length; an empty value removes a header."""
        named = {name.replace("_", "-"): value for name, value in changes.items()}
        kept = [(name, value) for name, value in self.headers if name not in named]
        return self._replace(headers=[*kept, *((name, value) for name, value in named.items() if value)])

    @property
    def length(self) -> int | None:
        """The length of the body in bytes, or None without a Content-Length."""
        return int(self.get("content-length")) if self.get("content-length") else None


@dataclass
class Exchange:
    """One request and its response; faults are composed of these steps."""

    proxy: FaultProxy
    seen: Seen
    line: ServerConnection
    chance: Random
    sent: int = 0
    """Bytes of the body that were forwarded."""

    _reader: asyncio.StreamReader | None = None
    _writer: asyncio.StreamWriter | None = None

    async def pass_on(self) -> None:
        """Forward the whole response."""
        head = await self.ask()
        await self.head(head)
        await self.body()
        if head.length is None or self.sent < head.length:
            self.end(head)

    async def ask(self, *, whole: bool = False) -> Head:
        """Send the request to the server and read the response's head; `whole` omits the Range header."""
        self._reader, self._writer = await self.proxy.connect()
        self._writer.write(self._request(whole=whole))
        return _parsed(await self._reader.readuntil(b"\r\n\r\n"))

    async def head(self, head: Head) -> None:
        """Send a response's head to the client."""
        await self.line.head(head.status, head.headers)

    async def body(self, stop: int = FOREVER, spoil: Callable[[bytes, int], bytes] = lambda piece, _: piece) -> None:
        """Forward the body up to offset `stop`; `spoil` is called with each piece and its offset."""
        while self.sent < stop and (piece := await self.read(min(_PIECE, stop - self.sent))):
            await self.line.write(spoil(piece, self.sent))
            self.sent += len(piece)

    async def read(self, size: int = -1) -> bytes:
        """Read bytes of the body from the server: at most `size`, or all."""
        return await self._reader.read(size) if self._reader and self.seen.method != "HEAD" else b""

    def within(self, value: str, head: Head) -> int:
        """Return the fault's offset in the body: `value`, at most the length, or a random one if `value` is empty."""
        length = _PIECE if head.length is None else head.length
        return min(int(value), length) if value else self.chance.randrange(max(1, length))

    def end(self, head: Head) -> None:
        """Close the client's connection as the server's was; keep it after a chunked response or one without a body."""
        if self.seen.method == "HEAD" or head.status in (204, 304) or head.get("transfer-encoding"):
            return
        if head.length is None:
            self.line.close()
        else:
            self.line.reset()

    def leave(self) -> None:
        """Close the connection to the server."""
        if self._writer:
            self.proxy.disconnect(self._writer)

    def _request(self, *, whole: bool) -> bytes:
        left_out = _OF_THE_CONNECTION | ({"range", "x-ms-range"} if whole else set())
        headers = {name: value for name, value in self.seen.headers.items() if name not in left_out}
        headers |= {"host": self.proxy.there.netloc, "connection": "close"}
        query = self.seen.query or self.proxy.sign
        first = f"{self.seen.method} {self.seen.path}{'?' if query else ''}{query} HTTP/1.1"
        return "\r\n".join([first, *map(": ".join, headers.items()), "", ""]).encode("latin-1")


def _parsed(head: bytes) -> Head:
    first, *rest = head.decode("latin-1").rstrip().split("\r\n")
    match = re.match(r"HTTP/1\.[01] (\d{3})", first)
    if not match:
        raise ConnectionResetError("the server does not speak HTTP")
    fields = (field.partition(":") for field in rest)
    headers = [(name.strip().lower(), value.strip()) for name, _, value in fields]
    return Head(int(match[1]), [(name, value) for name, value in headers if name not in _OF_THE_CONNECTION])
