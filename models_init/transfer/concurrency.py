"""Adapt the number of open connections to the measured throughput and to overload of the service."""

from __future__ import annotations

import asyncio
import os
from time import monotonic, process_time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

FIRST = 4
"""Initial number of connections: more do not increase throughput on loopback and on lines of up to 100 Mbit/s."""

_GAIN = 1.05  # factor over the best rate so far; smaller gains are noise
_FULL = 0.5
"""Load above which the limit no longer grows: the share of time in which the processor is used, or in which receivers
process received bytes. Above it, more connections only add noise, which would sometimes look like a gain. It is a half
because a server on the same machine may use the other half."""

_REST = 8  # rounds to wait after an increase without a gain
_SHORTEST = 0.05  # minimum seconds of a round; a rate measured over less time is noise


class ConnectionLimiter:
    """Slots for requests, `FIRST` at the start and at most `most`; each `async with` takes one slot.

    The number doubles as long as that increases the throughput, is increased again on trial from time to time, and is
    halved when the service is overloaded. Additive growth would take a minute to fill a line that needs sixteen
    connections. The number does not grow while this machine is the bottleneck.
    """

    def __init__(
        self, most: int, clock: Callable[[], float] = monotonic, used: Callable[[], float] = process_time
    ) -> None:
        """Set the upper limit and the clocks, both in seconds; `used` is this process's processor time."""
        self._most = most
        self._clock = clock
        self._used = used
        self._cores = len(os.sched_getaffinity(0))
        self._slots = asyncio.Semaphore(min(FIRST, most))
        self._surplus = 0  # slots to remove when they are released
        self.limit = min(FIRST, most)
        self._tried_from = 0  # the limit before the increase on trial, or 0 if there is none
        self._rate = 0.0  # bytes per second with the accepted limit
        self._rest = 0  # rounds until the next increase on trial
        self._busy = 0.0  # seconds
        self._bytes = self._requests = 0
        self._shrunk = False  # in this round
        self._is_first = True
        self._begin_round()

    async def acquire(self) -> None:
        """Take a slot; wait until one is free."""
        if self._is_first:  # nothing was requested before this
            self._is_first = False
            self._begin_round()
        await self._slots.acquire()

    def release(self) -> None:
        """Return a slot."""
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
        """Record that `size` bytes were received, and that a receiver spent `busy` seconds on processing bytes."""
        self._bytes += size
        self._busy += busy

    def overloaded(self) -> None:
        """Halve the limit, once for all requests that the service rejected in the same round."""
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
        """Evaluate a round, in which every slot was used about once.

        Keep or revert the increase on trial; then try a larger limit, or wait.
        """
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
        """Change the limit: add slots at once, remove slots as they are released."""
        for _ in range(limit - self.limit):
            if self._surplus:
                self._surplus -= 1
            else:
                self._slots.release()
        self._surplus += max(0, self.limit - limit)
        self.limit = limit
