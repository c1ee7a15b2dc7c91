"""Read and verify an archive, or a piece of one, that is a member of a bundle."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Protocol

from models_init.core.digests import digest_text
from models_init.formats.manifest import MIB
from models_init.transfer import chunk_io
from models_init.transfer.ranges import BATCH_SIZE, GAP, Batch, WrongChunk, batches

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models_init.formats.bundle_index import Member
    from models_init.formats.manifest import Manifest, Placement


class ByteReader(Protocol):
    """Random read access to a whole bundle, either one being written or one on a medium."""

    def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset`, or fewer at the end of the data."""


class BundleMember:
    """A member that contains the bytes of the manifest's archive from `member.start` on."""

    def __init__(self, manifest: Manifest, member: Member, reader: ByteReader) -> None:
        self.manifest = manifest
        self.member = member
        self._reader = reader

    def batches(self) -> Iterator[Batch]:
        """Yield batches that cover the member; a chunk is never split, and bytes before a chunk are in its batch."""
        at = self.member.start
        for batch in batches(self._placements()):
            yield from _cut(at, batch.start - GAP)
            yield Batch(max(at, batch.start - GAP), batch.stop, batch.placements)
            at = batch.stop
        yield from _cut(at, self.member.stop)

    def wrong(self, batch: Batch) -> list[WrongChunk]:
        """Return the chunks of the batch that do not verify."""
        return wrong_chunks(batch, memoryview(self._reader.read(self.offset(batch.start), batch.stop - batch.start)))

    def is_sound(self, batch: Batch) -> bool:
        """Return True if the batch is present and verifies.

        A batch without chunks cannot be verified and counts as missing; it is small, or the archive has no chunks.
        """
        return bool(batch.placements) and not self.wrong(batch)

    def is_whole(self) -> bool:
        """Return True if the archive's digest matches the manifest.

        Always True for a piece, which has no digest and is verified by its chunks.
        """
        if self.member.size != self.manifest.archive.size:
            return True
        return member_digest(self._reader, self.member) == self.manifest.archive.digest

    def offset(self, start: int) -> int:
        """Return the offset in the bundle of byte `start` of the archive."""
        return self.member.offset + start - self.member.start

    def _placements(self) -> Iterator[Placement]:
        for placement in self.manifest.placements():
            if self.member.start <= placement.chunk.offset < self.member.stop:
                yield placement


def wrong_chunks(batch: Batch, data: memoryview) -> list[WrongChunk]:
    """Return the chunks of a batch that do not verify in `data`, the batch's bytes, or are truncated there."""
    wrong = []
    for placement in batch.placements:
        begin = placement.chunk.offset - batch.start
        try:
            chunk_io.plain(data[begin : begin + placement.chunk.length], placement.chunk)
        except chunk_io.WrongChunkError as error:
            wrong.append(WrongChunk(placement, str(error)))
    return wrong


def member_digest(reader: ByteReader, member: Member) -> str:
    """Return the SHA-256 digest of the member's bytes."""
    digest = hashlib.sha256()
    for at in range(0, member.size, MIB):
        digest.update(reader.read(member.offset + at, min(MIB, member.size - at)))
    return digest_text(digest)


def _cut(start: int, stop: int) -> Iterator[Batch]:
    """Yield batches without chunks, of at most `BATCH_SIZE` bytes."""
    for at in range(start, stop, BATCH_SIZE):
        yield Batch(at, min(at + BATCH_SIZE, stop), ())
