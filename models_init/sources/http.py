"""HTTP as this program wants it: GET only, undecoded, with idle limits; no secret in an error or to another host.

Every fault of the way there and back is told here in our words. A URL is only ever shown without its query.
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
import socket
import ssl
from collections import defaultdict
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs, unquote, urljoin, urlsplit, urlunsplit
from urllib.request import getproxies, proxy_bypass

from models_init import __version__
from models_init.errors import ModelsInitError, SourceError, UnavailableError, UsageError
from models_init.sources import message
from models_init.sources.message import Body, NotHttpError
from models_init.sources.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Mapping

    from models_init.sources.message import Head

CONNECT_LIMIT = 15.0
"""Seconds for a TCP connection with TLS."""

_NEXT_ADDRESS = 0.25  # seconds until a server's next address is tried beside the first (RFC 8305)
_LEAST = 1 << 10  # bytes a second; who brings less over an idle limit's time brings nothing
_REDIRECTS = 5
_MOVED = {301, 302, 303, 307, 308}
_PLAIN = re.compile(r"[!-~]+\Z")


@dataclass(frozen=True, slots=True)
class Line:
    """How to reach a server: limits in seconds, sizes in bytes.

    A connection that brings no byte for `idle_limit`, or next to none, is given up. `receive_buffer` caps what the
    kernel takes in before it is read, 0 leaves it to the kernel: a limited rate would begin with a burst.
    """

    idle_limit: float = 30.0
    ca_file: str = ""
    receive_buffer: int = 0


class _Peer(NamedTuple):
    """What a connection leads to: a server, through a proxy if there is one."""

    scheme: str
    host: str
    port: int
    proxy: str

    @property
    def name(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"


_DEFAULT_PORTS = {"http": 80, "https": 443}


class Http:
    """Connections to the server of `base`, kept open between requests."""

    def __init__(self, base: str, line: Line) -> None:
        self._base = base
        self._line = line
        self._idle: defaultdict[_Peer, list[Wire]] = defaultdict(list)
        self._busy: set[Wire] = set()
        self._peers: dict[tuple[str, str, int], _Peer] = {}
        self._context: ssl.SSLContext | None = None
        self._tls: ssl.SSLObject | None = None  # of the last connection
        self._closed = False

    @property
    def host(self) -> str:
        """Name and port, for messages."""
        return urlsplit(self._base).netloc

    @property
    def way(self) -> str:
        """How the last connection was made, in words: through which proxy, with which TLS, and trusted by whom."""
        proxy = urlsplit(_proxy(self._base))
        port = f":{proxy.port}" if proxy.port else ""
        through = f"through the proxy {proxy.hostname}{port}" if proxy.hostname else "directly"
        return f"{through}, {_encryption(self._tls, self._line.ca_file) if self._tls else 'without encryption'}"

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
        for wire in [*self._busy, *(wire for wires in self._idle.values() for wire in wires)]:
            wire.abort()
        self._idle.clear()
        await asyncio.sleep(0)  # for the event loop to take note

    def take_back(self, wire: Wire, peer: _Peer, *, whole: bool) -> None:
        """Keep a connection for the next request, or close it where that cannot be."""
        self._busy.discard(wire)
        if whole and wire.is_silent and not self._closed:
            wire.used = True
            self._idle[peer].append(wire)
        else:
            wire.abort()

    def _moved(self, asked: str, location: str, secret: str) -> str:
        """Where a redirect leads: to the same server with the secret, to another without it, never out of TLS."""
        target = urlsplit(urljoin(asked, location))
        if target.scheme not in {"https", "http"} or not target.hostname:
            raise SourceError(f"{self.host} redirects to what is no web address; check MODELS_URL and the proxy")
        if target.scheme == "http" and urlsplit(self._base).scheme == "https":
            raise SourceError(
                f"{self.host} redirects to http://{target.netloc}, without encryption; check MODELS_URL and the proxy"
            )
        moved = urlunsplit(target)
        if not _PLAIN.match(moved):
            raise SourceError(f"{self.host} redirects to what is no web address; check MODELS_URL and the proxy")
        if _origin(moved) == _origin(self._base):
            return moved if _holds(target.query, secret) else _with_query(moved, secret)
        return urlunsplit(target._replace(query="")) if _holds(target.query, secret) else moved

    async def _send(self, url: str, headers: Mapping[str, str]) -> Answer:
        """Ask once; once more where a connection that was kept open turns out to be closed by the server."""
        if self._line.ca_file:
            self._trusted()  # a file that is none is told whether it is needed or not
        parts = urlsplit(url)
        peer = self._peer(url)
        while True:
            wire = await self._connected(peer, parts.netloc)
            try:
                wire.write(_request(parts.path or "/", parts.query, peer, headers))
                head = await message.head(wire)
            except (OSError, EOFError, NotHttpError) as error:
                self.take_back(wire, peer, whole=False)
                if wire.used and isinstance(error, (ConnectionError, EOFError)):
                    continue
                raise _told(error, parts.netloc) from None
            except asyncio.CancelledError:
                self.take_back(wire, peer, whole=False)
                raise
            return Answer(self, wire, peer, head, parts.path.lstrip("/"))

    def _peer(self, url: str) -> _Peer:
        """What a URL leads to; looking for a proxy goes through the whole environment."""
        origin = _origin(url)
        if origin not in self._peers:
            self._peers[origin] = _Peer(*origin, _proxy(url))
        return self._peers[origin]

    async def _connected(self, peer: _Peer, host: str) -> Wire:
        idle = self._idle[peer]
        while idle:
            wire = idle.pop()
            if wire.is_silent:
                self._busy.add(wire)
                return wire
            wire.abort()
        try:
            async with asyncio.timeout(CONNECT_LIMIT):
                wire = await self._connect(peer)
        except (OSError, EOFError, NotHttpError) as error:
            raise _unreached(error, host, peer.proxy) from None
        self._busy.add(wire)
        return wire

    async def _connect(self, peer: _Peer) -> Wire:
        proxy = urlsplit(peer.proxy)
        tunnel = peer.proxy and peer.scheme == "https"
        host, port = (proxy.hostname or "", proxy.port or 80) if peer.proxy else (peer.host, peer.port)
        encrypted = peer.scheme == "https"
        made = Wire(self._line.idle_limit)
        try:
            await asyncio.get_running_loop().create_connection(
                lambda: made,
                host,
                port,
                ssl=self._trusted() if encrypted and not tunnel else None,
                happy_eyeballs_delay=_NEXT_ADDRESS,
            )
            self._limit(made)
            if tunnel:
                await _tunnel(made, peer)
                await made.encrypt(self._trusted(), peer.host)
        except BaseException:
            made.abort()
            raise
        self._tls = made.transport.get_extra_info("ssl_object") if encrypted else None
        return made

    def _limit(self, wire: Wire) -> None:
        sock = wire.transport.get_extra_info("socket")
        if self._line.receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._line.receive_buffer)

    def _trusted(self) -> ssl.SSLContext:
        if not self._context:
            ca_file = self._line.ca_file
            try:
                self._context = ssl.create_default_context(cafile=ca_file or None)
            except (OSError, ssl.SSLError) as error:
                raise UsageError(f"MODELS_CA_FILE={ca_file} cannot be read as certificates: {error}") from error
        return self._context


class Answer:
    """A status, headers, and a body that has not been read yet. Ends with `release`, read or not."""

    def __init__(self, http: Http, wire: Wire, peer: _Peer, head: Head, path: str) -> None:
        self._http = http
        self._wire: Wire | None = wire
        self._peer = peer
        self._head = head
        self._body = Body(wire, head)
        self._pulse = _Pulse(wire.idle_limit)
        self.path = path

    @property
    def status(self) -> int:
        """The status code."""
        return self._head.status

    @property
    def length(self) -> int | None:
        """Bytes of the body, as announced."""
        return self._head.length

    def header(self, name: str) -> str:
        """A header's value, or an empty string; case does not matter."""
        return self._head.get(name)

    async def piece(self) -> memoryview:
        """The next bytes of the body, valid until the next call; empty at its end. Raises `UnavailableError`."""
        began = monotonic()
        try:
            piece = await self._body.piece()
        except (OSError, EOFError, NotHttpError) as error:
            raise _told(error, self._peer.name) from None
        if self._pulse.is_weak(len(piece), monotonic() - began):
            raise UnavailableError(f"{self._peer.name} sends next to nothing; check the network")
        return piece

    async def body(self, limit: int, what: str) -> bytes:
        """The whole body; one of more than `limit` bytes is a `SourceError`."""
        body = bytearray()
        while piece := await self.piece():
            body += piece
            if len(body) > limit:
                raise SourceError(
                    f"{what} on {self._peer.name} is larger than {limit} bytes: it is not what it should be"
                )
        return bytes(body)

    def release(self) -> None:
        """Give the connection back; close it where the body was not read to its end."""
        if self._wire:
            whole = self._body.finish() and self._head.keeps_alive
            self._http.take_back(self._wire, self._peer, whole=whole)
            self._wire = None


