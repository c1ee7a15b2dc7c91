"""A sink that collects the received bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Collected:
    """Provide a buffer of `size` bytes; `data` collects all bytes, `each` is called with each piece before that."""

    def __init__(self, each: Callable[[bytes], object] = lambda _piece: None, size: int = 64 << 10) -> None:
        self.data = bytearray()
        self._memory = memoryview(bytearray(size))
        self._each = each

    def get_buffer(self) -> memoryview:
        """See `Sink.get_buffer`."""
        return self._memory

    async def buffer_updated(self, count: int) -> None:
        """See `Sink.buffer_updated`."""
        assert 0 < count <= len(self._memory)
        piece = bytes(self._memory[:count])
        self._each(piece)
        self.data += piece
