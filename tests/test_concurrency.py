"""The number of connections adapts to network and service, on a simulated line without real time."""

from __future__ import annotations

import asyncio
import heapq
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from models_init.transfer.concurrency import FIRST, ConnectionLimiter

if TYPE_CHECKING:
    from collections.abc import Callable

_SPAN = 8 << 20


@dataclass
class SimulatedLine:
    """Requests on a simulated line: `rate(n)` is the total bytes per second of `n` requests."""

    rate: Callable[[int], float]
    most: int = 16
    now: float = 0.0
    used: float = 0.0  # processor seconds per second
    busy: float = 0.0  # seconds per second that each request is busy with received bytes
    limits: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.connections = ConnectionLimiter(self.most, clock=lambda: self.now, used=lambda: self.now * self.used)

    async def transfer(self, spans: int, refused: Callable[[int], bool] = lambda _: False) -> None:
        """Transfer spans, as many at once as the connections allow; report overload."""
        ends: list[float] = []
        for number in range(spans):
            while len(ends) >= self.connections.limit:
                self._end(ends)
            await self.connections.acquire()
            if refused(len(ends) + 1):
                self.connections.overloaded()
            each = self.rate(len(ends) + 1) / (len(ends) + 1)
            heapq.heappush(ends, self.now + _SPAN / each * (1 + 0.01 * (number % 3)))
            self.limits.append(self.connections.limit)
        while ends:
            self._end(ends)

    def _end(self, ends: list[float]) -> None:
        before, self.now = self.now, max(self.now, heapq.heappop(ends))
        self.connections.count(_SPAN, (self.now - before) * self.busy * self.connections.limit)
        self.connections.release()


@pytest.mark.parametrize(("used", "busy", "grows"), [(0.4, 0.4, True), (0.6, 0.0, False), (0.0, 0.6, False)])
async def test_limit_grows_only_if_network_is_bottleneck(used: float, busy: float, grows: bool) -> None:  # noqa: FBT001 - parametrized
    """If the processor or the disk is the bottleneck, a gain would be noise."""
    line = SimulatedLine(lambda count: count * 60e6, used=used * len(os.sched_getaffinity(0)), busy=busy)
    await line.transfer(100)
    assert (line.limits[-1] > FIRST) == grows


async def test_limit_grows_while_throughput_increases() -> None:
    """If each connection has its own rate limit, as in Azure, the maximum is soon reached."""
    line = SimulatedLine(lambda count: count * 60e6)
    await line.transfer(100)
    assert line.limits[0] == FIRST
    assert line.limits[40] == 16
    assert line.limits[-1] == 16


async def test_limit_stays_if_more_connections_gain_nothing() -> None:
    """On a line that four connections fill, the limit stays at four; more are tried from time to time and dropped."""
    line = SimulatedLine(lambda _: 12.5e6)
    await line.transfer(400)
    assert sorted(set(line.limits)) == [FIRST, 2 * FIRST]
    assert line.limits.count(FIRST) > 0.7 * len(line.limits)


async def test_limit_grows_when_line_becomes_faster() -> None:
    """An increase that gained nothing is tried again later."""
    line = SimulatedLine(lambda _: 12.5e6)
    await line.transfer(100)
    line.rate = lambda count: count * 60e6
    await line.transfer(300)
    assert line.limits[-1] == 16


async def test_limit_is_halved_on_overload() -> None:
    """Each round of overload responses halves the limit until the service accepts it, but never to zero."""
    line = SimulatedLine(lambda count: count * 60e6)
    await line.transfer(100)
    await line.transfer(200, refused=lambda count: count > 5)
    assert line.limits[-1] <= 8
    assert min(line.limits[100:]) >= 2
    await line.transfer(100, refused=lambda _: True)
    assert line.limits[-1] == 1


async def test_simultaneous_overload_responses_count_once() -> None:
    """Sixteen simultaneous overload responses halve the limit once."""
    line = SimulatedLine(lambda count: count * 60e6)
    await line.transfer(100)
    for _ in range(16):
        line.connections.overloaded()
    assert line.connections.limit == 8


@pytest.mark.parametrize("most", [1, 2, 3, 5, 64])
async def test_limit_never_exceeds_maximum(most: int) -> None:
    """MODELS_CONNECTIONS is an upper limit, and no slot is lost or added."""
    line = SimulatedLine(lambda count: count * 60e6, most)
    await line.transfer(500)
    assert max(line.limits) == most
    await line.transfer(50, refused=lambda count: count > 2)
    for _ in range(line.connections.limit):
        await line.connections.acquire()
    one_more = asyncio.create_task(line.connections.acquire())
    await asyncio.sleep(0)
    assert not one_more.done()
    one_more.cancel()
