"""Check that an archive matches its manifest: its digest, each chunk, and the tar stream."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from models_init.core.digests import digest_text
from models_init.core.errors import ManifestError, ModelsInitError, SignatureError, WrongBytesError
from models_init.publish.inspection import check_tar
from models_init.publish.pack.describe import archive_faults
from models_init.publish.signing.sign import signer
from models_init.runtime.parallel import cores, in_order, workers
from models_init.transfer import chunk_io
from models_init.transfer.ranges import batches

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import ThreadPoolExecutor
    from pathlib import Path

    from models_init.core.events import Observer
    from models_init.formats.manifest import Chunk, Manifest
    from models_init.formats.minisign import PublicKey
    from models_init.publish.pack.version_directory import VersionDirectory
    from models_init.transfer.ranges import Batch


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of checking one version directory; `error` is the error class of its faults, None without faults.

    `key` is the id of the trusted key that signed the manifest; empty if no signature was requested.
    """

    directory: VersionDirectory
    manifest: Manifest | None
    faults: tuple[str, ...] = ()
    error: type[ModelsInitError] | None = None
    key: str = ""


def check_packs(
    directories: Sequence[VersionDirectory], observer: Observer, keys: Sequence[PublicKey] = ()
) -> list[CheckResult]:
    """Check version directories; `observer` counts verified bytes of all archives.

    With `keys`, one of them must have signed each manifest, as required by a site that trusts these keys.
    """
    manifests = [_manifest(directory) for directory in directories]
    observer.expect(sum(map(_bytes_to_verify, manifests)))
    return [
        _check(directory, manifest, observer, keys) for directory, manifest in zip(directories, manifests, strict=True)
    ]


def _manifest(directory: VersionDirectory) -> Manifest | ManifestError:
    try:
        return directory.parsed()
    except ManifestError as error:
        return error


def _bytes_to_verify(manifest: Manifest | ManifestError) -> int:
    if isinstance(manifest, ManifestError):
        return 0
    return manifest.archive.size if manifest.plain else sum(each.chunk.length for each in manifest.placements())


def _check(
    directory: VersionDirectory, manifest: Manifest | ManifestError, observer: Observer, keys: Sequence[PublicKey]
) -> CheckResult:
    if isinstance(manifest, ManifestError):
        return CheckResult(directory, None, (str(manifest),), ManifestError)
    archive = directory.path / manifest.archive.file
    kind: type[ModelsInitError] | None
    if manifest.plain:
        found, kind = archive_faults(archive, manifest.archive, manifest.plain, observer)
    else:
        found = tuple(_archive_faults(archive, manifest, observer))
        kind = WrongBytesError if found else None
    try:
        return CheckResult(directory, manifest, found, kind, signer(directory, keys) if keys else "")
    except SignatureError as error:
        return CheckResult(directory, manifest, (str(error), *found), kind or SignatureError)


def _archive_faults(archive: Path, manifest: Manifest, observer: Observer) -> Iterator[str]:
    """Read the archive three times concurrently: as bytes, as a tar stream, and as chunks."""
    try:
        size = archive.stat().st_size
        if size != manifest.archive.size:
            yield f"the archive has {size} bytes, {manifest.archive.size} by the manifest"
        with workers(cores() + 2) as pool:
            whole = pool.submit(_digest_faults, archive, manifest)
            stream = pool.submit(lambda: list(check_tar.faults(archive, manifest)))
            yield from _chunk_faults(pool, archive, manifest, observer)
            yield from whole.result()
            yield from stream.result()
    except OSError as error:
        yield f"the archive {archive.name} cannot be read: {error.strerror}"


def _digest_faults(archive: Path, manifest: Manifest) -> list[str]:
    with archive.open("rb") as file:
        digest = digest_text(hashlib.file_digest(file, "sha256"))
    return [] if digest == manifest.archive.digest else ["the archive's SHA-256 differs"]


def _chunk_faults(pool: ThreadPoolExecutor, archive: Path, manifest: Manifest, observer: Observer) -> Iterator[str]:
    jobs = batches(manifest.placements())
    descriptor = os.open(archive, os.O_RDONLY | os.O_CLOEXEC)
    try:
        for count, found in in_order(pool, partial(_batch_faults, descriptor), jobs, window=4 * cores()):
            observer.advance(count)
            yield from found
    finally:
        os.close(descriptor)


def _batch_faults(descriptor: int, batch: Batch) -> tuple[int, list[str]]:
    """Verify the chunks of a batch; return their size in the archive in bytes, and the faults."""
    data = memoryview(os.pread(descriptor, batch.stop - batch.start, batch.start))
    found = []
    count = 0
    for file, chunk, start in batch.placements:
        at = chunk.offset - batch.start
        if fault := _chunk_fault(data[at : at + chunk.length], chunk):
            found.append(f"{file.path}: the chunk of bytes {start} to {start + chunk.size} is wrong: {fault}")
        count += chunk.length
    return count, found


def _chunk_fault(frame: memoryview, chunk: Chunk) -> str | None:
    """Verify a chunk as an install does; return the fault, or None."""
    if len(frame) != chunk.length:
        return "the archive ends before the chunk does"
    try:
        chunk_io.plain(frame, chunk)
    except chunk_io.WrongChunkError as error:
        return str(error)
    return None
