"""A sink that keeps what came."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Collected:
    """Lends `size` bytes at a time; `data` is what came, `each` is told every piece before that is kept."""

    def __init__(self, each: Callable[[bytes], object] = lambda _piece: None, size: int = 64 << 10) -> None:
        self.data = bytearray()
        self._memory = memoryview(bytearray(size))
        self._each = each

    def room(self) -> memoryview:
        """See `Sink.room`."""
        return self._memory

    def advance(self, count: int) -> None:
        """See `Sink.advance`."""
        assert 0 < count <= len(self._memory)
        piece = bytes(self._memory[:count])
        self._each(piece)
        self.data += piece
