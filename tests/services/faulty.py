"""An HTTP/1.1 server for objects and ranges of them, with scripted faults.

    faults = [throttled(retry_after=1, times=2), Reset(at=1000, on="nl-nl/*")]
    async with FaultyServer({"nl-nl/1/pack": data}, faults) as server:
        ...  # server.url + "/nl-nl/1/pack"
    assert [seen.status for seen in server.seen] == [503, 503, 0, 206]

The first fault that matches the key, has skipped `after` requests, and was used fewer than `times` times applies to a
request. Other responses are those of Azure: ranges, ETag, If-Match, HEAD, 404, 403 for a wrong token.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
import socket
import struct
import sys
from dataclasses import dataclass
from fnmatch import fnmatchcase
from http import HTTPStatus
from typing import TYPE_CHECKING, Self
from urllib.parse import unquote

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Mapping, Sequence

FOREVER = sys.maxsize
SIGNATURE_MISMATCH = "Signature did not match. String to sign used was rl"
_CONTAINER = "models"
_TICK = 0.05  # seconds between two pieces on a connection with a rate limit
_TAG_BITS = (1 << 64) - 1


@dataclass(frozen=True)
class Reply:
    """A response to send."""

    status: int
    headers: Mapping[str, str]
    body: bytes | memoryview = b""


def refusal(status: int, code: str, detail: str = "") -> Reply:
    """Return an error response of Azure: the code in a header and in an XML body, the detail only in the body."""
    details = f"<AuthenticationErrorDetail>{detail}</AuthenticationErrorDetail>" if detail else ""
    body = (
        f'\ufeff<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>{code}: no help to anybody.\n'
        f"RequestId:00000000-0000-0000-0000-000000000000\nTime:2026-01-03T00:00:00Z</Message>{details}</Error>"
    )
    return Reply(status, {"x-ms-error-code": code, "Content-Type": "application/xml"}, body.encode())


def part(reply: Reply, whole: bytes, start: int, stop: int) -> Reply:
    """Return a range of the object, clipped to its end."""
    if not 0 <= start < len(whole):
        return refusal(416, "InvalidRange")
    body = memoryview(whole)[start:stop]
    headers = {**reply.headers, "Content-Range": f"bytes {start}-{start + len(body) - 1}/{len(whole)}"}
    return Reply(206, headers, body)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A fault for `times` requests whose key matches `on`, after `after` matching requests without it."""

    on: str = "*"
    times: int = 1
    after: int = 0

    def applies(self, _seen: Seen) -> bool:
        """Return True if the fault affects the response to this request."""
        return True

    def spoil(self, reply: Reply, _whole: bytes) -> Reply:
        """Return the response to send instead of `reply`; `whole` is the whole requested object."""
        return reply

    async def send(self, reply: Reply, line: ServerConnection) -> None:
        """Send the response."""
        await line.send(reply)


@dataclass
class Seen:
    """A received request, and the status sent so far (0: none); `path` is not decoded."""

    method: str
    key: str
    query: str
    headers: Mapping[str, str]
    status: int = 0
    path: str = ""

    @property
    def range(self) -> tuple[int, int] | None:
        """The requested range as (start, stop); `stop` is exclusive, and FOREVER for an open end."""
        asked = self.headers.get("x-ms-range") or self.headers.get("range") or ""
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", asked)
        return match and (int(match[1]), int(match[2]) + 1 if match[2] else FOREVER)

    @property
    def signed(self) -> bool:
        """True if the request has a token."""
        return "sig=" in self.query


