"""Compress pieces into zstd frames. Runs in worker threads.

Reading, compressing and hashing release the interpreter lock. Frames contain their content size, which tells a reader
how much to allocate. They have no zstd checksum: the manifest has a SHA-256 of each chunk and of the whole archive, so
four bytes of xxHash per frame would add nothing.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import zstandard

from models_init.core.digests import digest_of
from models_init.publish.pack.pieces import FillerFrame
from models_init.publish.pack.source_tree import read_slice

if TYPE_CHECKING:
    from models_init.publish.pack.pieces import Piece


@dataclass(frozen=True, slots=True)
class Frame:
    """A compressed piece. `uncompressed` (the uncompressed bytes) and `digest` are empty for a filler."""

    piece: Piece
    data: bytes
    uncompressed: bytes = b""
    digest: str = ""


class Compressor(threading.local):
    """Compress at one level. Each thread has its own zstd context, because a context must not be shared."""

    def __init__(self, level: int) -> None:
        self._zstd = zstandard.ZstdCompressor(level=level, write_content_size=True, write_checksum=False)

    def frames(self, batch: list[Piece]) -> list[Frame]:
        """Compress each piece of a batch.

        Raises `UsageError`: a file has changed or cannot be read.
        """
        return [self._frame(piece) for piece in batch]

    def length(self, data: bytes) -> int:
        """Return the size in bytes of the frame that the data would become."""
        return len(self._zstd.compress(data))

    def _frame(self, piece: Piece) -> Frame:
        if isinstance(piece, FillerFrame):
            return Frame(piece, self._zstd.compress(piece.data))
        uncompressed = read_slice(piece.file, piece.start, piece.size)
        return Frame(piece, self._zstd.compress(uncompressed), uncompressed, digest_of(uncompressed))
