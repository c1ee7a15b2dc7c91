"""A source that is opened on first use, so that a run needs no token if all packs are already installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from models_init.formats.manifest import Archive
    from models_init.sources.source import Sink, Source


class LazySource:
    """A proxy for the source that `make` opens on first use. Each method also raises the errors of `make`."""

    def __init__(self, name: str, make: Callable[[], Source]) -> None:
        self._name = name
        self._make = make
        self._source: Source | None = None
        self._wrong: list[tuple[str, int, int, str]] = []

    @property
    def name(self) -> str:
        """The name of the source, known before it is opened."""
        return self._name

    async def read(self, key: str, limit: int) -> bytes:
        """See `Source.read`."""
        return await self._opened().read(key, limit)

    async def get_range(self, key: str, start: int, stop: int, sink: Sink) -> None:
        """See `Source.get_range`."""
        await self._opened().get_range(key, start, stop, sink)

    async def names(self, directory: str) -> list[str]:
        """See `Source.names`."""
        return await self._opened().names(directory)

    def report_wrong(self, key: str, start: int, stop: int, reason: str) -> bool:
        """See `Source.report_wrong`; reports are stored until the source is open."""
        if self._source:
            return self._source.report_wrong(key, start, stop, reason)
        self._wrong.append((key, start, stop, reason))
        return False

    def recompressed(self, key: str) -> Archive | None:
        """See `Source.recompressed`."""
        return self._opened().recompressed(key)

    def unavailable_reason(self, key: str, start: int, stop: int) -> str:
        """See `Source.unavailable_reason`; it is empty until the source is open."""
        return self._source.unavailable_reason(key, start, stop) if self._source else ""

    def repair_hint(self, key: str, start: int) -> str:
        """See `Source.repair_hint`."""
        return self._opened().repair_hint(key, start)

    async def close(self) -> None:
        """Close the source if it was opened."""
        if self._source:
            await self._source.close()

    def _opened(self) -> Source:
        if not self._source:
            self._source = self._make()
            for report in self._wrong:
                self._source.report_wrong(*report)
        return self._source