class ServerConnection:
    """The server's side of one connection; `rate`, if set, limits it in bytes per second to the client."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, server: Server) -> None:
        self.rate = 0.0
        self.reader, self.writer = reader, writer
        self._server = server
        self._seen = Seen("", "", "", {})

    async def request(self) -> Seen:
        """Read and parse one request."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *rest = head.rstrip().split("\r\n")
        method, target, _ = first.split(" ")
        path, _, query = target.partition("?")
        fields = (field.partition(":") for field in rest)
        headers = {name.strip().lower(): value.strip() for name, _, value in fields}
        self._seen = Seen(method, unquote(path).removeprefix(f"/{_CONTAINER}").lstrip("/"), query, headers, path=path)
        return self._seen

    async def send(self, reply: Reply, at: int | None = FOREVER) -> None:
        """Send the head, and the body up to offset `at`; send nothing if `at` is None."""
        if at is None:
            return
        headers = {"Content-Length": str(len(reply.body)), **reply.headers}
        await self.head(reply.status, headers.items())
        if self._seen.method != "HEAD":
            await self.write(memoryview(reply.body)[:at])

    async def head(self, status: int, headers: Iterable[tuple[str, str]]) -> None:
        """Send a status line and headers unchanged."""
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *map(": ".join, headers)]
        self._seen.status = status
        await self.write("\r\n".join([*lines, "", ""]).encode("latin-1"))

    async def write(self, data: bytes | memoryview) -> None:
        """Send bytes unchanged, at the connection's rate, and count them."""
        step = max(1, int(self.rate * _TICK)) if self.rate else max(1, len(data))
        for start in range(0, len(data), step):
            piece = data[start : start + step]
            self.writer.write(piece)
            await self.writer.drain()
            await self._server.count(len(piece))
            if self.rate:
                await self.server_closes(len(piece) / self.rate)

    async def server_closes(self, within: float | None = None) -> bool:
        """Wait until the server closes, at most `within` seconds; return True if it did."""
        try:
            return await asyncio.wait_for(self._server.closing.wait(), within)
        except TimeoutError:
            return False

    def close(self) -> None:
        """Close the connection after all sent data was delivered."""
        self.writer.close()

    def reset(self) -> None:
        """Reset the connection: the client gets ECONNRESET, possibly before it has read all data."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def abort(self) -> None:
        """Abort the connection and wait until it is closed."""
        self.writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()

    @property
    def ended(self) -> bool:
        """True if this side has closed the connection."""
        return self.writer.transport.is_closing()


class Server:
    """A server on a loopback port; `seen` lists the requests, `carried` counts bytes sent to clients.

    `on_piece` is called after each piece of data sent. With `tls`, it is an https server.
    """

    def __init__(
        self, *, port: int = 0, tls: ssl.SSLContext | None = None, on_piece: Callable[[], object] = lambda: None
    ) -> None:
        self.seen: list[Seen] = []
        self.carried = 0
        self.closing = asyncio.Event()
        self._wanted_port = port
        self._tls = tls
        self._on_piece = on_piece
        self._enough = asyncio.Condition()
        self._lines: dict[asyncio.Task[object] | None, ServerConnection] = {}

    @property
    def port(self) -> int:
        """The port on 127.0.0.1."""
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def origin(self) -> str:
        """The origin: scheme, host and port."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        """The number of connections accepted so far."""
        return len(self._lines)

    async def carries(self, count: int) -> None:
        """Wait until `count` more bytes have been sent to clients."""
        until = self.carried + count
        async with self._enough:
            await self._enough.wait_for(lambda: self.carried >= until)

    async def count(self, size: int) -> None:
        """Record that `size` bytes were sent to a client."""
        self.carried += size
        self._on_piece()
        async with self._enough:
            self._enough.notify_all()

    async def answer(self, seen: Seen, line: ServerConnection) -> None:
        """Answer one request."""
        raise NotImplementedError

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._talk, "127.0.0.1", self._wanted_port, ssl=self._tls, limit=1 << 20
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        self.closing.set()
        self._server.close()
        await asyncio.gather(*(line.abort() for line in self._lines.values()))
        await asyncio.gather(*filter(None, self._lines))  # raises errors of this server itself
        await self._server.wait_closed()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = self._lines[asyncio.current_task()] = ServerConnection(reader, writer, self)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):  # the client may disconnect at any time
            while not line.ended:
                seen = await line.request()
                self.seen.append(seen)
                await self.answer(seen, line)
        line.close()


class FaultyServer(Server):
    """Serve `objects` below `url`, with `faults` applied to requests; `seen` lists the requests.

    If `token` is set, every request must have exactly this query. With `tls`, it is an https server. Objects, token and
    faults may be changed while it runs.
    """

    def __init__(
        self,
        objects: Mapping[str, bytes],
        faults: Sequence[Fault] = (),
        *,
        token: str | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(tls=tls)
        self.objects = dict(objects)
        self.token = token
        self.script(*faults)

    @property
    def url(self) -> str:
        """The container's URL, without a token."""
        return f"{self.origin}/{_CONTAINER}"

    def script(self, *faults: Fault) -> None:
        """Replace the faults; the counts of each start at zero."""
        self._script = [(fault, itertools.count()) for fault in faults]

    async def answer(self, seen: Seen, line: ServerConnection) -> None:
        """Send the correct response, modified by the fault that applies, if any."""
        fault = self._fault(seen)
        await fault.send(fault.spoil(self._right(seen), self.objects.get(seen.key, b"")), line)

    def _fault(self, seen: Seen) -> Fault:
        for fault, met in self._script:
            if (
                fnmatchcase(seen.key, fault.on)
                and fault.applies(seen)
                and fault.after <= next(met) < fault.after + fault.times
            ):
                return fault
        return Fault()

    def _right(self, seen: Seen) -> Reply:
        whole = self.objects.get(seen.key, b"")
        tag = f'"0x{hash(whole) & _TAG_BITS:016X}"'
        if self.token not in (None, seen.query):
            return refusal(403, "AuthenticationFailed", SIGNATURE_MISMATCH)
        if seen.key not in self.objects:
            return refusal(404, "BlobNotFound")
        if seen.headers.get("if-match", tag) != tag:
            return refusal(412, "ConditionNotMet")
        right = Reply(200, {"ETag": tag, "Accept-Ranges": "bytes"}, whole)
        return part(right, whole, *seen.range) if seen.range else right
