"""Base classes of source and sink decorators, which delegate every call."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models_init.formats.manifest import Archive
    from models_init.sources.source import Sink, Source


class SourceWrapper:
    """Delegates every call to the source `inner`; subclasses override what they change."""

    def __init__(self, inner: Source) -> None:
        self._inner = inner

    @property
    def name(self) -> str:
        """The inner source's name."""
        return self._inner.name

    async def read(self, key: str, limit: int) -> bytes:
        """See `Source.read`."""
        return await self._inner.read(key, limit)

    async def get_range(self, key: str, start: int, stop: int, sink: Sink) -> None:
        """See `Source.get_range`."""
        await self._inner.get_range(key, start, stop, sink)

    async def names(self, directory: str) -> list[str]:
        """See `Source.names`."""
        return await self._inner.names(directory)

    def report_wrong(self, key: str, start: int, stop: int, reason: str) -> bool:
        """See `Source.report_wrong`."""
        return self._inner.report_wrong(key, start, stop, reason)

    def recompressed(self, key: str) -> Archive | None:
        """See `Source.recompressed`."""
        return self._inner.recompressed(key)

    def unavailable_reason(self, key: str, start: int, stop: int) -> str:
        """See `Source.unavailable_reason`."""
        return self._inner.unavailable_reason(key, start, stop)

    def repair_hint(self, key: str, start: int) -> str:
        """See `Source.repair_hint`."""
        return self._inner.repair_hint(key, start)

    async def close(self) -> None:
        """Close the inner source."""
        await self._inner.close()


class SinkWrapper:
    """Delegates every call to the sink `inner`; subclasses override what they change."""

    def __init__(self, inner: Sink) -> None:
        self._inner = inner

    def get_buffer(self) -> memoryview:
        """See `Sink.get_buffer`."""
        return self._inner.get_buffer()

    async def buffer_updated(self, count: int) -> None:
        """See `Sink.buffer_updated`."""
        await self._inner.buffer_updated(count)
