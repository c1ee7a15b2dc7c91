"""HTTP as this program wants it: GET only, undecoded, with idle limits; no secret in an error or to another host.

Every fault of the way there and back is told here in our words. A URL is only ever shown without its query.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import defaultdict
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

from models_init import __version__
from models_init.errors import SourceError, UnavailableError
from models_init.sources import message
from models_init.sources.answer import Answer
from models_init.sources.dial import dial
from models_init.sources.message import NotHttpError
from models_init.sources.peer import Origin, Peer, web_address
from models_init.sources.proxies import proxy_authorization, proxy_for
from models_init.sources.threads import Threads
from models_init.sources.tls import client_context, describe_connection
from models_init.sources.troubles import told, unreached
from models_init.sources.wire import Wire

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from models_init.sources.message import Head

CONNECT_LIMIT = 15.0
"""Seconds for a TCP connection with TLS."""

_KEPT = 15.0  # seconds; firewalls and balancers forget a silent connection after minutes, and tell nobody
_REDIRECTS = 5
_MOVED = {301, 302, 303, 307, 308}


@dataclass(frozen=True, slots=True)
class Line:
    """How to reach a server: limits in seconds, sizes in bytes.

    A connection that brings no byte for `idle_limit`, or next to none, is given up. `receive_buffer` caps what the
    kernel takes in before it is read, 0 leaves it to the kernel: a limited rate would begin with a burst.
    """

    idle_limit: float = 30.0
    ca_file: str = ""
    receive_buffer: int = 0


class Http:
    """Connections to the server of `base`, kept open between requests."""

    def __init__(self, base: str, line: Line) -> None:
        self.threads = Threads()
        self._base = base
        self._line = line
        self._idle: defaultdict[Peer, list[Wire]] = defaultdict(list)
        self._busy: set[Wire] = set()
        self._peers: dict[Origin, Peer] = {}
        self._context: ssl.SSLContext | None = None
        self._tls: ssl.SSLObject | None = None  # of the last connection
        self._closed = False

    @property
    def host(self) -> str:
        """Name and port, for messages."""
        return Origin.of(self._base).name

    @property
    def way(self) -> str:
        """How the last connection was made, in words: through which proxy, with which TLS, and trusted by whom."""
        proxy = self._peer(self._base).proxy
        through = f"through the proxy {Origin.of(proxy).name}" if proxy else "directly"
        return f"{through}, {describe_connection(self._tls, self._line.ca_file) if self._tls else 'without encryption'}"

    async def get(self, url: str, secret: str, headers: Mapping[str, str]) -> Answer:
        """Ask for `url` with `secret` added to its query; follow redirects, with the secret only where it belongs.

        Raises `UnavailableError`, `SourceError`, `UsageError`; whatever status comes is an answer.
        """
        asked = _with_query(url, secret)
        for _ in range(_REDIRECTS + 1):
            answer = await self._send(asked, headers)
            location = answer.header("Location")
            if answer.status not in _MOVED or not location:
                return answer
            answer.release()
            asked = self._moved(asked, location, secret)
        raise SourceError(f"{self.host} redirects in a circle, or too often; check MODELS_URL and the proxy")

    async def close(self) -> None:
        """Close all connections."""
        self._closed = True
        for wire in self._busy:
            wire.abort()  # it is closed when it is taken back
        for wire in (wire for wires in self._idle.values() for wire in wires):
            wire.close()
        self._idle.clear()
        await self.threads.close()

    def is_home(self, peer: Peer) -> bool:
        """Tell whether this is the server of `base`: the one that may see the token."""
        return peer.origin == Origin.of(self._base)

    def take_back(self, wire: Wire, peer: Peer, *, whole: bool) -> None:
        """Keep a connection for the next request, or close it where that cannot be."""
        self._busy.discard(wire)
        if whole and wire.is_silent and not self._closed:
            wire.idle_since = monotonic()
            self._idle[peer].append(wire)
        else:
            wire.close()

    def _moved(self, asked: str, location: str, secret: str) -> str:
        """Where a redirect leads: to the same server with the secret, to another without it, never out of TLS."""
        moved = web_address(location, asked)
        if not moved:
            raise SourceError(f"{self.host} redirects to what is no web address; check MODELS_URL and the proxy")
        base, target = Origin.of(self._base), Origin.of(moved)
        if target.scheme == "http" and base.scheme == "https":
            raise SourceError(
                f"{self.host} redirects to http://{target.name}, without encryption; check MODELS_URL and the proxy"
            )
        query = urlsplit(moved).query
        if target == base:
            return moved if _holds(query, secret) else _with_query(moved, secret)
        return urlsplit(moved)._replace(query="").geturl() if _holds(query, secret) else moved

    async def _send(self, url: str, headers: Mapping[str, str]) -> Answer:
        """Ask once; once more where a connection that was kept open turns out to be closed by the server."""
        if self._line.ca_file:
            self._trusted()  # a file that is none is told whether it is needed or not
        parts = urlsplit(url)
        peer = self._peer(url)
        while True:
            wire = await self._connected(peer)
            request = _request(parts.path or "/", parts.query, peer, headers)
            try:
                head = await self.threads.run(_exchange, wire, request, stop=wire.abort)
                _check_proxy(head, peer)
            except (OSError, EOFError, NotHttpError) as error:
                self.take_back(wire, peer, whole=False)
                if wire.idle_since is not None and isinstance(error, (ConnectionError, EOFError)):
                    continue
                raise told(error, peer.origin.name) from None
            except BaseException:
                self.take_back(wire, peer, whole=False)
                raise
            return Answer(self, wire, peer, head, parts.path.lstrip("/"))

    def _peer(self, url: str) -> Peer:
        """The server of a URL with its proxy, which is looked up once: NO_PROXY may be long."""
        origin = Origin.of(url)
        if origin not in self._peers:
            self._peers[origin] = Peer(origin, proxy_for(origin, os.environ))
        return self._peers[origin]

    async def _connected(self, peer: Peer) -> Wire:
        idle = self._idle[peer]
        while idle:
            wire = idle.pop()
            if wire.is_silent and monotonic() - (wire.idle_since or 0.0) < _KEPT:
                self._busy.add(wire)
                return wire
            wire.close()
        try:
            async with asyncio.timeout(CONNECT_LIMIT):
                wire = await self._connect(peer)
        except (OSError, EOFError, NotHttpError, UnicodeError) as error:  # a name may be none that DNS could have
            raise unreached(error, peer) from None
        self._busy.add(wire)
        return wire

    async def _connect(self, peer: Peer) -> Wire:
        first = Origin.of(peer.proxy) if peer.proxy else peer.origin
        if "https" in (first.scheme, peer.origin.scheme):
            self._trusted()
        sock = await dial(first.host, first.port)
        made = Wire.of(sock, self._line.idle_limit)
        try:
            if self._line.receive_buffer:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._line.receive_buffer)
            await self.threads.run(self._prepare, made, first, peer, stop=made.abort)
        except BaseException:
            made.close()
            raise
        self._tls = made.tls if peer.origin.scheme == "https" else None
        return made

    def _prepare(self, wire: Wire, first: Origin, peer: Peer) -> None:
        """Encrypt what is to be, through a proxy if need be. Blocks."""
        if first.scheme == "https":
            wire.encrypt(self._trusted(), first.tls_name)
        if peer.has_tunnel:
            _tunnel(wire, peer)
            wire.encrypt(self._trusted(), peer.origin.tls_name)

    def _trusted(self) -> ssl.SSLContext:
        if not self._context:
            self._context = client_context(self._line.ca_file)
        return self._context


def _request(path: str, query: str, peer: Peer, headers: Mapping[str, str]) -> bytes:
    target = f"{path}?{query}" if query else path
    lines = {
        "Host": peer.origin.name,
        "User-Agent": f"models_init/{__version__}",
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        **headers,
    }
    if peer.proxy and not peer.has_tunnel:
        target = f"http://{peer.origin.name}{target}"
        lines |= proxy_authorization(peer.proxy)
    return _lines(f"GET {target} HTTP/1.1", lines)


def _exchange(wire: Wire, request: bytes) -> Head:
    """Ask, and wait for the head of the answer. Blocks; raises `NotHttpError`, `EOFError`, `OSError`."""
    wire.write(request)
    return message.head(wire)


def _tunnel(wire: Wire, peer: Peer) -> None:
    """Have the proxy connect to the server. Raises `SourceError`, and what `message.head` raises."""
    address = peer.origin.address
    wire.write(_lines(f"CONNECT {address} HTTP/1.1", {"Host": address, **proxy_authorization(peer.proxy)}))
    head = message.head(wire)
    if head.status in (408, 429) or head.status >= 500:
        raise UnavailableError(f"the proxy has no connection to {peer.origin.name} now: it answered {head.status}")
    if not 200 <= head.status < 300:
        raise _refused(head, peer)
    if not wire.is_silent:  # or the proxy could put an answer before the server's own
        raise NotHttpError


def _check_proxy(head: Head, peer: Peer) -> None:
    if head.status == 407 and peer.proxy:
        raise _refused(head, peer)


def _refused(head: Head, peer: Peer) -> SourceError:
    variable = f"{peer.origin.scheme.upper()}_PROXY"
    return SourceError(
        f"the proxy refuses to connect to {peer.origin.name}: it answered {head.status}; check {variable}"
    )


def _lines(first: str, headers: Mapping[str, str]) -> bytes:
    return "\r\n".join([first, *(f"{name}: {value}" for name, value in headers.items()), "", ""]).encode("latin-1")


def _with_query(url: str, query: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}{query}" if query else url


def _holds(query: str, secret: str) -> bool:
    """Tell whether a query holds the secret's signature, in whatever way that is encoded."""
    signature = parse_qs(secret).get("sig", [""])[0]
    return bool(signature) and signature.replace(" ", "+") in unquote(unquote(query)).replace(" ", "+")
