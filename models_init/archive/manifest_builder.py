"""Build the manifest of an archive while it is read."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from models_init.archive.errors import BadArchiveError
from models_init.formats.manifest import MIB, Chunk, File, Manifest, OpaqueArchive

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from models_init.archive.tar_reader import TarEntry
    from models_init.formats.ordinary_image import OrdinaryImage

CHUNK_SIZE = MIB
"""Decompressed bytes of a chunk: the size that `models-pack build` uses, so that a later version built with it shares
chunks."""

_DIGEST_SIZE = hashlib.sha256().digest_size


class FileRecord(NamedTuple):
    """One file; digests are stored as bytes, which take a third of the memory of their text."""

    path: str
    size: int
    executable: bool
    digest: bytes
    chunks: bytes


class _ChunkHasher:
    """Hashes a file of `size` bytes and its chunks; for a file of a single chunk both digests are the same."""

    def __init__(self, size: int) -> None:
        self.chunks = bytearray()
        self._left = size
        self._whole = hashlib.sha256() if size > CHUNK_SIZE else None
        self._begin_chunk()

    def add(self, piece: memoryview) -> None:
        if self._whole:
            self._whole.update(piece)
        while piece:
            part, piece = piece[: self._room], piece[self._room :]
            self._chunk.update(part)
            self._room -= len(part)
            self._left -= len(part)
            if not self._room or not self._left:
                self.chunks += self._chunk.digest()
                self._begin_chunk()

    @property
    def whole(self) -> bytes:
        """Return the digest of the file."""
        return self._whole.digest() if self._whole else bytes(self.chunks) or hashlib.sha256().digest()

    def _begin_chunk(self) -> None:
        self._chunk, self._room = hashlib.sha256(), CHUNK_SIZE


class FileHasher:
    """Hashes the content of a file while the caller reads it."""

    def __init__(self, entry: TarEntry) -> None:
        self._entry = entry
        self._chunks = _ChunkHasher(entry.size)

    def pieces(self) -> Iterator[memoryview]:
        """Yield the content."""
        for piece in self._entry.content:
            self._chunks.add(piece)
            yield piece

    def record(self) -> FileRecord:
        """Return the record of the file, after its content has been read."""
        entry, chunks = self._entry, self._chunks
        return FileRecord(entry.path, entry.size, entry.executable, chunks.whole, bytes(chunks.chunks))


class ManifestBuilder:
    """Records entries in the order of the archive."""

    def __init__(self) -> None:
        self._files: list[FileRecord] = []
        self._directories: list[str] = []

    def record(self, entry: TarEntry) -> Iterator[memoryview]:
        """Record an entry and yield its content."""
        if entry.is_directory:
            self.add_directory(entry.path)
            return
        hasher = FileHasher(entry)
        yield from hasher.pieces()
        self.add_file(hasher.record())

    def add_file(self, record: FileRecord) -> None:
        """Record a file that has been hashed already."""
        self._files.append(record)

    def add_directory(self, path: str) -> None:
        """Record a directory."""
        self._directories.append(path)

    @property
    def size(self) -> int:
        """Return the total size of all files in bytes."""
        return sum(file.size for file in self._files)

    @property
    def entries(self) -> int:
        """Return the number of files and directories, including implied parent directories."""
        return len(self.paths())

    def paths(self) -> set[str]:
        """Return the paths of all files and directories, including implied parent directories."""
        listed = {*(file.path for file in self._files), *self._directories}
        return listed | _directories(listed)

    def check(self, plain: OpaqueArchive) -> None:
        """Raise `BadArchiveError` if the totals differ from those of the publisher's manifest."""
        for what, declared, found in (
            ("bytes", plain.size, self.size),
            ("files and directories", plain.entries, self.entries),
        ):
            if declared not in (None, found):
                raise BadArchiveError(f"it contains {found} {what}, not {declared} as its manifest states")

    def derived(self, published: Manifest, digest: str, image: OrdinaryImage | None = None) -> Manifest:
        """Return the derived manifest, given the published manifest and the digest of its document.

        `image` describes the content of the layers if the archive is an ordinary image.
        """
        implied = _directories({*(file.path for file in self._files), *self._directories})
        return replace(
            published,
            files=tuple(_described(self._files)),
            directories=tuple(sorted(set(self._directories) - implied)),
            plain=OpaqueArchive(self.size, self.entries, digest, image),
        )


def _described(files: list[FileRecord]) -> Iterator[File]:
    """Yield the files sorted by path, with consecutive chunk offsets."""
    offset = 0
    for file in sorted(files):
        chunks = []
        for start in range(0, file.size, CHUNK_SIZE):
            size, at = min(CHUNK_SIZE, file.size - start), start // CHUNK_SIZE * _DIGEST_SIZE
            chunks.append(Chunk(offset, size, size, f"sha256:{file.chunks[at : at + _DIGEST_SIZE].hex()}"))
            offset += size
        yield File(file.path, file.size, f"sha256:{file.digest.hex()}", tuple(chunks), file.executable)


def _directories(paths: Iterable[str]) -> set[str]:
    """Return all parent directories of the paths."""
    directories: set[str] = set()
    for path in paths:
        parent = path.rpartition("/")[0]
        while parent and parent not in directories:
            directories.add(parent)
            parent = parent.rpartition("/")[0]
    return directories
