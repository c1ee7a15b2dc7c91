"""An Azure Blob container with a SAS token, or an anonymous container or web server, as a source.

It uses the REST API directly: the SDK takes 1.15 to 2 times the CPU time, retries permanent errors, ignores
`Retry-After`, and accepts a short but self-consistent 206 response. The full URL is built for each request and never
displayed, because it contains the token. `errors` translates error responses.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from models_init.core.errors import (
    AccessError,
    ModelsInitError,
    SourceError,
    UnavailableError,
    UsageError,
    WrongBytesError,
)
from models_init.sources.azure.errors import Client, ErrorResponse, error_for, redirect_error, unavailable
from models_init.sources.azure.sas import GET_A_TOKEN, SasToken
from models_init.sources.http.client import ANONYMOUS, Credentials, HttpClient, TransportOptions
from models_init.sources.http.ranges import check_range
from models_init.sources.probe import Credential, ProbeResult

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from xml.etree import ElementTree as ET

    from models_init.sources.http.response import Response
    from models_init.sources.source import Sink

_POLL_SECONDS = 1.0  # between checks for a newer token
_ERROR_LIMIT = 64 << 10  # bytes; maximum size of an error's body
_LIST_LIMIT = 8 << 20  # bytes of one page of a listing: 5000 names of at most 1 KiB


@dataclass(frozen=True, slots=True)
class TokenRefresh:
    """Options for waiting for a newer token, up to `seconds`, when a token that worked before is refused.

    `on_refusal` is called once for each refused token.
    """

    seconds: float
    on_refusal: Callable[[AccessError], None]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


@dataclass(frozen=True, slots=True)
class ContainerAccess:
    """Access to a container. `read_token` returns the text of the newest token each time it is called.

    Without `read_token`, requests have no token. Without `renewal`, a refused token is a permanent error unless a newer
    one is available immediately. `setting` is the setting that contains the URL, for messages.
    """

    url: str
    prefix: str
    read_token: Callable[[], str] | None
    transport: TransportOptions = field(default_factory=TransportOptions)
    renewal: TokenRefresh | None = None
    setting: str = "MODELS_URL"

    def usable_token(self) -> SasToken | None:
        """Return the token, or None if requests have no token.

        Raises `AccessError` if no service would accept it, and the errors of `read_token`.
        """
        token = SasToken.make(self.read_token()) if self.read_token else None
        if token and (flaw := token.flaw(urlsplit(self.url).scheme)):
            raise AccessError(f"the SAS token {flaw}; {GET_A_TOKEN} and run again")
        return token


class AzureSource:
    """The blobs of `access.url` whose names begin with `access.prefix`; their keys are the names without the prefix."""

    def __init__(self, access: ContainerAccess) -> None:
        self._access = access
        self._base = access.url.rstrip("/")
        self._http = HttpClient(self._base, access.transport)
        self._token = access.usable_token()
        self._etags: dict[str, str] = {}
        self._uncached: set[str] = set()  # keys that are requested with `Cache-Control: no-cache`
        self._caches: dict[str, str] = {}  # the cache that sent the latest range of a key, for messages
        self._accepted: SasToken | None = None  # the latest token that the service accepted
        self._not_renewed: SasToken | None = None  # the token for which no replacement came in time
        self._renewing = asyncio.Lock()

    @property
    def name(self) -> str:
        """The container's URL with the prefix, without the token."""
        return f"{self._base}/{self._access.prefix}"

    async def read(self, key: str, limit: int) -> bytes:
        """See `Source.read`."""
        async with self._get(self._blob(key)) as response:
            self._expect(response, 200)
            if response.header("Content-Type").startswith("text/html"):
                raise UnavailableError(
                    f"{self._http.host} answered with a web page instead of {key}, as networks with a login page do; "
                    "check MODELS_URL, the network and the proxy"
                )
            return await response.body(limit, key)

    async def get_range(self, key: str, start: int, stop: int, sink: Sink) -> None:
        """See `Source.get_range`. Raises `WrongBytesError`: the blob has changed since its first range."""
        if not 0 <= start < stop:
            raise SourceError(f"bytes {start} to {stop} of {key} are not a valid range")
        headers = {"Range": f"bytes={start}-{stop - 1}"}
        if (etag := self._etags.get(key, "")) and etag.isascii() and not etag.startswith("W/"):
            headers["If-Match"] = etag  # a weak ETag would never match
        if key in self._uncached:
            headers["Cache-Control"] = "no-cache"
        async with self._get(self._blob(key), headers) as response:
            self._check_range(response, key, start, stop)
            self._caches[key] = response.cache
            if await response.read_into(sink, stop - start) < stop - start:
                raise UnavailableError(f"{self._http.host} ended its response for {key} too early; check the network")

    async def names(self, directory: str) -> list[str]:
        """See `Source.names`."""
        prefix = self._access.prefix + (f"{directory.rstrip('/')}/" if directory else "")
        names, marker = set[str](), ""
        while True:
            query = f"restype=container&comp=list&delimiter=%2F&prefix={quote(prefix, safe='')}"
            async with self._get(f"{self._base}?{query}&marker={quote(marker, safe='')}") as response:
                self._expect(response, 200)
                page = self._parsed_list(await response.body(_LIST_LIMIT, "the list of blobs"))
            names.update(name.removeprefix(prefix).rstrip("/") for name in _listed(page))
            marker = page.findtext("NextMarker") or ""
            if not marker:
                return sorted(names)

    def recompressed(self, _key: str) -> None:
        """See `Source.recompressed`: archives are stored as they were published."""

    def unavailable_reason(self, _key: str, _start: int, _stop: int) -> str:
        """See `Source.unavailable_reason`: a container never omits parts of an archive on purpose."""
        return ""

    def report_wrong(self, key: str, _start: int, _stop: int, _reason: str) -> bool:
        """See `Source.report_wrong`."""
        self._uncached.add(key)
        return False

    def repair_hint(self, key: str, _start: int) -> str:
        """See `Source.repair_hint`."""
        advice = "the publisher must upload the pack again"
        if cache := self._caches.get(key):
            return f"it came through a cache ({cache}): clear that cache and run again; if that does not help, {advice}"
        return advice

    async def close(self) -> None:
        """Close all connections."""
        await self._http.close()

    @property
    def _scheme(self) -> str:
        return urlsplit(self._base).scheme

    def _blob(self, key: str) -> str:
        return f"{self._base}/{quote(self._access.prefix + key)}"

    @asynccontextmanager
    async def _get(self, url: str, headers: dict[str, str] | None = None) -> AsyncIterator[Response]:
        """Send a GET request; if the token is refused, repeat it with a newer token if one is available in time."""
        response, used = await self._send(url, headers)
        try:
            while response.status >= 400:
                error = await self._status_error(response, used)
                if not isinstance(error, AccessError) or not await self._is_renewed(used, error):
                    raise error
                response.release()
                response, used = await self._send(url, headers)
            self._accepted = used
            yield response
        finally:
            response.release()

    async def _send(self, url: str, headers: dict[str, str] | None) -> tuple[Response, SasToken | None]:
        used = self._token
        return await self._http.get(url, headers, Credentials(used.query) if used else ANONYMOUS), used

    async def _is_renewed(self, used: SasToken | None, refusal: AccessError) -> bool:
        """Return True if there is a token other than `used`. If `used` worked before, wait for another one.

        Concurrent requests share one wait, and there is only one wait for each token.
        """
        if not used or not refusal.new_token_helps:
            return False
        if self._reload_token(used):
            return True
        renewal = self._access.renewal
        if not renewal or self._accepted != used:
            return False
        async with self._renewing:
            if self._not_renewed != used and not self._reload_token(used):
                renewal.on_refusal(refusal)
                until = monotonic() + renewal.seconds
                while not self._reload_token(used) and monotonic() < until:
                    await renewal.sleep(_POLL_SECONDS)
                self._not_renewed = used
        return self._token != used

    def _reload_token(self, used: SasToken) -> bool:
        """Read the token again; return True if it differs from `used`, even if a concurrent request has replaced it."""
        with suppress(UsageError):  # the token file is being replaced
            token = SasToken.make(self._access.read_token() if self._access.read_token else "")
            if not token.flaw(self._scheme):
                self._token = token
        return self._token != used

    def _expect(self, response: Response, status: int) -> None:
        if response.status != status:
            raise UnavailableError(
                f"{self._http.host} answered {response.status} instead of {status}; if this persists, a proxy changes "
                "requests, or the server does not support ranges"
            )

    def _check_range(self, response: Response, key: str, start: int, stop: int) -> None:
        """Check that the response has exactly the requested range, of the same version of the blob as before."""
        etag = response.header("ETag")
        if response.status == 206 and self._etags.setdefault(key, etag) != etag:
            raise _republished(key)
        check_range(response, key, start, stop)

    async def _status_error(self, response: Response, used: SasToken | None) -> ModelsInitError:
        """Return the exception for a status of 400 or above."""
        client = Client(self._http.host, self._base, self._access.setting, "r and l")
        if response.elsewhere:  # the token was not sent there, so it is not the reason
            refusal = ErrorResponse.of(response.status, response.header)
            return redirect_error(refusal, client, response.elsewhere, has_token=bool(used))
        return error_for(await _error_response(response), client, used)

    def _parsed_list(self, page: bytes) -> ET.Element:
        """Parse a page of a list. A response that is not XML is a permanent error: a retry would get the same page."""
        if (parsed := _parsed(page)) is None:
            raise SourceError(
                f"{self._http.host} answered with something else than a list of blobs; check MODELS_URL and the proxy"
            )
        return parsed


