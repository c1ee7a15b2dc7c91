"""The place of one archive, or of a piece of it, in a bundle: how it is cut, whether what lies there is right."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Protocol

from models_init.formats.manifest import MIB
from models_init.transfer import chunk_io
from models_init.transfer.ranges import BATCH_SIZE, GAP, Batch, WrongChunk, batches

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models_init.formats.bundle_index import Member
    from models_init.formats.manifest import Manifest, Placement


class ByteReader(Protocol):
    """The whole bundle, read by offsets: files that grow, or those on a medium."""

    def read(self, offset: int, size: int) -> bytes:
        """Read so many bytes, or what is there of them."""


class BundleMember:
    """The bytes of `member`, which are the archive of `manifest` from `member.start` on."""

    def __init__(self, manifest: Manifest, member: Member, space: ByteReader) -> None:
        self.manifest = manifest
        self.member = member
        self._space = space

    def batches(self) -> Iterator[Batch]:
        """All of it, cut so that chunks stay in one; what lies before a chunk goes with it."""
        at = self.member.start
        for batch in batches(self._placements()):
            yield from _cut(at, batch.start - GAP)
            yield Batch(max(at, batch.start - GAP), batch.stop, batch.placements)
            at = batch.stop
        yield from _cut(at, self.member.stop)

    def wrong(self, batch: Batch) -> list[WrongChunk]:
        """The chunks of the batch that are not right where they lie."""
        return wrong_chunks(batch, memoryview(self._space.read(self.offset(batch.start), batch.stop - batch.start)))

    def is_sound(self, batch: Batch) -> bool:
        """Tell whether the batch lies there. Without a chunk it proves nothing; it is small, or all there is."""
        return bool(batch.placements) and not self.wrong(batch)

    def is_whole(self) -> bool:
        """Tell whether the archive is what its manifest says; a piece is by its chunks."""
        if self.member.size != self.manifest.archive.size:
            return True
        return digest_of(self._space, self.member) == self.manifest.archive.digest

    def offset(self, start: int) -> int:
        """Where a byte of the archive lies in the bundle."""
        return self.member.offset + start - self.member.start

    def _placements(self) -> Iterator[Placement]:
        for placement in self.manifest.placements():
            if self.member.start <= placement.chunk.offset < self.member.stop:
                yield placement


def wrong_chunks(batch: Batch, data: memoryview) -> list[WrongChunk]:
    """The chunks of a batch that are not right in `data`, its bytes; what is cut off is not, either."""
    wrong = []
    for placement in batch.placements:
        begin = placement.chunk.offset - batch.start
        try:
            chunk_io.plain(data[begin : begin + placement.chunk.length], placement.chunk)
        except chunk_io.WrongChunkError as error:
            wrong.append(WrongChunk(placement, str(error)))
    return wrong


def digest_of(space: ByteReader, member: Member) -> str:
    """Hash what lies there."""
    digest = hashlib.sha256()
    for at in range(0, member.size, MIB):
        digest.update(space.read(member.offset + at, min(MIB, member.size - at)))
    return f"sha256:{digest.hexdigest()}"


def _cut(start: int, stop: int) -> Iterator[Batch]:
    """Batches without a chunk."""
    for at in range(start, stop, BATCH_SIZE):
        yield Batch(at, min(at + BATCH_SIZE, stop), ())
