"""Publish version directories: the archive first, the manifest last; a published version never changes.

A version is published when its manifest is in the container. Until then, no site reads its archive. An upload can be
interrupted at any step: the next run finds the staged blocks, the committed archive, or the manifest, by their content.
Two concurrent uploads of the same bytes both succeed; of two uploads with different bytes, the second is refused.
"""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from models_init.core.digests import digest_text
from models_init.core.errors import UsageError, first_error
from models_init.formats.manifest import MANIFEST_LIMIT, MANIFEST_NAME, MIB, SIGNATURE_NAME, published
from models_init.formats.minisign import SIGNATURE_LIMIT
from models_init.publish.upload.container import BlobContent, BlobProperties, ConflictError, Container
from models_init.publish.upload.published_version import UploadResult, check_size, unreadable_archive, wrong_archive

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from models_init.core.events import Observer
    from models_init.core.pack_ref import PackRef
    from models_init.formats.manifest import Archive, Manifest
    from models_init.publish.pack.version_directory import VersionDirectory

BLOCK_SIZE = 8 * MIB
"""Default size in bytes of a staged block; above 4 MiB, the service uses its fastest path."""

BLOCK_COUNT = 50_000
"""Maximum number of blocks of a blob, a limit of the service."""


@dataclass(frozen=True, slots=True)
class UploadOptions:
    """Options for publishing: the key prefix, and the number of concurrent block uploads.

    `replace_unfinished` allows replacing the archive of a version whose manifest was never published;
    `replace_signatures` allows replacing another signature of the same manifest.
    """

    prefix: str
    connections: int
    replace_unfinished: bool = False
    replace_signatures: bool = False


async def upload_packs(
    directories: Sequence[VersionDirectory], container: Container, options: UploadOptions, observer: Observer
) -> list[UploadResult]:
    """Publish version directories in turn; `observer` counts archive bytes that are in the container.

    All manifests and the sizes of all archives are checked before the first upload.

    Raises `UsageError`: different content is published under the name and version of a pack.
    Raises `WrongBytesError`: an archive does not match its manifest.
    Raises `ManifestError` or a subclass: a manifest cannot be used.
    Raises the errors of `Container`.
    """
    documents = [directory.document() for directory in directories]
    manifests = [
        published(document, directory.ref()).manifest
        for document, directory in zip(documents, directories, strict=True)
    ]
    for directory, manifest in zip(directories, manifests, strict=True):
        check_size(directory.path / manifest.archive.file, manifest.archive)
    observer.expect(sum(manifest.archive.size for manifest in manifests))
    return [
        await _upload(directory, document, manifest, _Upload(manifest.ref, container, options, observer))
        for directory, document, manifest in zip(directories, documents, manifests, strict=True)
    ]


async def _upload(directory: VersionDirectory, document: bytes, manifest: Manifest, job: _Upload) -> UploadResult:
    is_published = await job.is_published(document)
    sent = await job.archive(directory.path / manifest.archive.file, manifest.archive)
    if (signature := directory.signature_document()) is not None:
        await job.signature(signature)
    if not is_published:
        await job.manifest(document)
    return UploadResult(manifest.ref, job.url, not is_published, sent, manifest.archive.size - sent)


