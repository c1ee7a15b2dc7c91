"""Send requests over kept-alive connections, and follow redirects without sending secrets to another origin.

aiohttp provides connections, TLS, proxies, keep-alive and happy eyeballs. This module adds the rules for redirects, a
time limit for the response head, and a readable description of the connection.
"""

from __future__ import annotations

import asyncio
import os
import select
import socket
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit
from weakref import WeakSet

from yarl import URL

from models_init import __version__
from models_init.core.errors import SourceError
from models_init.sources.http.aiohttp_import import aiohttp
from models_init.sources.http.errors import head_error, network_error, proxy_status_error
from models_init.sources.http.origin import Origin, Route, web_address
from models_init.sources.http.proxies import proxy_for
from models_init.sources.http.request_log import LOCAL_PORT, RequestTimer
from models_init.sources.http.response import Response
from models_init.sources.http.tls import client_context, describe_connection

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping
    from io import BytesIO

    from models_init.sources.http.request_log import RequestRecord

CONNECT_LIMIT = 15.0
"""Maximum seconds to establish a connection: TCP, TLS, and the proxy's response to CONNECT."""

KEEP_ALIVE = 15.0  # seconds; firewalls and load balancers drop an idle connection after minutes, without notice
_READ_BUFFER = 256 << 10  # bytes; aiohttp pauses a connection at twice as many. 1.1 to 1.26 times faster than 64 KiB
_HEAD_LIMIT = 64 << 10  # bytes of one header; a registry's signed redirect has 2 to 4 KiB
_CLOSE_LIMIT = 0.5  # seconds that closing may take; after SIGTERM the process has two seconds in all
_REDIRECT_LIMIT = 5
_REDIRECTS = {301, 302, 303, 307, 308}


@dataclass(frozen=True, slots=True)
class TransportOptions:
    """Options for connections; limits in seconds, sizes in bytes.

    A connection that delivers almost no bytes for `idle_limit` is closed. `ca_file` is the file of the trusted
    certificates, or empty for those of the system. `receive_buffer` limits the bytes that the kernel and aiohttp buffer
    for a connection; 0 means their defaults. Without this limit, a rate-limited transfer would begin with a burst.
    `on_request` is called at the end of each request.
    """

    idle_limit: float = 30.0
    ca_file: str = ""
    receive_buffer: int = 0
    on_request: Callable[[RequestRecord], None] | None = None


@dataclass(frozen=True, slots=True)
class Credentials:
    """A client's credentials for one origin: `query` is added to the query string, `headers` to the headers.

    They are sent only to the origin of the requested URL, not to another origin to which it redirects. The repr does
    not contain them.
    """

    query: str = ""
    headers: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        return "Credentials(...)"


ANONYMOUS = Credentials()


class HttpRequest(NamedTuple):
    """A request. `url` is percent-encoded; `headers` are sent to every origin and must not contain credentials."""

    method: str
    url: str
    headers: Mapping[str, str] = MappingProxyType({})
    body: BytesIO | bytes | None = None


