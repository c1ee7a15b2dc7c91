"""Build a pack from a directory: cut it into chunks, compress them, publish the archive with its manifest."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

from models_init.core.errors import UsageError
from models_init.core.parallel import cores, in_order, workers
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
from models_init.publish.pack.pieces import Slice
from models_init.publish.pack.slicing import batches, blocks, pieces
from models_init.publish.pack.version_directory import (
    ARCHIVE_NAME,
    VersionDirectory,
    draft,
    new_directory,
    publish,
    sync,
    translate_os_errors,
)

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

    `chunk_size` is the average in uncompressed bytes; `requires` lists the compatible versions of other packs.
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


def build(tree: SourceTree, recipe: BuildOptions, out: Path, observer: Observer) -> BuildResult:
    """Write `<out>/<name>/<version>/` with archive and manifest; `observer` counts uncompressed bytes.

    An incomplete file never has a public name, even if this raises.

    Raises `UsageError`: a file changed during the build, or the version already exists with other content.
    Raises `VolumeError` or a subclass: the disk is full or cannot be written.
    """
    directory = VersionDirectory(out / recipe.ref.name / recipe.ref.version)
    archive = directory.path / ARCHIVE_NAME
    with new_directory(directory.path), draft(archive) as part, draft(directory.manifest) as text:
        with translate_os_errors(archive):
            manifest = _written(tree, recipe, part, observer)
        document = _document(manifest)
        fresh = not directory.stands(document)
        with translate_os_errors(directory.manifest):
            text.write(document)
        sync(part, archive)
        sync(text, directory.manifest)
        publish(archive)
        publish(directory.manifest)
    return BuildResult(directory.path, manifest, fresh)


def _written(tree: SourceTree, recipe: BuildOptions, part: BinaryIO, observer: Observer) -> Manifest:
    """Write the archive and return its manifest."""
    ledger = _ManifestCollector()
    writer = _ArchiveWriter(part)
    observer.expect(tree.size)
    for frames in _compressed(tree, recipe):
        observer.advance(ledger.add(frames, writer.size))
        writer.write(b"".join([frame.data for frame in frames]))
    files = tuple(ledger.file(source) for source in tree.files)
    return Manifest(SCHEMA, *recipe.ref, writer.archive(), files, tuple(tree.empty_directories), recipe.requires)


def _compressed(tree: SourceTree, recipe: BuildOptions) -> Iterator[list[Frame]]:
    compressor = Compressor(recipe.level)
    window = 2 * recipe.threads + 2
    with workers(recipe.threads) as pool:
        # Look twice as far ahead, because boundary searches queue behind the compression jobs of earlier blocks.
        found = in_order(pool, _marks(), blocks(tree, recipe.chunk_size), window=2 * window)
        jobs = batches(pieces(tree, recipe.chunk_size, found))
        yield from in_order(pool, compressor.frames, jobs, window=window)


def _marks() -> Callable[[Slice], BoundaryCandidates]:
    try:
        from models_init.publish.pack.boundary_hash import marks  # noqa: PLC0415 - numpy takes 0.1 s, and a site has none
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{error.name} is not installed; pip install 'models-init[publish]', then build again"
        ) from error
    return marks


def _document(manifest: Manifest) -> bytes:
    document = encode(manifest)
    if len(document) > MANIFEST_LIMIT:
        raise UsageError(
            f"the manifest would have {human_size(len(document))}, readers take {human_size(MANIFEST_LIMIT)}: "
            "choose a larger --chunk-size, or make several packs"
        )
    return document


class _ArchiveWriter:
    """Write the archive and keep its size and digest so far."""

    def __init__(self, part: BinaryIO) -> None:
        self._part = part
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        self._part.write(data)
        self._hash.update(data)
        self.size += len(data)

    def archive(self) -> Archive:
        return Archive(ARCHIVE_NAME, self.size, f"sha256:{self._hash.hexdigest()}")


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
        plain = 0
        for frame in frames:
            if isinstance(frame.piece, Slice):
                self._note(frame.piece, frame, offset)
                plain += frame.piece.size
            offset += len(frame.data)
        return plain

    def _note(self, piece: Slice, frame: Frame, offset: int) -> None:
        """Record the chunk made from a slice. The slices of a file must be passed in order, without others between."""
        path = piece.file.path
        self._chunks[path].append(Chunk(offset, len(frame.data), piece.size, frame.digest))
        self._digests[path] = frame.digest if piece.size == piece.file.size else self._running(piece, frame.plain)

    def file(self, source: SourceFile) -> File:
        """Return the manifest's entry of a file, after all its chunks have been recorded."""
        chunks = tuple(self._chunks.get(source.path, ()))
        return File(source.path, source.size, self._digests.get(source.path, EMPTY_DIGEST), chunks, source.executable)

    def _running(self, piece: Slice, plain: bytes) -> str:
        """Add a slice to the running hash; return the file's digest after the last slice, else an empty string."""
        if piece.start == 0:
            self._hash = hashlib.sha256()
        self._hash.update(plain)
        return f"sha256:{self._hash.hexdigest()}" if piece.start + piece.size == piece.file.size else ""