class _Pulse:
    """Whether bytes come at all: an idle limit alone never ends a connection that brings a byte now and then."""

    def __init__(self, seconds: float) -> None:
        self._window = seconds
        self._seconds = 0.0
        self._bytes = 0

    def is_weak(self, size: int, seconds: float) -> bool:
        """Count bytes, and the seconds of waiting for them; tell whether a whole window brought next to nothing."""
        self._bytes += size
        self._seconds += seconds
        if self._seconds < self._window:
            return False
        weak = self._bytes < _LEAST * self._seconds and size > 0
        self._bytes, self._seconds = 0, 0.0
        return weak


def _request(path: str, query: str, peer: _Peer, headers: Mapping[str, str]) -> bytes:
    target = f"{path}?{query}" if query else path
    lines = {
        "Host": peer.name,
        "User-Agent": f"models_init/{__version__}",
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        **headers,
    }
    if peer.proxy and peer.scheme == "http":
        target = f"http://{peer.name}{target}"
        lines |= _proxy_authorization(peer.proxy)
    return _lines(f"GET {target} HTTP/1.1", lines)


async def _tunnel(wire: Wire, peer: _Peer) -> None:
    """Have the proxy connect to the server. Raises `SourceError`, and what `message.head` raises."""
    address = f"{f'[{peer.host}]' if ':' in peer.host else peer.host}:{peer.port}"
    wire.write(_lines(f"CONNECT {address} HTTP/1.1", {"Host": address, **_proxy_authorization(peer.proxy)}))
    head = await message.head(wire)
    if head.status != 200:
        raise SourceError(f"the proxy refuses to connect to {peer.name}: it answered {head.status}; check HTTPS_PROXY")


