"""How many connections are open at once: more while that brings more, fewer when the service is overloaded."""

from __future__ import annotations

import asyncio
import os
from time import monotonic, process_time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

FIRST = 4
"""Connections to begin with: on loopback and on lines of up to 100 Mbit/s more bring nothing."""

_GAIN = 1.05  # times the best rate so far: less is noise
_FULL = 0.5
"""Share of the time for which the processor is used, or for which who receives is busy with what came: beyond it more
connections bring nothing but noise, some of which would pass for a gain. The other half may be a server's beside us."""

_REST = 8  # rounds without a try, once a try has brought nothing
_SHORTEST = 0.05  # seconds of a round: a rate over less is noise


class ConnectionLimiter:
    """Slots for requests, at most `most` and `FIRST` to begin with; use as `async with`, one slot each.

    Their number doubles as long as that makes the bytes come faster, is tried anew now and then, and halves when the
    service is overloaded: additive growth would take a minute to fill a line that sixteen connections fill. It does not
    grow where it is this machine that keeps bytes from coming faster.
    """

    def __init__(
        self, most: int, clock: Callable[[], float] = monotonic, used: Callable[[], float] = process_time
    ) -> None:
        """Take clocks in seconds, one of which counts what this process uses of the processor."""
        self._most = most
        self._clock = clock
        self._used = used
        self._cores = len(os.sched_getaffinity(0))
        self._slots = asyncio.Semaphore(min(FIRST, most))
        self._surplus = 0  # slots to take away as they come back
        self.limit = min(FIRST, most)
        self._tried_from = 0  # the limit before the try that is under way, 0 where there is none
        self._rate = 0.0  # bytes a second with the limit that has proved itself
        self._rest = 0  # rounds to go until the next try
        self._busy = 0.0  # seconds
        self._bytes = self._requests = 0
        self._shrunk = False  # in this round
        self._is_first = True
        self._begin_round()

    async def acquire(self) -> None:
        """Take a slot; wait until there is one."""
        if self._is_first:  # what was done until now brought no bytes
            self._is_first = False
            self._begin_round()
        await self._slots.acquire()

    def release(self) -> None:
        """Give a slot back."""
        if self._surplus:
            self._surplus -= 1
        else:
            self._slots.release()
        self._requests += 1
        if self._requests >= self.limit and self._clock() - self._began >= _SHORTEST:
            self._judge_round()

    async def __aenter__(self) -> None:
        await self.acquire()

    async def __aexit__(self, *_: object) -> None:
        self.release()

    def count(self, size: int, busy: float = 0.0) -> None:
        """Note that `size` bytes came, and that a slot's holder was `busy` with some for seconds."""
        self._bytes += size
        self._busy += busy

    def overloaded(self) -> None:
        """The service asks for less: halve, once for all requests that it refused at that time."""
        if self._requests >= self.limit or not self._shrunk:
            self._set(max(1, self.limit // 2))
            self._tried_from, self._rate, self._rest = 0, 0.0, _REST
            self._begin_round()
            self._shrunk = True

    def _begin_round(self) -> None:
        self._bytes, self._busy = 0, 0.0
        self._began, self._used_before = self._clock(), self._used()
        self._requests = 0
        self._shrunk = False

    def _judge_round(self) -> None:
        """Every slot was used once, about: keep what was tried, or go back; then try more, or rest."""
        seconds = self._clock() - self._began
        rate = self._bytes / seconds
        load = max(self._busy / self.limit, (self._used() - self._used_before) / self._cores) / seconds
        if self._tried_from and rate < self._rate * _GAIN:
            self._set(self._tried_from)
            self._tried_from, self._rest = 0, _REST
        elif self._rest and not self._tried_from:
            self._rest -= 1
            self._rate = rate
        else:
            self._rate = rate
            self._tried_from = self.limit if self.limit < self._most and load < _FULL else 0
            if self._tried_from:
                self._set(min(self._most, self.limit * 2))
        self._begin_round()

    def _set(self, limit: int) -> None:
        """Give out more slots at once, or fewer as they come back."""
        for _ in range(limit - self.limit):
            if self._surplus:
                self._surplus -= 1
            else:
                self._slots.release()
        self._surplus += max(0, self.limit - limit)
        self.limit = limit
