"""Limit the rate at which a source is read, over all its ranges (source decorator)."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

from models_init.sources.wrappers.base import SinkWrapper, SourceWrapper

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from models_init.sources.source import Sink, Source

_SHORTEST_WAIT = 0.002  # seconds; shorter waits are skipped, because an event loop's clock is not much more precise
_PORTION_SECONDS = 0.02  # the bytes of this time are accepted together
_CATCH_UP_SECONDS = 0.2  # maximum delay to catch up: on a busy machine, a sleep takes longer than requested


class RateLimitedSource(SourceWrapper):
    """Reads at most `rate` bytes per second from `inner`; a waiting range does not read from its connection.

    Unused rate does not accumulate while nothing is read, so that the rate exceeds the limit in almost no second.
    """

    def __init__(
        self,
        inner: Source,
        rate: int,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        super().__init__(inner)
        self._rate = rate
        self._sleep = sleep
        self._clock = clock
        self._due = 0.0  # time at which the bytes received so far are within the rate
        self._started = False

    async def read(self, key: str, limit: int) -> bytes:
        """See `Source.read`."""
        document = await super().read(key, limit)
        await self._wait_for(len(document))
        return document

    async def get_range(self, key: str, start: int, stop: int, sink: Sink) -> None:
        """See `Source.get_range`."""
        portion = max(1, int(self._rate * _PORTION_SECONDS))
        await super().get_range(key, start, stop, _RateLimitedSink(sink, portion, self._wait_for))

    async def _wait_for(self, size: int) -> None:
        """Wait until `size` more bytes are within the rate."""
        now = self._clock()
        self._due = max(self._due, now - _CATCH_UP_SECONDS if self._started else now) + size / self._rate
        self._started = True
        if (wait := self._due - now) > _SHORTEST_WAIT:
            await self._sleep(wait)


class _RateLimitedSink(SinkWrapper):
    """Accepts at most `portion` bytes at once, and waits for the rate before passing them on."""

    def __init__(self, inner: Sink, portion: int, wait_for: Callable[[int], Awaitable[None]]) -> None:
        super().__init__(inner)
        self._portion = portion
        self._wait_for = wait_for

    def get_buffer(self) -> memoryview:
        """See `Sink.get_buffer`."""
        return super().get_buffer()[: self._portion]

    async def buffer_updated(self, count: int) -> None:
        """See `Sink.buffer_updated`."""
        await self._wait_for(count)
        await super().buffer_updated(count)
