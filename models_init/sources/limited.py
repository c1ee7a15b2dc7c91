"""How fast a source may be read: a source around a source."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

from models_init.sources.around import SourceAround

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from models_init.sources.source import Sink, Source

_SHORTEST = 0.002  # seconds: the clock of an event loop is not much finer
_CREDIT = 0.2  # seconds by which it may lag behind and catch up: sleeping on a busy machine takes longer than asked for


class LimitedSource(SourceAround):
    """Takes at most `rate` bytes a second from `inner`, over all its ranges; who waits stops reading its connection.

    Next to nothing is saved up while nothing is read, so that hardly a second brings more.
    """

    def __init__(self, inner: Source, rate: int, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        super().__init__(inner)
        self._rate = rate
        self._sleep = sleep
        self._due = 0.0  # when the bytes that came so far are within the rate
        self._begun = False

    async def read(self, key: str, limit: int) -> bytes:
        """See `Source.read`."""
        document = await super().read(key, limit)
        await self._pay(len(document))
        return document

    async def get_range(self, key: str, start: int, stop: int, sink: Sink) -> None:
        """See `Source.get_range`."""

        async def paid(piece: memoryview) -> None:
            await self._pay(len(piece))
            await sink(piece)

        await super().get_range(key, start, stop, paid)

    async def _pay(self, size: int) -> None:
        """Wait until the bytes that came are within the rate."""
        now = monotonic()
        self._due = max(self._due, now - _CREDIT if self._begun else now) + size / self._rate
        self._begun = True
        if self._due - now > _SHORTEST:
            await self._sleep(self._due - now)