class HttpClient:
    """A client for the server of `base`. Its connections belong to one event loop and are kept between requests.

    `base` may change between requests: it only matters for `host` and `connection_summary`.
    """

    def __init__(self, base: str, options: TransportOptions) -> None:
        self.base = base
        self._options = options
        self._routes: dict[Origin, Route] = {}
        self._trusted: ssl.SSLContext | None = None
        self._session: aiohttp.ClientSession | None = None
        self._connector: _Connector | None = None

    @property
    def host(self) -> str:
        """Name and port of the server, for messages."""
        return Origin.of(self.base).name

    @property
    def connection_summary(self) -> str:
        """Describe the last connection: its proxy, its TLS version, and the trusted certificates."""
        route = self._route(self.base)
        through = f"through the proxy {Origin.of(route.proxy).name}" if route.proxy else "directly"
        tls = self._connector.last_tls if self._connector and route.origin.scheme == "https" else None
        return f"{through}, {describe_connection(tls, self._options.ca_file) if tls else 'without encryption'}"

    async def get(
        self,
        url: str,
        headers: Mapping[str, str] | None = None,
        credentials: Credentials = ANONYMOUS,
        *,
        follow_redirects: bool = True,
    ) -> Response:
        """Request `url` and return the response, whatever its status; its body has not been read.

        At most five redirects are followed. If `follow_redirects` is false, the redirect itself is returned, and
        `Response.location` is its target.

        Raises:
            UnavailableError: there is no connection, or no response in time; a retry may succeed.
            SourceError: a certificate is not trusted, a proxy refuses, or a redirect must not be followed.
            UsageError: the proxy's address or the CA file is invalid.
        """
        request = HttpRequest("GET", url, headers or {})
        return await self.send(request, credentials, follow_redirects=follow_redirects)

    async def send(
        self, request: HttpRequest, credentials: Credentials = ANONYMOUS, *, follow_redirects: bool = True
    ) -> Response:
        """Send a request of any method, as `get` does. Redirects are followed only without a body."""
        first, target = Origin.of(request.url), _with_query(request.url, credentials.query)
        for _ in range(_REDIRECT_LIMIT + 1):
            private = dict(credentials.headers) if Origin.of(target) == first else {}
            response = await self._send(request._replace(url=target, headers={**request.headers, **private}), first)
            location = response.header("Location")
            is_final = response.status not in _REDIRECTS or not location or not follow_redirects
            if is_final or request.body is not None:
                return response
            response.release()
            target = _redirected(target, location, first, credentials.query)
        raise SourceError(f"{first.name} redirects in a loop, or more than 5 times; check MODELS_URL and the proxy")

    async def close(self) -> None:
        """Close all connections."""
        if self._session and self._connector:
            await self._session.close()
            await self._connector.wait_closed()
            self._session = None

    async def _send(self, request: HttpRequest, first: Origin) -> Response:
        """Send one request. aiohttp silently repeats it once if the server has closed a kept-alive connection."""
        session, route = self._open_session(), self._route(request.url)
        timer = self._timer(request)
        try:
            async with asyncio.timeout(CONNECT_LIMIT + self._options.idle_limit):  # covers a head that arrives slowly
                response = await session.request(
                    request.method,
                    URL(request.url, encoded=True).with_user(None),
                    headers=request.headers,
                    data=request.body,
                    allow_redirects=False,
                    proxy=route.proxy or None,
                    ssl=self._context() if route.has_tls else True,
                )
        except (aiohttp.ClientError, OSError, ValueError) as error:  # ValueError: the host is invalid
            translated = network_error(error, route)
            if timer:
                timer.ended(0, 0, 0, str(translated))
            raise translated from None
        if unclear := head_error(response, route):
            response.close()
            raise unclear
        if response.status == 407 and route.proxy:
            response.close()
            raise proxy_status_error(407, route)
        answer = Response(response, route.origin, self._options.idle_limit, is_elsewhere=route.origin != first)
        if timer:
            answer.on_release = partial(timer.ended, connection=LOCAL_PORT.get())
        return answer

    def _timer(self, request: HttpRequest) -> RequestTimer | None:
        """Return a timer for the request if requests are logged."""
        if not self._options.on_request:
            return None
        clock, requested_range = asyncio.get_running_loop().time, request.headers.get("Range", "")
        return RequestTimer(self._options.on_request, clock, request.method, request.url, requested_range, clock())

    def _open_session(self) -> aiohttp.ClientSession:
        if not self._session:
            if self._options.ca_file:
                self._context()  # report an invalid file even if no connection uses TLS
            receive_buffer = self._options.receive_buffer
            self._connector = _Connector(receive_buffer)
            self._session = aiohttp.ClientSession(
                connector=self._connector,
                timeout=aiohttp.ClientTimeout(
                    total=None, connect=CONNECT_LIMIT, sock_connect=CONNECT_LIMIT, sock_read=self._options.idle_limit
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": f"models_init/{__version__}", "Accept-Encoding": "identity"},
                auto_decompress=False,
                read_bufsize=min(_READ_BUFFER, receive_buffer or _READ_BUFFER),
                max_line_size=_HEAD_LIMIT,
                max_field_size=_HEAD_LIMIT,
            )
        return self._session

    def _route(self, url: str) -> Route:
        """Return the route to a URL's server. It is cached, because finding the proxy reads the whole environment."""
        origin = Origin.of(url)
        if origin not in self._routes:
            self._routes[origin] = Route(origin, proxy_for(origin, os.environ))
        return self._routes[origin]

    def _context(self) -> ssl.SSLContext:
        if not self._trusted:
            self._trusted = client_context(self._options.ca_file)
        return self._trusted


class _Connector(aiohttp.TCPConnector):
    """A pool that keeps the TLS object of the latest connection, and does not reuse a connection with unread bytes.

    The TLS object is kept here, because the connection of a short response is already back in the pool when the caller
    gets the response. Bytes that arrive on an idle connection would be mistaken for the response to the next request.
    aiohttp reports those that the event loop has read (`should_close`); the others are found as urllib3's
    `is_connection_dropped` does. A new connection is not examined: a server may send TLS session tickets on it.
    """

    def __init__(self, receive_buffer: int) -> None:
        super().__init__(limit=0, keepalive_timeout=KEEP_ALIVE, socket_factory=self._make_socket)
        self.last_tls: ssl.SSLObject | None = None
        self._receive_buffer = receive_buffer
        self._sockets: WeakSet[socket.socket] = WeakSet()
        self._used: WeakSet[Any] = WeakSet()  # the protocols of connections that had a request

    async def connect(self, *arguments: Any, **options: Any) -> Any:
        """See `aiohttp.BaseConnector.connect`."""
        connection = await super().connect(*arguments, **options)
        while connection.protocol in self._used and _has_unread_bytes(connection):
            connection.close()
            connection = await super().connect(*arguments, **options)
        self._used.add(connection.protocol)
        if connection.transport and (address := connection.transport.get_extra_info("sockname")):
            LOCAL_PORT.set(address[1])
        self.last_tls = connection.transport.get_extra_info("ssl_object") if connection.transport else None
        return connection

    async def wait_closed(self) -> None:
        """Wait until all sockets are closed: aiohttp's `close` does not wait for the TLS shutdown with a proxy."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_LIMIT):
                while any(sock.fileno() >= 0 for sock in self._sockets):  # noqa: ASYNC110 - there is no close event
                    await asyncio.sleep(0.001)

    def _make_socket(self, address: tuple[Any, ...]) -> socket.socket:
        sock = socket.socket(*address[:3])
        if self._receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
        self._sockets.add(sock)
        return sock


def _has_unread_bytes(connection: Any) -> bool:
    """Return True if an idle connection has bytes that belong to no response, or was closed by the server."""
    if connection.transport is None or connection.protocol.should_close:
        return True
    poll = select.poll()
    poll.register(connection.transport.get_extra_info("socket").fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _redirected(requested: str, location: str, first: Origin, secret: str) -> str:
    """Return the URL of a redirect, with the secret only if it stays at the first origin.

    Raises `SourceError`: the target is not a web address, or leaves TLS.
    """
    moved = web_address(location, requested)
    if not moved:
        raise SourceError(
            f"{first.name} redirects to something that is not a web address; check MODELS_URL and the proxy"
        )
    target = Origin.of(moved)
    if target.scheme == "http" and first.scheme == "https":
        raise SourceError(
            f"{first.name} redirects to http://{target.name}, without encryption; check MODELS_URL and the proxy"
        )
    query = urlsplit(moved).query
    if target == first:
        return moved if _holds(query, secret) else _with_query(moved, secret)
    return urlsplit(moved)._replace(query="").geturl() if _holds(query, secret) else moved


def _with_query(url: str, query: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}{query}" if query else url


def _holds(query: str, secret: str) -> bool:
    """Return True if a query contains the secret's signature in any encoding."""
    signature = parse_qs(secret).get("sig", [""])[0]
    return bool(signature) and signature.replace(" ", "+") in unquote(unquote(query)).replace(" ", "+")
