"""Publish version directories in a container registry: the blobs first, the image manifest last.

A version is published when its tag exists; a published version never changes. An upload can be interrupted at any step:
the next run finds the blobs by their digests, and resumes an unfinished blob at the offset that the registry reports.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, TypeVar
from urllib.parse import quote, urljoin

from models_init.core.digests import digest_of
from models_init.core.errors import NotFoundError, SourceError, UnavailableError, UsageError, WrongBytesError
from models_init.formats import oci
from models_init.formats.manifest import MANIFEST_LIMIT, MANIFEST_NAME, MIB, SIGNATURE_NAME
from models_init.formats.minisign import SIGNATURE_LIMIT
from models_init.publish.upload.image import PackImage, check_names, make_image
from models_init.publish.upload.published_version import UploadResult
from models_init.sources.http.origin import Origin
from models_init.sources.oci.registry import Registry, Request
from models_init.sources.oci.source import OciSource
from models_init.sources.oci.tokens import Scope

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from models_init.core.events import Observer
    from models_init.publish.pack.version_directory import VersionDirectory
    from models_init.sources.http.response import Response
    from models_init.sources.oci.registry import RegistryAccess
    from models_init.sources.wrappers.retry import Retrier

T = TypeVar("T")

PIECE = 8 * MIB
"""Bytes of one request of an upload; a request that fails is repeated from the last byte that the registry has."""

_BINARY = {"Content-Type": "application/octet-stream"}


class _Answer(NamedTuple):
    """The relevant parts of a response; `location` is the absolute URL at which an upload continues, or empty."""

    status: int
    location: str
    digest: str


@dataclass(frozen=True, slots=True)
class PushOptions:
    """Options for publishing: `mount_from` is another prefix of the same registry whose blobs may be mounted."""

    retrier: Retrier
    mount_from: str = ""
    replace_signatures: bool = False


async def push_all(
    found: list[VersionDirectory], access: RegistryAccess, options: PushOptions, observer: Observer
) -> list[UploadResult]:
    """Publish version directories in turn; names and manifests of all are checked before anything is sent.

    Raises `UsageError`: a name cannot be used, or other content is published under it. Raises the errors of
    `make_image`, of the registry, and `AccessError`.
    """
    for directory in found:
        check_names(directory.ref(), access.prefix)
    registry, source = Registry(access), OciSource(access)
    try:
        results = []
        observer.expect(sum(directory.parsed().archive.size for directory in found))
        for directory in found:
            image = await asyncio.to_thread(make_image, directory)
            results.append(await _Push(image, access, registry, options, observer).run(source))
        return results
    finally:
        await registry.close()
        await source.close()


class _Push:
    """The publishing of one image."""

    def __init__(
        self, image: PackImage, access: RegistryAccess, registry: Registry, options: PushOptions, observer: Observer
    ) -> None:
        self._image = image
        self._access = access
        self._registry = registry
        self._options = options
        self._observer = observer
        self._repository = access.repository(image.ref.name)
        self._scope = Scope(self._repository, "pull,push")
        self._upload_record = image.archive_path.with_name(f".{image.archive_path.name}.upload")

    async def run(self, source: OciSource) -> UploadResult:
        """Publish the image unless it is published already."""
        image = self._image
        is_published = await self._is_published(source)
        sent = 0
        if not is_published:
            sent = await self._archive()
            for data in (image.metadata, image.config):
                await self._small_blob(data)
            if not await self._is_published(source):  # another upload may have published since; a tag is replaced
                await self._manifest()
        self._observer.advance(image.archive.size - sent)
        url = f"{source.name}/{image.ref.name}:{image.ref.version}"
        return UploadResult(image.ref, url, not is_published, sent, image.archive.size - sent)

    async def _is_published(self, source: OciSource) -> bool:
        """Return True if the same content is published, False if nothing is, or if the signature must be replaced.

        Raises `UsageError`: other content is published.
        """
        image, key = self._image, f"{self._image.ref.name}/{self._image.ref.version}"
        path = f"/v2/{self._repository}/manifests/{image.ref.version}"
        request = Request("HEAD", path, self._scope, {"Accept": oci.ACCEPT})
        answer = await self._ask(request, 404)
        if answer.status == 404:
            return False
        if answer.digest == image.digest:
            return True
        document = await self._retried(lambda: source.read(f"{key}/{MANIFEST_NAME}", MANIFEST_LIMIT))
        if document != image.documents[MANIFEST_NAME]:
            raise UsageError(
                f"{image.ref} is published with other content, and a published version never changes: build it under "
                "another --version"
            )
        signature = await self._retried(lambda: self._signature(source, key))
        if signature == image.documents.get(SIGNATURE_NAME, b""):
            return True
        if signature and not self._options.replace_signatures:
            raise UsageError(
                f"{image.ref} is published with another signature than here; if you have signed it again, repeat with "
                "--replace-signatures"
            )
        return False

    async def _signature(self, source: OciSource, key: str) -> bytes:
        with suppress(NotFoundError):
            return await source.read(f"{key}/{SIGNATURE_NAME}", SIGNATURE_LIMIT)
        return b""

    async def _archive(self) -> int:
        """Upload the archive unless the registry has it; return the number of bytes sent."""
        image = self._image
        if await self._has(image.archive.digest):
            return 0
        location, offset = await self._resumed()
        if not location:
            location = await self._begin(image.archive.digest)
        if not location:
            return 0
        first = offset
        with image.archive_path.open("rb") as file:
            while offset < image.archive.size:
                self._remember(location)
                location, end = await self._piece(location, offset, file.fileno())
                self._observer.advance(end - offset)
                offset = end
        await self._finish(location, image.archive.digest)
        self._upload_record.unlink(missing_ok=True)
        return offset - first

    async def _piece(self, location: str, offset: int, descriptor: int) -> tuple[str, int]:
        """Send the next piece; after a fault, resume at the registry's offset. Returns the new location and offset."""
        is_retry, where = False, location

        async def attempt() -> tuple[str, int]:
            nonlocal is_retry, where
            start = offset
            if is_retry:
                where, start = await self._continued(where)
                if start > offset:
                    return where, start
            is_retry = True
            data = await asyncio.to_thread(os.pread, descriptor, PIECE, start)
            if not data:
                raise WrongBytesError(
                    f"{self._image.archive_path} became shorter while it was read; build the pack again"
                )
            headers = {**_BINARY, "Content-Range": f"{start}-{start + len(data) - 1}", "Content-Length": str(len(data))}
            request = Request("PATCH", where, self._scope, headers, lambda: io.BytesIO(data))
            async with self._registry.send(request) as response:
                return self._location(response), start + len(data)

        return await self._options.retrier.call(attempt)

    async def _continued(self, location: str) -> tuple[str, int]:
        """Return the location and offset at which to resume a broken upload; offset 0 if it must begin again."""
        try:
            return await self._status(location)
        except NotFoundError:
            return await self._begin(self._image.archive.digest), 0

    async def _status(self, location: str) -> tuple[str, int]:
        """Return the location of an unfinished upload, and the number of its bytes that the registry has."""
        async with self._registry.send(Request("GET", location, self._scope)) as response:
            first, _, last = response.header("Range").removeprefix("bytes=").partition("-")
            is_range = first == "0" and last.isdecimal()
            return self._location(response, location), int(last) + 1 if is_range and int(last) else 0

    async def _resumed(self) -> tuple[str, int]:
        """Return the location and offset of the upload that an earlier run left, or an empty location."""
        try:
            record = json.loads(self._upload_record.read_bytes())
            if [record["registry"], record["digest"]] == [self._record_key, self._image.archive.digest]:
                return await self._retried(lambda: self._status(record["location"]))
        except (OSError, ValueError, LookupError, TypeError, NotFoundError, SourceError):
            pass  # there is none, or the registry no longer has it
        return "", 0

    def _remember(self, location: str) -> None:
        """Store the location of the upload in a file, so that the next run can resume it.

        A URL of another host is not stored, because it may be signed and thus a secret.
        """
        if Origin.of(location) != Origin.of(self._registry.base):
            return
        record = {"registry": self._record_key, "digest": self._image.archive.digest, "location": location}
        with suppress(OSError):
            descriptor = os.open(self._upload_record, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w") as file:
                json.dump(record, file)

    @property
    def _record_key(self) -> str:
        return f"{self._access.host}/{self._repository}"

    async def _small_blob(self, data: bytes) -> None:
        digest = digest_of(data)
        if not await self._has(digest) and (location := await self._begin(digest)):
            await self._finish(location, digest, data)

    async def _has(self, digest: str) -> bool:
        request = Request("HEAD", f"/v2/{self._repository}/blobs/{digest}", self._scope)
        return (await self._ask(request, 404)).status != 404

    async def _begin(self, digest: str) -> str:
        """Begin an upload and return its location; empty if the blob was mounted from the other prefix."""
        path = f"/v2/{self._repository}/blobs/uploads/"
        if self._options.mount_from:
            origin = f"{self._options.mount_from.strip('/')}/{self._image.ref.name}"
            path += f"?mount={digest}&from={quote(origin, safe='')}"
        answer = await self._ask(Request("POST", path, self._scope, {"Content-Length": "0"}))
        return "" if answer.status == 201 else answer.location

    async def _finish(self, location: str, digest: str, data: bytes = b"") -> None:
        """Send the rest of a blob and its digest. Raises `WrongBytesError`: the registry received other bytes."""
        url = f"{location}{'&' if '?' in location else '?'}digest={digest}"
        headers = {**_BINARY, "Content-Length": str(len(data))}
        answer = await self._ask(Request("PUT", url, self._scope, headers, lambda: io.BytesIO(data)), 400, 404)
        if answer.status == 404 and not await self._has(digest):
            raise UnavailableError("the registry no longer has the unfinished upload; run again")
        if answer.status == 400:
            self._upload_record.unlink(missing_ok=True)
            raise WrongBytesError(f"the registry got other bytes than {digest}; run again")

    async def _manifest(self) -> None:
        path = f"/v2/{self._repository}/manifests/{self._image.ref.version}"
        headers = {"Content-Type": oci.IMAGE_MANIFEST, "Content-Length": str(len(self._image.manifest))}
        await self._ask(Request("PUT", path, self._scope, headers, lambda: io.BytesIO(self._image.manifest)))

    async def _ask(self, request: Request, *expected: int) -> _Answer:
        """Send a request, with retries. A status of 400 or above raises its exception unless it is `expected`."""

        async def attempt() -> _Answer:
            async with self._registry.send(request, frozenset(expected)) as response:
                location, digest = response.header("Location"), response.header("Docker-Content-Digest")
                absolute = urljoin(f"{self._registry.base}/", location) if location else ""
                return _Answer(response.status, absolute, digest)

        return await self._retried(attempt)

    async def _retried(self, call: Callable[[], Awaitable[T]]) -> T:
        return await self._options.retrier.call(call)

    def _location(self, response: Response, default: str = "") -> str:
        """Return the absolute URL at which an upload continues, exactly as the registry wrote it."""
        location = response.header("Location") or default
        if not location:
            raise UnavailableError(f"{response.host} did not say where the upload continues; run again later")
        return urljoin(f"{self._registry.base}/", location)
