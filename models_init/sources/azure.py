"""An Azure Blob container as a source, opened with a SAS token.

Plain REST through aiohttp: the SDK costs 1.15 to 2 times the CPU, retries what is final, ignores `Retry-After`, and
takes a short but self-consistent 206 for good. The URL is built anew for every request and is never shown: it holds
the token. Status and error codes: https://learn.microsoft.com/rest/api/storageservices/blob-service-error-codes;
Azurite says `AuthorizationFailure` where Azure says `AuthenticationFailed`, so both are judged alike.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit
from urllib.request import getproxies, proxy_bypass
from xml.etree import ElementTree as ET

import aiohttp
from yarl import URL

from models_init import __version__
from models_init.errors import (
    AccessError,
    ModelsInitError,
    NotFoundError,
    SourceError,
    UnavailableError,
    UsageError,
    WrongBytesError,
)
from models_init.sources.sas import SasToken

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from models_init.sources.source import Sink

CONNECT_LIMIT = 15.0
"""Seconds for a TCP connection with TLS."""

_READ_SIZE = 256 << 10  # asyncio receives at most this much at once; 1.1 to 1.26 times the default's speed (measured)
_ERROR_LIMIT = 64 << 10  # bytes of an error's body that are looked at
_LIST_LIMIT = 8 << 20  # bytes of one page of a listing: 5000 names of at most 1 KiB
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)\Z")


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach a container: `read_token` gives the newest token's text each time it is called.

    `idle_limit` is in seconds: a connection that brings no byte for that long is given up.
    """

    url: str
    prefix: str
    read_token: Callable[[], str]
    idle_limit: float = 30.0
    ca_file: str = ""


