"""Find the frame boundaries of a zstd stream (RFC 8878, 3.1) to detect truncated or inserted data.

The library stops at the end of its input without reporting whether that is within a frame. Therefore this module parses
the headers of frames and blocks in parallel; it does not decompress them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from models_init.archive.errors import BadArchiveError

if TYPE_CHECKING:
    from collections.abc import Generator

MAGIC = b"\x28\xb5\x2f\xfd"
SKIPPABLE = b"\x2a\x4d\x18"
"""Bytes after the first byte (0x50 to 0x5f) of a skippable frame, which contains no content; pzstd writes such
frames."""

WINDOW_LIMIT = 8 << 20
"""Largest window in bytes that a frame may request: RFC 8878 (3.1.1.1.2) recommends that every reader supports it, and
`zstd -19` uses it. `--ultra` and `--long` use up to 2 GiB, which an init container does not have."""

LAYER_WINDOW_LIMIT = 128 << 20
"""Largest window in bytes for layers of container images, which were not made for this program: skopeo
uses 32 MiB from level 10 on, and `zstd --long` 128 MiB."""

_ID_SIZES, _CONTENT_SIZES = (0, 1, 2, 4), (0, 2, 4, 8)
_REPEATED, _RESERVED = 1, 3  # kinds of blocks


class FrameParser:
    """Parses a stream that is fed piece by piece."""

    def __init__(self, window_limit: int = WINDOW_LIMIT) -> None:
        self._window_limit = window_limit
        self._inside = False
        self._buffer = bytearray()
        self._steps = self._parse()
        self._needed = next(self._steps)

    def feed(self, piece: bytes) -> None:
        """Parse the next bytes. Raises `BadArchiveError`: they are not valid frames."""
        at = 0
        while at < len(piece):
            step = min(abs(self._needed) - len(self._buffer), len(piece) - at)
            if self._needed < 0:  # bytes to skip
                self._needed += step
            else:
                self._buffer += piece[at : at + step]
            at += step
            while len(self._buffer) == self._needed:
                data, self._buffer = bytes(self._buffer), bytearray()
                self._needed = self._steps.send(data)

    def end(self) -> None:
        """Mark the end of the stream. Raises `BadArchiveError`: it ends within a frame."""
        if self._buffer or self._inside:
            raise BadArchiveError("the zstd stream is truncated within a frame")

    def _parse(self) -> Generator[int, bytes, None]:
        """Yield the number of bytes needed next or, as a negative number, of bytes to skip."""
        while True:
            self._inside = False
            magic = yield 1
            self._inside = True
            while _begins_frame(magic) and len(magic) < len(MAGIC):
                magic += yield 1
            if not _begins_frame(magic):
                raise BadArchiveError("data that is not zstd follows the zstd stream")
            if magic == MAGIC:
                yield from self._frame()
            else:
                yield -int.from_bytes((yield 4), "little")

    def _frame(self) -> Generator[int, bytes, None]:
        (flags,) = yield 1
        single = flags >> 5 & 1
        window = (yield 1) if not single else b""
        dictionary = yield _ID_SIZES[flags & 3]
        content = yield _CONTENT_SIZES[flags >> 6] or single
        if any(dictionary):
            raise BadArchiveError("a zstd frame requires a dictionary, which is not supported")
        _check_window(_window_size(window[0]) if window else _content_size(content), self._window_limit)
        last = False
        while not last:
            header = int.from_bytes((yield 3), "little")
            last, kind, size = bool(header & 1), header >> 1 & 3, header >> 3
            if kind == _RESERVED:
                raise BadArchiveError("the zstd stream is damaged: it contains a block of an undefined type")
            yield -(1 if kind == _REPEATED else size)
        yield 4 * (flags >> 2 & 1)


def _begins_frame(start: bytes) -> bool:
    return MAGIC.startswith(start) or (0x50 <= start[0] <= 0x5F and SKIPPABLE.startswith(start[1:]))


def _window_size(descriptor: int) -> int:
    base = 1 << (10 + (descriptor >> 3))
    return base + base // 8 * (descriptor & 7)


def _content_size(field: bytes) -> int:
    return int.from_bytes(field, "little") + (256 if len(field) == 2 else 0)


def _check_window(size: int, limit: int) -> None:
    if size > limit:
        raise BadArchiveError(
            f"a zstd frame requires a window of {size >> 20} MiB, more than {limit >> 20} MiB; compress "
            "it with at most `zstd -19`, without --long or --ultra"
        )