def _proxy_authorization(proxy: str) -> dict[str, str]:
    parts = urlsplit(proxy)
    if parts.username is None:
        return {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}


def _lines(first: str, headers: Mapping[str, str]) -> bytes:
    return "\r\n".join([first, *(f"{name}: {value}" for name, value in headers.items()), "", ""]).encode("ascii")


def _unreached(error: Exception, host: str, proxy: str) -> ModelsInitError:
    """What kept us from connecting; `host` may be reached through a proxy."""
    match error:
        case ssl.SSLCertVerificationError():
            return SourceError(
                f"the certificate of {host} is not trusted: {error.verify_message}; "
                "name your CA's file in MODELS_CA_FILE"
            )
        case ssl.SSLError():
            return SourceError(f"{host} does not speak TLS as it should; check MODELS_URL and the proxy")
        case TimeoutError() | ConnectionResetError() | ConnectionAbortedError() | EOFError() | NotHttpError():
            return _told(error, host)
        case OSError() if proxy:
            return UnavailableError("the proxy cannot be reached; check HTTPS_PROXY")
        case socket.gaierror():
            return UnavailableError(f"the name of {host} cannot be resolved; check MODELS_URL, DNS and the proxy")
        case _:
            number = getattr(error, "errno", None)
            why = os.strerror(number) if number else "no connection"
            return UnavailableError(f"{host} cannot be reached: {why}; check the network")


def _told(error: Exception, host: str) -> UnavailableError:
    """What went wrong once there was a connection; another try may help."""
    match error:
        case TimeoutError():
            return UnavailableError(f"{host} did not answer in time; check the network")
        case NotHttpError():
            return UnavailableError(f"{host} answered with something that is not HTTP; check MODELS_URL and the proxy")
        case _:
            return UnavailableError(f"{host} broke off the connection; check the network")


def _encryption(tls: ssl.SSLObject, ca_file: str) -> str:
    """The protocol, who signed the server's certificate, and which list of authorities makes that good."""
    certificate: Mapping[str, Any] = tls.getpeercert() or {}
    issuer = dict(pair for part in certificate.get("issuer", ()) for pair in part)
    by = issuer.get("commonName") or issuer.get("organizationName") or "nobody in particular"
    paths = ssl.get_default_verify_paths()
    trusted = ca_file or paths.cafile or paths.capath or "the system"
    return f"{tls.version()}, certificate by {by}, trusted by {trusted}"


def _proxy(url: str) -> str:
    """The environment's proxy, or an empty string."""
    parts = urlsplit(url)
    proxy = "" if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme, "")
    return proxy if "//" in proxy or not proxy else f"http://{proxy}"


def _with_query(url: str, query: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}{query}" if query else url


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or _DEFAULT_PORTS[parts.scheme]


def _holds(query: str, secret: str) -> bool:
    """Tell whether a query holds the secret's signature, in whatever way that is encoded."""
    signature = parse_qs(secret).get("sig", [""])[0]
    return bool(signature) and signature.replace(" ", "+") in unquote(unquote(query)).replace(" ", "+")
