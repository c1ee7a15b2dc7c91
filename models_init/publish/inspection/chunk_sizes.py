"""Cut two versions of a pack again at several chunk sizes, and compute what an upgrade would fetch with each.

Reads both archives. Only chunks that the old version lacks are compressed. The compressed size of the others is
estimated from the published archive, because only the length of the manifest depends on it.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from models_init.core.digests import digest_of
from models_init.core.errors import NotWritableError, UsageError, WrongBytesError
from models_init.formats.manifest import MIB, Chunk, File, Manifest, encode
from models_init.publish.inspection.compare_packs import Difference, compare
from models_init.publish.pack.build import LEVEL
from models_init.publish.pack.compress import Compressor
from models_init.publish.pack.drafts import translate_os_errors
from models_init.publish.pack.slicing import AUTO, blocks_of, slices_of
from models_init.publish.pack.source_tree import SourceFile, read_slice
from models_init.runtime.parallel import cores, in_order, workers
from models_init.transfer import chunk_io

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from models_init.core.events import Observer
    from models_init.publish.pack.pieces import Slice
    from models_init.publish.pack.version_directory import VersionDirectory

CHUNK_SIZES = (64 << 10, 128 << 10, 256 << 10, MIB, AUTO)
"""The chunk sizes that are compared: averages in bytes, and a size for each file by its type and size."""

TOLERANCE = 1.1
"""Factor by which a download may exceed the smallest one if the manifest is smaller."""

_compressor = Compressor(LEVEL)


@dataclass(frozen=True, slots=True)
class Estimate:
    """An upgrade with chunks of one average size: what it fetches, and the size in bytes of the new manifest."""

    chunk_size: int
    difference: Difference
    manifest_bytes: int

    @property
    def chunks(self) -> int:
        """The number of chunks of the new version."""
        return sum(len(file.chunks) for file in self.difference.new.files)


class _Cut(NamedTuple):
    """A chunk of a file: its sizes in bytes before and after compression, and its digest."""

    size: int
    length: int
    digest: str


_Cuts = dict[int, list[_Cut]]
"""The chunks of a file for each chunk size."""


def estimates(old: VersionDirectory, new: VersionDirectory, observer: Observer) -> list[Estimate]:
    """Return an estimate for each of `CHUNK_SIZES`; `observer` counts uncompressed bytes of both versions.

    Raises `UsageError`: an archive is opaque, or cannot be read. Raises `WrongBytesError`: an archive is damaged.
    """
    manifests = [_chunked(directory) for directory in (old, new)]
    observer.expect(sum(manifest.size for manifest in manifests))
    before = _recut(old, manifests[0], dict.fromkeys(CHUNK_SIZES), observer)
    known = {size: {each.chunk.digest for each in manifest.placements()} for size, manifest in before.items()}
    after = _recut(new, manifests[1], known, observer)
    return [_estimate(size, before[size], after[size]) for size in CHUNK_SIZES]


def recommended(found: Sequence[Estimate]) -> Estimate:
    """Return the estimate with the smallest manifest among those whose download is close to the smallest one."""
    least = min(each.difference.bytes_fetched for each in found)
    close = [each for each in found if each.difference.bytes_fetched <= TOLERANCE * least]
    return min(close, key=lambda each: each.manifest_bytes)


def _chunked(directory: VersionDirectory) -> Manifest:
    manifest = directory.parsed()
    if manifest.plain:
        raise UsageError(
            f"{manifest.ref} is an opaque archive, which has no chunks: leave out --chunk-sizes, or build the pack "
            "from a directory"
        )
    return manifest


def _estimate(chunk_size: int, old: Manifest, new: Manifest) -> Estimate:
    size = len(encode(new))
    return Estimate(chunk_size, compare(old, new, size), size)


def _recut(
    directory: VersionDirectory,
    manifest: Manifest,
    known: Mapping[int, AbstractSet[str] | None],
    observer: Observer,
) -> dict[int, Manifest]:
    """Return the manifest as it would be with each chunk size; `known` has the digests that need no compression.

    With None instead of digests, no chunk is compressed.
    """
    archive = directory.path / manifest.archive.file
    try:
        descriptor = os.open(archive, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise UsageError(
            f"{archive} cannot be read: {error.strerror}; --chunk-sizes needs the archives of both versions"
        ) from error
    try:
        with workers(cores()) as pool:
            cut = partial(_cut, descriptor, known)
            found = []
            for file, cuts in zip(manifest.files, in_order(pool, cut, manifest.files, 4 * cores()), strict=True):
                observer.advance(file.size)
                found.append(cuts)
    except chunk_io.WrongChunkError as error:
        raise WrongBytesError(f"{archive} is damaged: {error}; run `models-pack check {directory.path}`") from error
    finally:
        os.close(descriptor)
    return {size: _manifest(manifest, [cuts[size] for cuts in found]) for size in known}


def _cut(descriptor: int, known: Mapping[int, AbstractSet[str] | None], file: File) -> _Cuts:
    """Cut a file at each chunk size. A file that is one chunk at every size is not read."""
    if file.size <= min(filter(None, CHUNK_SIZES)) and len(file.chunks) <= 1:
        chunks = [_Cut(chunk.size, chunk.length, chunk.digest) for chunk in file.chunks]
        return dict.fromkeys(known, chunks)
    with translate_os_errors(_temporary_directory()), tempfile.NamedTemporaryFile(prefix="models-pack-") as copy:
        for chunk in file.chunks:
            copy.write(chunk_io.plain(_frame(descriptor, chunk), chunk))
        copy.flush()
        status = os.fstat(copy.fileno())
        source = SourceFile(file.path, copy.name, file.size, status.st_mtime_ns, file.executable)
        ratio = sum(chunk.length for chunk in file.chunks) / file.size
        return {
            size: [_one(piece, ratio, digests) for piece in _slices(source, size)] for size, digests in known.items()
        }


def _temporary_directory() -> Path:
    """Return the directory for temporary files. Raises `NotWritableError`: none can be written, or all are full."""
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        raise NotWritableError(
            "no directory for temporary files can be written, or all are full; set TMPDIR to one with enough room"
        ) from error


def _frame(descriptor: int, chunk: Chunk) -> memoryview:
    try:
        return memoryview(os.pread(descriptor, chunk.length, chunk.offset))
    except OSError as error:
        raise chunk_io.WrongChunkError(f"it cannot be read: {error.strerror}") from error


def _slices(source: SourceFile, chunk_size: int) -> list[Slice]:
    from models_init.publish.pack.boundary_hash import boundary_candidates  # noqa: PLC0415 - numpy takes 0.1 s

    return list(slices_of(source, chunk_size, map(boundary_candidates, blocks_of(source, chunk_size))))


def _one(piece: Slice, ratio: float, known: AbstractSet[str] | None) -> _Cut:
    data = read_slice(piece.file, piece.start, piece.size)
    digest = digest_of(data)
    if known is None or digest in known:
        return _Cut(piece.size, max(1, round(piece.size * ratio)), digest)
    return _Cut(piece.size, _compressor.length(data), digest)


def _manifest(published: Manifest, cuts: Sequence[Sequence[_Cut]]) -> Manifest:
    """Return the manifest with other chunks; the bytes between files are as many as in the published archive."""
    between = published.archive.size - sum(chunk.length for file in published.files for chunk in file.chunks)
    gap = between // (len(published.files) + 1)
    offset, files = 0, []
    for file, pieces in zip(published.files, cuts, strict=True):
        offset += gap
        chunks = []
        for piece in pieces:
            chunks.append(Chunk(offset, piece.length, piece.size, piece.digest))
            offset += piece.length
        files.append(replace(file, chunks=tuple(chunks)))
    archive = replace(published.archive, size=offset + gap)
    return replace(published, archive=archive, files=tuple(files))
