"""Send authorized requests to a registry, and follow its redirects to data hosts without the authorization."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from models_init.core.errors import SourceError, UnavailableError
from models_init.sources.http.client import ANONYMOUS, Credentials, HttpClient, HttpRequest, TransportOptions
from models_init.sources.http.dates import http_date
from models_init.sources.http.errors import NotTlsError
from models_init.sources.http.origin import Origin
from models_init.sources.oci.challenges import parse_challenge
from models_init.sources.oci.errors import error_for, read_error, unavailable
from models_init.sources.oci.links import BlobLink, make_link
from models_init.sources.oci.scheme import SchemeChoice
from models_init.sources.oci.tokens import Authorizer, Scope
from models_init.sources.probe import ProbeResult

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from io import BytesIO

    from models_init.sources.http.response import Response
    from models_init.sources.oci.challenges import Challenge
    from models_init.sources.oci.credential_files import RegistryCredentials

_REDIRECTS = {301, 302, 303, 307, 308}
_HOPS = 4  # requests for one blob: redirects within the registry, and links that have expired
_DEAD_LINK = {400, 401, 403, 404, 410}
"""Statuses with which a data host refuses an expired link; the token is not the cause."""


_NO_HEADERS: Mapping[str, str] = {}


class Request(NamedTuple):
    """A request for a path, which begins with `/v2/`, or for a URL of the registry.

    `body` is called for each attempt.
    """

    method: str
    path: str
    scope: Scope
    headers: Mapping[str, str] = _NO_HEADERS
    body: Callable[[], BytesIO] | None = None


def _anonymous(_repository: str) -> RegistryCredentials | None:
    return None


@dataclass(frozen=True, slots=True)
class RegistryAccess:
    """Access to a registry: its URL (`https://HOST`), the prefix of its repositories, and their credentials.

    `read_credentials` takes the name of a repository and is called whenever a token is needed. With `allow_http`, plain
    http is used if the server does not support TLS. `image_path` is the directory of a pack in an ordinary image, with
    `{pack}` for the pack's name, or empty for the default.
    """

    url: str
    prefix: str = ""
    read_credentials: Callable[[str], RegistryCredentials | None] = _anonymous
    transport: TransportOptions = field(default_factory=TransportOptions)
    allow_http: bool = False
    image_path: str = ""

    @property
    def host(self) -> str:
        """Host and port, as the user wrote them."""
        return urlsplit(self.url).netloc

    def repository(self, pack: str) -> str:
        """Return the repository of a pack."""
        return f"{self.prefix}/{pack}" if self.prefix else pack

    def image_paths(self, pack: str) -> tuple[str, ...]:
        """Return the directories of an ordinary image in which a pack is searched for, in this order."""
        paths = (self.image_path,) if self.image_path else ("/models/{pack}", "/models")
        return tuple(path.replace("{pack}", pack) for path in paths)


class Registry:
    """A client of the registry at `access.url`."""

    def __init__(self, access: RegistryAccess) -> None:
        self._http = HttpClient(access.url, access.transport)
        self._scheme = SchemeChoice(self._http, allow_http=access.allow_http)
        self._authorizer = Authorizer(self._http, access.read_credentials)
        self._links: dict[str, BlobLink] = {}
        self._asking: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._direct: set[str] = set()  # blobs that the registry sends itself

    @property
    def host(self) -> str:
        """Name and port of the registry, for messages."""
        return self._http.host

    @property
    def base(self) -> str:
        """The URL of the registry; its scheme is known after the first request."""
        return self._http.base

    async def close(self) -> None:
        """Close all connections."""
        await self._http.close()

    async def ping(self) -> ProbeResult:
        """Request the base of the API without credentials, and close all connections."""
        try:
            await self._scheme.make()
            response = await self._http.get(f"{self.base}/v2/")
            response.release()
            if response.status in (408, 429) or response.status >= 500:
                raise unavailable(await read_error(response))
            return ProbeResult(self.host, self._http.connection_summary, http_date(response.header("Date")))
        finally:
            await self.close()

    @asynccontextmanager
    async def send(self, request: Request, expected: frozenset[int] = frozenset()) -> AsyncIterator[Response]:
        """Send a request and yield the response.

        A status of 400 or above raises the exception for it, unless it is `expected`.
        """
        response = await self._authorized(request)
        try:
            if response.status >= 400 and response.status not in expected:
                error = await read_error(response)
                what = request.path.partition("?")[0].removeprefix(self.base).removeprefix("/v2/")
                raise error_for(error, request.scope, what, anonymous=not self._authorizer.current(request.scope))
            yield response
        finally:
            response.release()

    @asynccontextmanager
    async def blob(
        self, repository: str, digest: str, headers: Mapping[str, str] = _NO_HEADERS
    ) -> AsyncIterator[Response]:
        """Request a blob and yield the response of the registry or of the data host to which it redirects.

        After a failure, the registry is asked again, because it may redirect to another data host.
        """
        scope = Scope(repository)
        request = Request("GET", f"/v2/{repository}/blobs/{digest}", scope, headers)
        try:
            response = await self._blob(request)
            try:
                if response.status >= 400:
                    error = await read_error(response)
                    raise error_for(error, scope, f"blob {digest} of {repository}", anonymous=False)
                yield response
            finally:
                response.release()
        except UnavailableError as fault:
            if not fault.overloaded:
                self._links.pop(request.path, None)
            raise

    async def _blob(self, request: Request) -> Response:
        for _ in range(_HOPS):
            if request.path in self._direct:
                response = await self._authorized(request, follow_redirects=False)
                if not _is_redirect(response):
                    return response
                response.release()
                self._direct.discard(request.path)
            link, direct = await self._link(request)
            if direct:
                return direct
            response = await self._http.get(link.url, request.headers)
            if response.status not in _DEAD_LINK:
                return await self._from_data_host(response)
            response.release()
            if self._links.get(request.path) is link:
                del self._links[request.path]
        raise UnavailableError(
            f"{self.host} redirects to {Origin.of(link.url).name}, which refuses new links; check that the firewall "
            "and the proxy admit both hosts, and this machine's clock"
        )

    async def _link(self, request: Request) -> tuple[BlobLink, Response | None]:
        """Return the link for a blob, cached if possible, or the response if the registry sends the blob itself.

        Concurrent requests for the same blob share one link.
        """
        async with self._asking[request.path]:
            if (link := self._links.get(request.path)) and link.is_usable:
                return link, None
            response = await self._authorized(request, follow_redirects=False)
            if not _is_redirect(response):
                if response.status < 400:
                    self._direct.add(request.path)
                return BlobLink("", 0.0), response
            target = response.location
            response.release()
            self._check_target(target)
            if Origin.of(target) == Origin.of(self.base):
                return BlobLink("", 0.0), await self._authorized(request._replace(path=target))
            link = self._links[request.path] = make_link(target)
            return link, None

    def _check_target(self, target: str) -> None:
        """Raise `SourceError`: the target of a redirect is not a web address, or leaves TLS."""
        if not target:
            raise SourceError(f"{self.host} redirects to something that is not a web address; check MODELS_URL")
        if urlsplit(self.base).scheme == "https" and urlsplit(target).scheme != "https":
            raise SourceError(
                f"{self.host} redirects to http://{Origin.of(target).name}, without encryption; ask the registry's "
                "operator to change it to https"
            )

    async def _from_data_host(self, response: Response) -> Response:
        """Return the response of a data host, even if its status is 416. Raises the exception for any other error."""
        if response.status < 400 or response.status == 416:
            return response
        error = await read_error(response)
        response.release()
        if error.is_transient:
            raise unavailable(error)
        raise SourceError(
            f"{self.host} redirects to {error.host}: {error}; check that the firewall and the proxy admit it"
        )

    async def _authorized(self, request: Request, *, follow_redirects: bool = True) -> Response:
        """Send a request; if its authorization is refused, renew it and repeat the request once.

        A renewal by a concurrent request does not count as that one renewal.
        """
        await self._scheme.make()
        method, path, scope, headers, body = request
        url = path if "://" in path else self.base + path
        is_fresh = False
        while True:
            used = self._authorizer.current(scope)
            is_own = Origin.of(url) == Origin.of(self.base)  # not a data host at which an upload continues
            authorization = Credentials(headers=(("Authorization", used),)) if used and is_own else ANONYMOUS
            sent = HttpRequest(method, url, headers or {}, body() if body else None)
            try:
                response = await self._http.send(sent, authorization, follow_redirects=follow_redirects)
            except NotTlsError as error:
                raise self._scheme.explained(error) from None
            challenge = parse_challenge(response.all_values("WWW-Authenticate"))
            if response.elsewhere or not self._may_renew(request.scope, response.status, used, challenge):
                return response
            if is_fresh and not used.startswith("Basic "):  # with a wrong password, `renew` raises the error
                return response
            is_fresh = self._authorizer.current(scope) == used
            try:
                renewed = await self._authorizer.renew(scope, used, challenge)
            except BaseException:
                response.release()
                raise
            if not renewed:
                return response
            response.release()

    def _may_renew(self, scope: Scope, status: int, used: str, challenge: Challenge | None) -> bool:
        """Return True if another authorization may help: some registries answer 400 or 403 for an expired token."""
        if status == 401:
            return not used or not self._authorizer.is_denied(scope, challenge)
        return status in (400, 403) and used.startswith("Bearer ")


def _is_redirect(response: Response) -> bool:
    return response.status in _REDIRECTS and bool(response.header("Location"))