class _Upload:
    """The upload of one version."""

    def __init__(self, ref: PackRef, container: Container, options: UploadOptions, observer: Observer) -> None:
        self._ref = ref
        self._container = container
        self._options = options
        self._observer = observer
        self._may_replace = options.replace_unfinished

    @property
    def url(self) -> str:
        """The URL of the version, without the token."""
        return f"{self._container.url}/{self.key('')}".rstrip("/")

    def key(self, name: str) -> str:
        """Return the blob name of a file of the version."""
        return f"{self._options.prefix}{self._ref.name}/{self._ref.version}/{name}"

    async def is_published(self, document: bytes) -> bool:
        """Return True if exactly this manifest is published, False if none is.

        Raises `UsageError`: a different manifest is published.
        """
        existing = await self._container.read(self.key(MANIFEST_NAME), MANIFEST_LIMIT)
        if existing and existing.data != document:
            raise UsageError(
                f"{self._ref} is published with different content, and a published version never changes: "
                "build it with another --version"
            )
        if existing:
            self._may_replace = False
        return existing is not None

    async def archive(self, path: Path, archive: Archive) -> int:
        """Upload the archive unless it exists; return the number of bytes sent."""
        key = self.key(archive.file)
        existing = await self._container.properties(key)
        if _is_same(existing, archive):
            self._observer.advance(archive.size)
            return 0
        if existing and not self._may_replace:
            raise self._conflict(key)
        sent = await self._commit(path, archive, existing.etag if existing else None)
        if not _is_same(await self._container.properties(key), archive):
            raise self._conflict(key)
        return sent

    async def signature(self, data: bytes) -> None:
        """Upload the signature unless it exists."""
        key = self.key(SIGNATURE_NAME)
        existing = await self._container.read(key, SIGNATURE_LIMIT)
        if existing and existing.data == data:
            return
        if existing and not (self._may_replace or self._options.replace_signatures):
            raise self._conflict(key, "; if you have signed it again, repeat with --replace-signatures")
        await self._put_signature(key, data, "text/plain; charset=utf-8", existing)

    async def manifest(self, document: bytes) -> None:
        """Upload the manifest; from then on the version is published and cannot change."""
        try:
            await self._container.put(self.key(MANIFEST_NAME), document, "application/json")
        except ConflictError:
            if not await self.is_published(document):
                raise self._conflict(self.key(MANIFEST_NAME)) from None

    async def _put_signature(self, key: str, data: bytes, content_type: str, existing: BlobContent | None) -> None:
        try:
            await self._container.put(key, data, content_type, existing.etag if existing else None)
        except ConflictError:
            now = await self._container.read(key, SIGNATURE_LIMIT)
            if not now or now.data != data:
                raise self._conflict(key) from None

    async def _commit(self, path: Path, archive: Archive, over: str | None) -> int:
        """Stage the missing blocks and commit them; return the number of bytes sent.

        A conflict with a faster upload is ignored here, because the caller checks the blob afterwards.
        """
        key = self.key(archive.file)
        staged = await self._container.staged(key)
        with path.open("rb") as file:
            blocks = _Blocks(file, archive)
            try:
                ids, sent = await self._stage(key, blocks, staged)
            except BaseExceptionGroup as group:
                raise first_error(group) from None
        with suppress(ConflictError):
            await self._container.commit(key, ids, archive.digest, over)
        return sent

    async def _stage(self, key: str, blocks: _Blocks, staged: dict[str, int]) -> tuple[list[str], int]:
        """Stage the missing blocks concurrently; return all block ids and the number of bytes sent."""
        slots = asyncio.Semaphore(self._options.connections)
        ids: list[str] = []
        sent = 0
        async with asyncio.TaskGroup() as group:
            while block := await asyncio.to_thread(blocks.next):
                ids.append(block.id)
                if staged.get(block.id) == len(block.data):
                    self._observer.advance(len(block.data))
                    continue
                sent += len(block.data)
                await slots.acquire()
                group.create_task(self._stage_one(key, block, slots))
        return ids, sent

    async def _stage_one(self, key: str, block: _Block, slots: asyncio.Semaphore) -> None:
        try:
            await self._container.stage(key, block.id, block.data)
        finally:
            slots.release()
        self._observer.advance(len(block.data))

    def _conflict(self, key: str, remedy: str = "") -> UsageError:
        return UsageError(
            f"{key} exists in {self._container.url} with different content: another upload of {self._ref} is "
            "running, or was never finished (then repeat with --replace-unfinished), or the published files were "
            f"changed{remedy}"
        )


@dataclass(frozen=True, slots=True)
class _Block:
    """A block of the archive; its id is derived from its number and content, so a staged block can be identified."""

    id: str
    data: bytes


class _Blocks:
    """Read the archive in blocks, and hash it at the same time."""

    def __init__(self, file: BinaryIO, archive: Archive) -> None:
        self._file = file
        self._archive = archive
        self._size = block_size(archive.size)
        self._count = 0
        self._hash = hashlib.sha256()
        self._read = 0

    def next(self) -> _Block | None:
        """Read the next block; return None at the end.

        Raises `WrongBytesError`: the file cannot be read, or at its end, its size or digest differs from the manifest.
        """
        try:
            data = self._file.read(self._size)
        except OSError as error:
            raise unreadable_archive(self._file.name, error) from error
        self._hash.update(data)
        self._read += len(data)
        if not data and not self._is_complete():
            raise wrong_archive(self._file.name)
        if not data:
            return None
        self._count += 1
        # All ids of a blob must have the same length, here 38 characters.
        return _Block(f"{self._count:05}-{hashlib.sha256(data).hexdigest()[:32]}", data)

    def _is_complete(self) -> bool:
        return (self._read, digest_text(self._hash)) == (self._archive.size, self._archive.digest)


def block_size(size: int) -> int:
    """Return the block size for an archive of `size` bytes: whole MiB, and at most `BLOCK_COUNT` blocks."""
    return max(BLOCK_SIZE, -(-size // (BLOCK_COUNT * MIB)) * MIB)


def _is_same(existing: BlobProperties | None, archive: Archive) -> bool:
    return existing is not None and (existing.size, existing.digest) == (archive.size, archive.digest)
