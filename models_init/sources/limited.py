"""How fast a source may be read: a source around a source."""

from __future__ import annotations

import asyncio
import threading
from time import monotonic, sleep
from typing import TYPE_CHECKING

from models_init.sources.around import SinkAround, SourceAround

if TYPE_CHECKING:
    from collections.abc import Callable

    from models_init.sources.source import Sink, Source

_SHORTEST = 0.002  # seconds: the clock of an event loop is not much finer
_PORTION = 0.02  # seconds' worth of bytes that are taken at once
_CREDIT = 0.2  # seconds by which it may lag behind and catch up: sleeping on a busy machine takes longer than asked for


class LimitedSource(SourceAround):
    """Takes at most `rate` bytes a second from `inner`, over all its ranges; who waits stops reading its connection.

    Next to nothing is saved up while nothing is read, so that hardly a second brings more.
    """

    def __init__(self, inner: Source, rate: int, sleep: Callable[[float], None] = sleep) -> None:
        super().__init__(inner)
        self._rate = rate
        self._sleep = sleep
        self._due = 0.0  # when the bytes that came so far are within the rate
        self._begun = False
        self._guard = threading.Lock()

    async def read(self, key: str, limit: int) -> bytes:
        """See `Source.read`."""
        document = await super().read(key, limit)
        await asyncio.to_thread(self._pay, len(document))
        return document

    async def get_range(self, key: str, start: int, stop: int, sink: Sink) -> None:
        """See `Source.get_range`."""
        await super().get_range(key, start, stop, _Paid(sink, max(1, int(self._rate * _PORTION)), self._pay))

    def _pay(self, size: int) -> None:
        """Wait until the bytes that came are within the rate."""
        now = monotonic()
        with self._guard:
            self._due = max(self._due, now - _CREDIT if self._begun else now) + size / self._rate
            self._begun = True
            wait = self._due - now
        if wait > _SHORTEST:
            self._sleep(wait)


class _Paid(SinkAround):
    """Takes `most` bytes at once, and has each of them paid for."""

    def __init__(self, inner: Sink, most: int, pay: Callable[[int], None]) -> None:
        super().__init__(inner)
        self._most = most
        self._pay = pay

    def room(self) -> memoryview:
        """See `Sink.room`."""
        return super().room()[: self._most]

    def advance(self, count: int) -> None:
        """See `Sink.advance`."""
        self._pay(count)
        super().advance(count)
