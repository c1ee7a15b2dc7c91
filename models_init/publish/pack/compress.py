"""Turns pieces into zstd frames; runs in worker threads.

Reading, compressing and hashing leave the interpreter lock. Frames carry their content size, so that a reader knows
what to allocate. They carry no zstd checksum: each chunk has its SHA-256 in the manifest and the archive has one as a
whole, so four bytes of xxHash a frame would prove nothing more.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import zstandard

from models_init.publish.pack.pieces import Filler
from models_init.publish.pack.source_tree import read_slice
from models_init.transfer.chunk_io import digest_of

if TYPE_CHECKING:
    from models_init.publish.pack.pieces import Piece


@dataclass(frozen=True, slots=True)
class Frame:
    """A piece, compressed. A filler has neither `plain` bytes nor a digest to remember."""

    piece: Piece
    data: bytes
    plain: bytes = b""
    digest: str = ""


class Compressor(threading.local):
    """Compresses at one level; each thread has its own zstd context, which must not be shared."""

    def __init__(self, level: int) -> None:
        self._zstd = zstandard.ZstdCompressor(level=level, write_content_size=True, write_checksum=False)

    def frames(self, batch: list[Piece]) -> list[Frame]:
        """Compress each piece of a batch; `UsageError` for a file that changed or cannot be read."""
        return [self._frame(piece) for piece in batch]

    def _frame(self, piece: Piece) -> Frame:
        if isinstance(piece, Filler):
            return Frame(piece, self._zstd.compress(piece.data))
        plain = read_slice(piece.file, piece.start, piece.size)
        return Frame(piece, self._zstd.compress(plain), plain, digest_of(plain))
