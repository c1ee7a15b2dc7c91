"""Build a pack from a directory: cut it into chunks, compress them, publish the archive with its manifest."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

from models_init.core.digests import digest_text
from models_init.core.errors import UsageError
from models_init.core.units import human_size
from models_init.formats.manifest import (
    EMPTY_DIGEST,
    MANIFEST_LIMIT,
    MIB,
    SCHEMA,
    Archive,
    Chunk,
    File,
    Manifest,
    Requirement,
    encode,
)
from models_init.publish.pack.compress import Compressor
from models_init.publish.pack.drafts import draft, publish, sync, translate_os_errors
from models_init.publish.pack.pieces import Slice
from models_init.publish.pack.slicing import batches, blocks, pieces
from models_init.publish.pack.version_directory import ARCHIVE_NAME, VersionDirectory, new_directory
from models_init.runtime.parallel import cores, in_order, workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from models_init.core.events import Observer
    from models_init.core.pack_ref import PackRef
    from models_init.publish.pack.boundary_hash import BoundaryCandidates
    from models_init.publish.pack.compress import Frame
    from models_init.publish.pack.source_tree import SourceFile, SourceTree

LEVEL = 9
"""Default zstd level. Model weights compress to the same size at every level from 1 to 22. Graphs and texts are 7 to
14 % smaller at level 9 than at 3, and another 10 to 20 % smaller at 17, at a tenth of the speed or less."""

CHUNK_SIZE = MIB
"""Default average size of a chunk in uncompressed bytes: a site fetches this much when one byte has changed."""


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """Options for building a pack.

    `chunk_size` is the average in uncompressed bytes, or `slicing.AUTO`. `requires` lists the compatible versions of
    other packs.
    """

    ref: PackRef
    level: int = LEVEL
    chunk_size: int = CHUNK_SIZE
    threads: int = field(default_factory=cores)
    requires: tuple[Requirement, ...] = ()


@dataclass(frozen=True, slots=True)
class BuildResult:
    """A pack that was built; `fresh` is False if the same pack already existed."""

    directory: Path
    manifest: Manifest
    fresh: bool


def build(tree: SourceTree, options: BuildOptions, out: Path, observer: Observer) -> BuildResult:
    """Write `<out>/<name>/<version>/` with archive and manifest; `observer` counts uncompressed bytes.

    An incomplete file never has a public name, even if this raises.

    Raises `UsageError`: a file changed during the build, or the version already exists with other content.
    Raises `VolumeError` or a subclass: the disk is full or cannot be written.
    """
    directory = VersionDirectory(out / options.ref.name / options.ref.version)
    archive = directory.path / ARCHIVE_NAME
    with new_directory(directory.path), draft(archive) as archive_draft, draft(directory.manifest) as manifest_draft:
        with translate_os_errors(archive):
            manifest = _write_archive(tree, options, archive_draft, observer)
        document = _encode(manifest)
        fresh = not directory.has_manifest(document)
        with translate_os_errors(directory.manifest):
            manifest_draft.write(document)
        sync(archive_draft, archive)
        sync(manifest_draft, directory.manifest)
        publish(archive)
        publish(directory.manifest)
    return BuildResult(directory.path, manifest, fresh)


def _write_archive(tree: SourceTree, options: BuildOptions, archive_draft: BinaryIO, observer: Observer) -> Manifest:
    """Write the archive and return its manifest."""
    collector = _ManifestCollector()
    writer = _ArchiveWriter(archive_draft)
    observer.expect(tree.size)
    for frames in _compressed(tree, options):
        observer.advance(collector.add(frames, writer.size))
        writer.write(b"".join([frame.data for frame in frames]))
    files = tuple(collector.file(source) for source in tree.files)
    return Manifest(SCHEMA, *options.ref, writer.archive(), files, tuple(tree.empty_directories), options.requires)


def _compressed(tree: SourceTree, options: BuildOptions) -> Iterator[list[Frame]]:
    compressor = Compressor(options.level)
    window = 2 * options.threads + 2
    with workers(options.threads) as pool:
        # Look twice as far ahead, because boundary searches queue behind the compression jobs of earlier blocks.
        found = in_order(pool, _boundary_search(), blocks(tree, options.chunk_size), window=2 * window)
        jobs = batches(pieces(tree, options.chunk_size, found))
        yield from in_order(pool, compressor.frames, jobs, window=window)


def _boundary_search() -> Callable[[Slice], BoundaryCandidates]:
    from models_init.publish.pack.boundary_hash import boundary_candidates  # noqa: PLC0415 - numpy takes 0.1 s

    return boundary_candidates


def _encode(manifest: Manifest) -> bytes:
    document = encode(manifest)
    if len(document) > MANIFEST_LIMIT:
        raise UsageError(
            f"the manifest would be {human_size(len(document))}, and readers accept at most "
            f"{human_size(MANIFEST_LIMIT)}: choose a larger --chunk-size, or build several packs"
        )
    return document


class _ArchiveWriter:
    """Write the archive and keep its size and digest so far."""

    def __init__(self, archive_draft: BinaryIO) -> None:
        self._draft = archive_draft
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        self._draft.write(data)
        self._hash.update(data)
        self.size += len(data)

    def archive(self) -> Archive:
        return Archive(ARCHIVE_NAME, self.size, digest_text(self._hash))


class _ManifestCollector:
    """Collect the manifest's entry of each file, chunk by chunk."""

    def __init__(self) -> None:
        self._chunks: defaultdict[str, list[Chunk]] = defaultdict(list)
        self._digests: dict[str, str] = {}
        self._hash = hashlib.sha256()

    def add(self, frames: list[Frame], offset: int) -> int:
        """Record the chunks among consecutive frames, the first of which is at `offset` in the archive.

        Return the number of uncompressed bytes in those chunks.
        """
        uncompressed = 0
        for frame in frames:
            if isinstance(frame.piece, Slice):
                self._record_chunk(frame.piece, frame, offset)
                uncompressed += frame.piece.size
            offset += len(frame.data)
        return uncompressed

    def _record_chunk(self, piece: Slice, frame: Frame, offset: int) -> None:
        """Record the chunk made from a slice. The slices of a file must be passed in order, without others between."""
        path = piece.file.path
        self._chunks[path].append(Chunk(offset, len(frame.data), piece.size, frame.digest))
        is_whole = piece.size == piece.file.size
        self._digests[path] = frame.digest if is_whole else self._running_digest(piece, frame.uncompressed)

    def file(self, source: SourceFile) -> File:
        """Return the manifest's entry of a file, after all its chunks have been recorded."""
        chunks = tuple(self._chunks.get(source.path, ()))
        return File(source.path, source.size, self._digests.get(source.path, EMPTY_DIGEST), chunks, source.executable)

    def _running_digest(self, piece: Slice, uncompressed: bytes) -> str:
        """Add a slice to the running hash; return the file's digest after the last slice, else an empty string."""
        if piece.start == 0:
            self._hash = hashlib.sha256()
        self._hash.update(uncompressed)
        return digest_text(self._hash) if piece.start + piece.size == piece.file.size else ""
