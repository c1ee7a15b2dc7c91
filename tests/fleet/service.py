"""The network of the simulation: the vendor's service with its limits, the lines of sites, and site caches."""

from __future__ import annotations

import heapq
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from models_init.core.errors import UnavailableError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class ServiceLimits:
    """Limits of a storage account: requests per second of the account and of one blob, and bytes per second.

    A request over a limit is refused with 503 and, unless `retry_after` is 0, a Retry-After in seconds. With `date`,
    that is the next multiple of `retry_after`, which is the same moment for all clients.
    """

    requests: float = 20_000
    blob_requests: float = 3_000
    egress: float = 50e9 / 8
    retry_after: float = 0.0
    date: bool = False


class TokenBucket:
    """A token bucket that holds the tokens of one second."""

    def __init__(self, rate: float, now: float = 0.0) -> None:
        self._rate = rate
        self._tokens = rate
        self._at = now

    def has(self, count: float, now: float) -> bool:
        """Return True if there are `count` tokens at the time `now`; a full bucket is enough for a larger count."""
        self._tokens = min(self._rate, self._tokens + (now - self._at) * self._rate)
        self._at = now
        return self._tokens >= min(count, self._rate)

    def take(self, count: float) -> None:
        """Take tokens."""
        self._tokens -= count


@dataclass(slots=True)
class Traffic:
    """Counters of a service by second: requests received, requests refused, and bytes that were requested."""

    offered: Counter[int] = field(default_factory=Counter)
    refused: Counter[int] = field(default_factory=Counter)
    sent: Counter[int] = field(default_factory=Counter)


class SimulatedService:
    """Admits or refuses requests. `outage` has the begin and the end of a period in which no request is answered."""

    def __init__(
        self, limits: ServiceLimits, clock: Callable[[], float], outage: tuple[float, float] = (0.0, 0.0)
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._outage = outage
        self._account = TokenBucket(limits.requests)
        self._egress = TokenBucket(limits.egress)
        self._blobs: dict[str, TokenBucket] = {}
        self.traffic = Traffic()

    def admit(self, key: str, size: int) -> None:
        """Count a request for `size` bytes. Raises `UnavailableError` if it is refused."""
        now = self._clock()
        self.traffic.offered[int(now)] += 1
        if self._outage[0] <= now < self._outage[1]:
            raise UnavailableError("the service cannot be reached")
        buckets = {
            self._account: 1,
            self._blobs.setdefault(key, TokenBucket(self._limits.blob_requests)): 1,
            self._egress: size,
        }
        if not all(bucket.has(count, now) for bucket, count in buckets.items()):
            self.traffic.refused[int(now)] += 1
            raise UnavailableError("503 ServerBusy", retry_after=self._retry_after(now), overloaded=True)
        for bucket, count in buckets.items():
            bucket.take(count)
        self.traffic.sent[int(now)] += size

    def _retry_after(self, now: float) -> float | None:
        delay = self._limits.retry_after
        if self._limits.date and delay:
            return (now // delay + 1) * delay - now
        return delay or None


class Line:
    """A line of `rate` bytes per second that its transfers share equally; each gets at most `each`."""

    def __init__(self, rate: float, each: float, loop: asyncio.AbstractEventLoop) -> None:
        self._rate = rate
        self._each = each
        self._loop = loop
        self._served = 0.0  # bytes that a transfer would have received since the beginning
        self._at = 0.0
        self._ends: list[tuple[float, int, asyncio.Future[None]]] = []
        self._number = 0
        self._timer: asyncio.TimerHandle | None = None

    async def transfer(self, size: float) -> None:
        """Wait until `size` bytes have arrived."""
        self._advance()
        end = self._loop.create_future()
        self._number += 1
        heapq.heappush(self._ends, (self._served + size, self._number, end))
        self._schedule()
        await end

    def _share(self) -> float:
        return min(self._each, self._rate / len(self._ends))

    def _advance(self) -> None:
        now = self._loop.time()
        if self._ends:
            self._served += (now - self._at) * self._share()
        self._at = now

    def _schedule(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
        if self._ends:
            left = max(0.0, self._ends[0][0] - self._served) / self._share()
            self._timer = self._loop.call_later(left, self._end)

    def _end(self) -> None:
        self._advance()
        first = self._ends[0][0]
        self._served = max(self._served, first)
        while self._ends and self._ends[0][0] <= self._served:
            _, _, end = heapq.heappop(self._ends)
            if not end.done():
                end.set_result(None)
        self._timer = None
        self._schedule()