class AzureSource:
    """Blobs of the container `access.url` whose names begin with `access.prefix`; keys are the rest of their names."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._base = access.url.rstrip("/")
        self._token = SasToken.make(access.read_token())
        self._etags: dict[str, str] = {}
        self._session: aiohttp.ClientSession | None = None
        if flaw := self._token.flaw():
            raise AccessError(f"the SAS token {flaw}; {_GET_A_TOKEN}")

    @property
    def name(self) -> str:
        """The container's URL with the prefix, without the token."""
        return f"{self._base}/{self._access.prefix}"

    async def read(self, key: str, limit: int) -> bytes:
        """See `Source.read`."""
        async with self._get(self._blob(key)) as response:
            self._expect(response, 200)
            return await self._body(response, limit, key)

    async def get_range(self, key: str, start: int, stop: int, sink: Sink) -> None:
        """See `Source.get_range`. A blob that changes between two ranges is a `WrongBytesError`."""
        if not 0 <= start < stop:
            raise SourceError(f"bytes {start} to {stop} of {key} are no range")
        headers = {"Range": f"bytes={start}-{stop - 1}"}
        if etag := self._etags.get(key):
            headers["If-Match"] = etag
        async with self._get(self._blob(key), headers) as response:
            self._expect(response, 206)
            self._check_range(response, key, start, stop)
            missing = stop - start
            while missing:
                piece = await self._next(response, key)
                await sink(memoryview(piece)[:missing])
                missing -= min(missing, len(piece))

    async def names(self, folder: str) -> list[str]:
        """See `Source.names`."""
        prefix = self._access.prefix + (f"{folder.rstrip('/')}/" if folder else "")
        names, marker = set[str](), ""
        while True:
            query = f"restype=container&comp=list&delimiter=%2F&prefix={quote(prefix, safe='')}"
            async with self._get(f"{self._base}?{query}&marker={quote(marker, safe='')}") as response:
                self._expect(response, 200)
                page = _parsed(await self._body(response, _LIST_LIMIT, "the list of blobs"))
            names.update(name.removeprefix(prefix).rstrip("/") for name in _listed(page))
            marker = page.findtext("NextMarker") or ""
            if not marker:
                return sorted(names)

    async def close(self) -> None:
        """Close all connections."""
        if self._session:
            await self._session.close()

    def _blob(self, key: str) -> str:
        return f"{self._base}/{quote(self._access.prefix + key)}"

    @asynccontextmanager
    async def _get(self, url: str, headers: dict[str, str] | None = None) -> AsyncIterator[aiohttp.ClientResponse]:
        """One GET; where the token is refused and a newer one is there, a second one with that."""
        used = self._token
        response = await self._send(url, headers)
        try:
            if response.status in (401, 403) and self._renewed(used):
                response.release()
                response = await self._send(url, headers)
            if response.status >= 400:
                raise await self._refusal(response)
            yield response
        finally:
            response.release()

    async def _send(self, url: str, headers: dict[str, str] | None) -> aiohttp.ClientResponse:
        joint = "&" if "?" in url else "?"
        signed = URL(f"{url}{joint}{self._token.query}", encoded=True)
        with _translated(self._host):
            return await self._opened().get(signed, headers=headers, allow_redirects=False)

    def _opened(self) -> aiohttp.ClientSession:
        if not self._session:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, ssl=_tls(self._access.ca_file)),
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=CONNECT_LIMIT, sock_read=self._access.idle_limit
                ),
                headers={"User-Agent": f"models_init/{__version__}", "Accept-Encoding": "identity"},
                auto_decompress=False,
                read_bufsize=_READ_SIZE,
                proxy=_proxy(self._base),
            )
        return self._session

    def _renewed(self, used: SasToken) -> bool:
        """Take up a newer token; tell whether there is another than `used`: a request beside this may have found it."""
        token = SasToken.make(self._access.read_token())
        if not token.flaw():
            self._token = token
        return self._token != used

    @property
    def _host(self) -> str:
        return urlsplit(self._base).netloc

    def _expect(self, response: aiohttp.ClientResponse, status: int) -> None:
        if response.status != status:
            raise UnavailableError(
                f"{self._host} answered {response.status} where {status} is due; "
                "if it goes on, a proxy in between is changing requests"
            )

    def _check_range(self, response: aiohttp.ClientResponse, key: str, start: int, stop: int) -> None:
        """Believe nothing but the range that was asked for, of the blob that was first seen."""
        etag = response.headers.get("ETag", "")
        if self._etags.setdefault(key, etag) != etag:
            raise _republished(key)
        found = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
        if not found or (int(found[1]), int(found[2])) != (start, stop - 1):
            if found and int(found[3]) < stop:
                raise SourceError(
                    f"{key} has {found[3]} bytes, {start} to {stop} were asked for: the publisher must upload it anew"
                )
            raise UnavailableError(f"{self._host} answered with another range of {key} than bytes {start}-{stop - 1}")
        if response.content_length not in (None, stop - start):
            raise UnavailableError(f"{self._host} announced {response.content_length} bytes for {stop - start}")

    async def _next(self, response: aiohttp.ClientResponse, key: str) -> bytes:
        with _translated(self._host):
            piece = await response.content.readany()
        if not piece:
            raise UnavailableError(f"{self._host} ended its answer for {key} too early")
        return piece

    async def _body(self, response: aiohttp.ClientResponse, limit: int, what: str) -> bytes:
        body = bytearray()
        with _translated(self._host):
            async for piece in response.content.iter_any():
                body += piece
                if len(body) > limit:
                    raise SourceError(
                        f"{what} on {self._host} is larger than {limit} bytes: it is not what it should be"
                    )
        return bytes(body)

    async def _refusal(self, response: aiohttp.ClientResponse) -> ModelsInitError:
        """Tell in our words what a status of 400 or above means."""
        code, detail = response.headers.get("x-ms-error-code", ""), ""
        with suppress(ModelsInitError, ET.ParseError):
            body = ET.fromstring(await self._body(response, _ERROR_LIMIT, "an error"))  # noqa: S314 - expat caps it
            code = code or body.findtext("Code") or ""
            detail = body.findtext("AuthenticationErrorDetail") or ""
        answer = f"{self._host} answered {response.status} {code}".rstrip()
        if response.status in (401, 403) or code in _NO_PUBLIC_ACCESS:
            return AccessError(f"{self._accusation(code, detail, _date(response))} ({answer}); {_GET_A_TOKEN}")
        if response.status == 404:
            return self._absence(code, response)
        if response.status == 412:
            return _republished(_path(response))
        if response.status == 416:
            return SourceError(
                f"{answer}: {_path(response)} is shorter than it should be; the publisher must upload it anew"
            )
        if response.status in (408, 429) or response.status >= 500:
            return UnavailableError(f"{answer}: it is overloaded or down", retry_after=_retry_after(response))
        return SourceError(f"{answer} for {_path(response)}; check MODELS_URL and the token")

    def _accusation(self, code: str, detail: str, service_time: datetime | None) -> str:
        """Say what the token lacks: by the service's clock, by its code, or by elimination."""
        now = service_time or datetime.now(UTC)
        if flaw := self._token.flaw() or self._token.time_flaw(now):
            return f"the SAS token {flaw}{_skew(service_time)}"
        if "time frame" in detail:
            return f"the SAS token is not valid at this time{_skew(service_time)}"
        if code in _MEANINGS:
            return f"the SAS token {_MEANINGS[code].format(permissions=self._token.field('sp'))}"
        return (
            f"the SAS token does not fit the container {self._base}: its signature is wrong, or it was made for "
            "another container or account, or was revoked, or the account's firewall does not admit this machine"
        )

    def _absence(self, code: str, response: aiohttp.ClientResponse) -> NotFoundError:
        if code in {"ContainerNotFound", "ContainerBeingDeleted"}:
            return NotFoundError(f"there is no container {self._base}; check MODELS_URL")
        return NotFoundError(f"{self._host} has no {_path(response)}")