class AzureProbe:
    """See `EndpointProbe`. It requests the container without a token; any status that is not transient is success."""

    def __init__(self, access: ContainerAccess) -> None:
        self._access = access

    async def ping(self) -> ProbeResult:
        """See `EndpointProbe.ping`."""
        base = self._access.url.rstrip("/")
        http = HttpClient(base, self._access.transport)
        try:
            response = await http.get(f"{base}?restype=container")
            response.release()
            error = ErrorResponse.of(response.status, response.header)
            if error.is_transient:
                raise unavailable(error, http.host)
            return ProbeResult(http.host, http.connection_summary, error.date)
        finally:
            await http.close()

    def credential(self) -> Credential | None:
        """See `EndpointProbe.credential`."""
        if not self._access.read_token:
            return None
        token = SasToken.make(self._access.read_token())
        return Credential(token.scope(), token.flaw(urlsplit(self._access.url).scheme), token.expires, token.time_flaw)


async def _error_response(response: Response) -> ErrorResponse:
    code = detail = ""
    with suppress(ModelsInitError):
        if (body := _parsed(await response.body(_ERROR_LIMIT, "an error"))) is not None:
            code, detail = body.findtext("Code") or "", body.findtext("AuthenticationErrorDetail") or ""
    return ErrorResponse.of(response.status, response.header, code=code, detail=detail, path=response.path)


def _republished(key: str) -> WrongBytesError:
    return WrongBytesError(f"{key} was replaced while it was fetched; run again to get the new one")


def _parsed(page: bytes) -> ET.Element | None:
    """Return the root of an XML document, or None if the document is not XML."""
    from xml.etree import ElementTree as ET  # noqa: PLC0415 - needed only for listings and errors

    try:
        return ET.fromstring(page)  # noqa: S314 - expat limits entity expansion, and the page's size is limited
    except (ET.ParseError, ValueError, LookupError):  # the last two: an encoding that expat or Python does not know
        return None


def _listed(page: ET.Element) -> list[str]:
    return [name.text or "" for name in page.iterfind("Blobs/*/Name")]
