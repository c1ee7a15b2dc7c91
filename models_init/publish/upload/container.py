"""Read from and write to a blob container through the Azure SDK.

No other module uses the SDK or sees its exceptions. Every write of a blob is conditional on the existing blob.
"""

from __future__ import annotations

import os
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import aiohttp
from azure.core import MatchConditions
from azure.core.credentials import AzureSasCredential
from azure.core.exceptions import AzureError, HttpResponseError, ServiceResponseTimeoutError
from azure.core.pipeline.transport import AioHttpTransport
from azure.storage.blob import BlobBlock, ContentSettings
from azure.storage.blob.aio import ContainerClient

from models_init import __version__
from models_init.core.errors import AccessError, ModelsInitError, NotFoundError, SourceError, UnavailableError
from models_init.sources.azure.error_codes import CODES
from models_init.sources.azure.errors import Client, ErrorResponse, error_for
from models_init.sources.azure.sas import GET_A_TOKEN, SasToken
from models_init.sources.http.origin import Origin
from models_init.sources.http.proxies import proxy_for
from models_init.sources.http.tls import client_context

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence

    from models_init.sources.wrappers.retry import Retrier

T = TypeVar("T")

CONNECT_LIMIT = 15.0
"""Timeout in seconds for establishing a TCP connection with TLS."""

IDLE_LIMIT = 60.0
"""Timeout in seconds without any byte of a response."""

_DIGEST_KEY = "digest"
_READ_SIZE = 256 << 10  # bytes per read of a response, as in the SDK's own transport
_SINGLE_PUT = 256 << 20  # bytes; a manifest of any size is uploaded in one request, which succeeds or fails as a whole


class ConflictError(Exception):
    """The condition of a write was not met. Internal: the caller reads the blob again and decides."""


@dataclass(frozen=True, slots=True)
class UploadTarget:
    """The upload destination: the container's URL, the token's text, the retries, and a CA file."""

    url: str
    token: str
    retrier: Retrier
    ca_file: str = ""


@dataclass(frozen=True, slots=True)
class BlobProperties:
    """Properties of a blob; `size` is in bytes, `digest` is empty unless the uploader set it as metadata."""

    size: int
    digest: str
    etag: str


@dataclass(frozen=True, slots=True)
class BlobContent:
    """The whole content of a small blob."""

    data: bytes
    etag: str


@asynccontextmanager
async def opened(target: UploadTarget) -> AsyncIterator[Container]:
    """Open the container.

    Raises `AccessError`: the token is malformed, expired or without permission to write.
    Raises `UsageError`: the CA file cannot be used.
    """
    token = SasToken.make(target.token)
    if flaw := token.flaw() or _write_flaw(token):
        raise AccessError(f"the SAS token {flaw}; {GET_A_TOKEN} and run again")
    async with _transport(target) as transport:
        client = ContainerClient.from_container_url(
            target.url,
            credential=AzureSasCredential(token.query),
            retry_total=0,  # the SDK ignores Retry-After, does not retry a 429, retries permanent errors for minutes
            transport=transport,
            max_single_put_size=_SINGLE_PUT,
            permit_redirects=False,  # the token must not be sent to another host
            user_agent=f"models_init/{__version__}",
        )
        async with client:
            yield Container(client, token, target.retrier)