_GET_A_TOKEN = "put a valid token into MODELS_SAS_TOKEN or MODELS_SAS_TOKEN_FILE and run again"  # noqa: S105 - no token
_NO_PUBLIC_ACCESS = {"PublicAccessNotPermitted", "NoAuthenticationInformation"}
_MEANINGS = {
    "AuthorizationPermissionMismatch": "lacks the permission for this (sp={permissions}; r and l are needed)",
    "AuthorizationResourceTypeMismatch": "is not for this type of resource",
    "AuthorizationServiceMismatch": "is not for the blob service",
    "AuthorizationProtocolMismatch": "is for https only",
    "AuthorizationSourceIPMismatch": "is for another IP address than this machine's (sip=)",
}


class _translated:  # noqa: N801 - reads as a statement
    """Turns aiohttp's errors into ours; their own texts may hold the URL, so none is repeated."""

    def __init__(self, host: str) -> None:
        self._host = host

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (aiohttp.ClientError, TimeoutError, OSError, asyncio.IncompleteReadError, ValueError)):
            raise _fault(error, self._host) from None


def _fault(error: Exception, host: str) -> ModelsInitError:
    final = _final(error, host)
    return SourceError(final) if final else UnavailableError(_passing(error, host))


def _final(error: Exception, host: str) -> str:
    """What another try will not change, or an empty string."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            why = getattr(error.certificate_error, "verify_message", "no reason given")
            return f"the certificate of {host} is not trusted: {why}; name your CA's file in MODELS_CA_FILE"
        case aiohttp.ClientSSLError():
            return f"{host} does not speak TLS as it should; check MODELS_URL and the proxy"
        case aiohttp.ClientHttpProxyError():
            return f"the proxy refuses to connect to {host}: it answered {error.status}; check HTTPS_PROXY"
        case _:
            return ""


def _passing(error: Exception, host: str) -> str:
    match error:
        case aiohttp.ClientConnectorDNSError():
            return f"the name of {host} cannot be resolved; check MODELS_URL, DNS and the proxy"
        case aiohttp.ClientProxyConnectionError():
            return "the proxy cannot be reached; check HTTPS_PROXY"
        case aiohttp.ClientConnectorError():
            return f"{host} cannot be reached: {error.strerror or 'no connection'}; check the network"
        case TimeoutError():
            return f"{host} did not answer in time; check the network"
        case aiohttp.ClientPayloadError() | aiohttp.ServerDisconnectedError() | OSError():
            return f"{host} broke off the connection; check the network"
        case _:
            return f"{host} answered with something that is not HTTP; check MODELS_URL and the proxy"


def _republished(key: str) -> WrongBytesError:
    return WrongBytesError(f"{key} was replaced while it was fetched; run again to get the new one")


def _tls(ca_file: str) -> ssl.SSLContext | bool:
    if not ca_file:
        return True
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError) as error:
        raise UsageError(f"MODELS_CA_FILE={ca_file} cannot be read as certificates: {error}") from error


def _proxy(url: str) -> str | None:
    """The environment's proxy. Not `trust_env`: that adds what ~/.netrc says, and Azure refuses that beside a token."""
    parts = urlsplit(url)
    return None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)


def _path(response: aiohttp.ClientResponse) -> str:
    return response.url.path.lstrip("/")


def _date(response: aiohttp.ClientResponse) -> datetime | None:
    try:
        return parsedate_to_datetime(response.headers.get("Date", ""))
    except ValueError:
        return None


def _skew(service_time: datetime | None, tolerated: float = 120.0) -> str:
    if not service_time:
        return ""
    seconds = (datetime.now(UTC) - service_time).total_seconds()
    if abs(seconds) < tolerated:
        return ""
    return f" (this machine's clock is {abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'} the service's)"


def _retry_after(response: aiohttp.ClientResponse) -> float | None:
    text = response.headers.get("Retry-After", "")
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


def _parsed(page: bytes) -> ET.Element:
    try:
        return ET.fromstring(page)  # noqa: S314 - expat caps entity expansion, the page's size is capped
    except ET.ParseError:
        raise UnavailableError("the list of blobs is not readable XML; a proxy in between may be changing it") from None


def _listed(page: ET.Element) -> list[str]:
    return [name.text or "" for name in page.iterfind("Blobs/*/Name")]
