"""Count the bytes that arrive from a source (source decorator)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from models_init.sources.wrappers.base import SinkWrapper, SourceWrapper

if TYPE_CHECKING:
    from models_init.sources.source import Sink, Source


class MeteredSource(SourceWrapper):
    """Adds the bytes of all ranges to `received`, under the name of `inner`."""

    def __init__(self, inner: Source, received: dict[str, int]) -> None:
        super().__init__(inner)
        self._received = received
        received.setdefault(inner.name, 0)

    async def get_range(self, key: str, start: int, stop: int, sink: Sink) -> None:
        """See `Source.get_range`."""
        await super().get_range(key, start, stop, _MeteredSink(sink, self._received, self.name))


class _MeteredSink(SinkWrapper):
    """Counts the bytes before it passes them on."""

    def __init__(self, inner: Sink, received: dict[str, int], name: str) -> None:
        super().__init__(inner)
        self._received = received
        self._name = name

    async def buffer_updated(self, count: int) -> None:
        """See `Sink.buffer_updated`."""
        self._received[self._name] += count
        await super().buffer_updated(count)
