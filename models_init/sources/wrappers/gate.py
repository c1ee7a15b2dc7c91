"""Send fewer requests to an overloaded service: one gate for all requests of a run to one source.

A service that refuses requests (429, 503) refuses all connections of a run, and those of other sites. If each
connection retried independently, the retries alone could exceed the service's limit.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from models_init.sources.wrappers.backoff import Backoff

_FIRST = 2
"""Requests that are admitted at first: most releases have two or three packs, and their manifests are read first."""

_CALM = 16
"""Number of successes without a refusal after which twice as many requests are admitted, and the next closing is
shorter. In a fleet that exceeds the service's limit, waits therefore grow until few requests are refused, for any
number of sites."""


class Gate:
    """Admits the requests of one run.

    It admits two requests at first, and one more with each success until a request is refused, so that sites that start
    at the same moment do not all begin with a burst. A refusal halves the number of requests that may run. When the
    only running request is refused, the gate closes for the service's `Retry-After` plus a random time. Then one
    request is sent as a probe while the others wait. Successes admit more of them, until none is waiting.
    """

    def __init__(self, backoff: Backoff, clock: Callable[[], float], sleep: Callable[[float], Awaitable[None]]) -> None:
        self._backoff = backoff
        self._clock = clock
        self._sleep = sleep
        self._running = 0
        self._most: float = _FIRST  # requests that may run at once
        self._was_refused = self._was_closed = False
        self._opens_at = -math.inf
        self._closings = 0  # minus one for each `_CALM` successes since
        self._successes = 0  # since the last refusal
        self._waiting: list[asyncio.Future[None]] = []
        self.answered_at = -math.inf
        """Time of the last byte or response to any request."""

    async def enter(self) -> None:
        """Wait until a request may be sent; `leave` must be called when it has ended."""
        while True:
            if (wait := self.closed_for()) > 0:
                await self._sleep(wait)
            elif self._running >= self._most:
                await self._until_change()
            else:
                break
        self._running += 1

    def leave(self) -> None:
        """Record that a request has ended."""
        self._running -= 1
        self._wake()

    def answered(self) -> None:
        """Record that the service sent bytes."""
        self.answered_at = self._clock()

    def succeeded(self) -> None:
        """Record that a request succeeded."""
        self.answered()
        self._successes += 1
        if not self._was_refused:
            self._most += 1
            self._wake()
        elif self._successes % _CALM == 0:
            self._closings = max(0, self._closings - 1)
            self._most = 2 * self._most if self._waiting else math.inf
            self._wake()

    def refused(self, retry_after: float, left: float) -> None:
        """Record that the service refused a running request, which is given up after `left` seconds."""
        others = self._running - 1
        self._successes = 0
        self._was_refused = True
        self._most = max(1, min(self._most, others // 2))
        if not others and not self.closed_for():
            self._closings += 1
            wait = self._backoff.wait(self._closings, retry_after, left, is_first=not self._was_closed)
            self._opens_at, self._was_closed = self._clock() + wait, True

    def closed_for(self) -> float:
        """Return the seconds until the gate opens, or 0 if it is open."""
        return max(0.0, self._opens_at - self._clock())

    async def _until_change(self) -> None:
        change = asyncio.get_running_loop().create_future()
        self._waiting.append(change)
        await change

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for change in waiting:
            if not change.done():
                change.set_result(None)