class Container:
    """Reads and conditional writes of blobs.

    Methods retry failed requests with `retrier`. They raise only this project's errors and `ConflictError`.
    """

    def __init__(self, client: ContainerClient, token: SasToken, retrier: Retrier) -> None:
        self._client = client
        self._token = token
        self._retrier = retrier

    @property
    def url(self) -> str:
        """The container's URL, without the token."""
        url = urlsplit(self._client.url)
        return f"{url.scheme}://{url.netloc}{url.path}"

    async def properties(self, key: str) -> BlobProperties | None:
        """Return the properties of a blob, or None if it does not exist."""
        found = await self._if_exists(lambda: self._client.get_blob_client(key).get_blob_properties())
        if found is None:
            return None
        return BlobProperties(found.size, (found.metadata or {}).get(_DIGEST_KEY, ""), found.etag)

    async def read(self, key: str, limit: int) -> BlobContent | None:
        """Return a small blob, or None if it does not exist.

        Raises `SourceError`: the blob has more than `limit` bytes.
        """

        async def call() -> BlobContent:
            blob = await self._client.get_blob_client(key).download_blob()
            if blob.size > limit:
                raise SourceError(f"{key} has {blob.size} bytes, which is too large; check --url and --prefix")
            return BlobContent(bytes(await blob.readall()), blob.properties.etag)

        return await self._if_exists(call)

    async def put(self, key: str, data: bytes, content_type: str, replaced_etag: str | None = None) -> None:
        """Write a small blob that does not exist yet, or replace the one whose ETag is `replaced_etag`.

        Raises `ConflictError`: the blob exists, or its ETag differs from `replaced_etag`.
        """
        blob = self._client.get_blob_client(key)
        await self._with_retries(
            lambda: blob.upload_blob(
                BytesIO(data),  # aiohttp writes a bytes body in one call, and warns that this blocks the event loop
                length=len(data),
                overwrite=True,
                content_settings=ContentSettings(content_type=content_type),
                **_condition(replaced_etag),
            )
        )

    async def staged(self, key: str) -> dict[str, int]:
        """Return the sizes in bytes of the uncommitted blocks of a blob, by block id."""
        found = await self._if_exists(lambda: self._client.get_blob_client(key).get_block_list("uncommitted"))
        return {str(block.id): int(block.size) for block in found[1]} if found else {}

    async def stage(self, key: str, block_id: str, data: bytes) -> None:
        """Stage a block. The service checks its MD5, because every site would fetch a corrupted block."""
        blob = self._client.get_blob_client(key)
        await self._with_retries(
            lambda: blob.stage_block(block_id, BytesIO(data), length=len(data), validate_content=True)
        )

    async def commit(self, key: str, block_ids: Sequence[str], digest: str, replaced_etag: str | None = None) -> None:
        """Commit staged blocks as a blob that does not exist yet, or replace the one whose ETag is `replaced_etag`.

        Raises `ConflictError`: the blob exists, its ETag differs from `replaced_etag`, or a block is missing.
        """
        blob = self._client.get_blob_client(key)
        await self._with_retries(
            lambda: blob.commit_block_list(
                [BlobBlock(block_id) for block_id in block_ids],
                content_settings=ContentSettings(content_type="application/zstd"),
                metadata={_DIGEST_KEY: digest},
                **_condition(replaced_etag),
            )
        )

    async def _if_exists(self, call: Callable[[], Awaitable[T]]) -> T | None:
        try:
            return await self._with_retries(call)
        except _NoBlobError:
            return None

    async def _with_retries(self, call: Callable[[], Awaitable[T]]) -> T:
        async def attempt() -> T:
            with self._translated():
                return await call()

        return await self._retrier.call(attempt)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Translate the SDK's exceptions. Their messages are not included, because they can be pages long."""
        try:
            yield
        except HttpResponseError as error:
            status = error.status_code
            raise (self._status_error(error, status) if status else self._no_response_error(error)) from None
        except AzureError as error:
            raise self._no_response_error(error) from None
        except ValueError:  # raised by the SDK for a response without Content-Range
            text = f"{self._host} did not answer like a blob service; check --url and the proxy"
            raise UnavailableError(text) from None

    def _status_error(self, error: HttpResponseError, status: int) -> Exception:
        """Return the exception for a status of 400 or above."""
        response = _error_response(error, status)
        summary = response.by(self._host)
        if response.meaning.error is NotFoundError and "Container" not in response.code:
            return _NoBlobError(f"{summary}: the blob does not exist")
        if status == 412 or (status == 409 and response.code not in CODES) or response.code == "InvalidBlockList":
            return ConflictError(summary)
        if response.code == "InvalidBlobOrBlock":
            return SourceError(
                f"{summary}: another tool has staged blocks for this blob; they are removed after a week"
            )
        return error_for(response, self._as_client, self._token)

    @property
    def _as_client(self) -> Client:
        return Client(self._host, self.url, "--url", "r and w")

    def _no_response_error(self, error: AzureError) -> ModelsInitError:
        """Return the exception for a request without a response."""
        inner = error.inner_exception
        if isinstance(inner, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError):
            return SourceError(f"the certificate of {self._host} is not trusted; name your CA's file in MODELS_CA_FILE")
        if isinstance(inner, aiohttp.ClientConnectorDNSError):
            return UnavailableError(f"the name of {self._host} cannot be resolved; check --url, DNS and the proxy")
        if isinstance(inner, aiohttp.ClientConnectorError):
            reason = os.strerror(inner.os_error.errno) if inner.os_error.errno else "no connection"
            return UnavailableError(f"{self._host} cannot be reached: {reason}; check the network")
        if isinstance(error, ServiceResponseTimeoutError) or isinstance(inner, TimeoutError):
            return UnavailableError(f"{self._host} did not answer in time; check the network")
        return UnavailableError(f"{self._host} closed the connection early; check the network")

    @property
    def _host(self) -> str:
        return urlsplit(self._client.url).netloc


class _NoBlobError(NotFoundError):
    """The blob does not exist, but its container does."""


def _error_response(error: HttpResponseError, status: int) -> ErrorResponse:
    headers: Mapping[str, str] = getattr(error.response, "headers", {})  # case-insensitive names
    detail = (getattr(error, "additional_info", None) or {}).get("authenticationerrordetail") or ""
    return ErrorResponse.of(status, lambda name: headers.get(name, ""), detail=detail)


def _condition(replaced_etag: str | None) -> dict[str, Any]:
    """Return the SDK's arguments for a conditional write; the SDK does not accept an ETag of None."""
    if replaced_etag is None:
        return {"match_condition": MatchConditions.IfMissing}
    return {"etag": replaced_etag, "match_condition": MatchConditions.IfNotModified}


def _transport(target: UploadTarget) -> AioHttpTransport:
    """Return the SDK's transport with the same TLS context and proxy as an install.

    If the SDK were given the path of a CA file, it would create a new TLS context and connection for each request.
    """
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=client_context(target.ca_file)),
        proxy=proxy_for(Origin.of(target.url), os.environ) or None,
        cookie_jar=aiohttp.DummyCookieJar(),  # this and auto_decompress as in the SDK's own session
        auto_decompress=False,
    )
    return AioHttpTransport(
        session=session,
        connection_timeout=CONNECT_LIMIT,
        read_timeout=IDLE_LIMIT,
        connection_data_block_size=_READ_SIZE,
    )


def _write_flaw(token: SasToken) -> str:
    permissions = token.field("sp")
    if permissions and not {"c", "w"} & set(permissions):
        return f"has no permission to write (sp={permissions}; r and w are needed)"
    return ""
