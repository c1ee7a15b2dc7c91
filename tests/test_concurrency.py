"""The number of connections finds what the line and the service bear; a simulated line, no real time."""

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
    """Requests on a simulated line: `rate(n)` is the bytes a second that `n` of them bring together."""

    rate: Callable[[int], float]
    most: int = 16
    now: float = 0.0
    used: float = 0.0  # seconds of the processor a second
    busy: float = 0.0  # seconds a second for which each of them is busy with what came
    limits: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.connections = ConnectionLimiter(self.most, clock=lambda: self.now, used=lambda: self.now * self.used)

    async def bring(self, spans: int, refused: Callable[[int], bool] = lambda _: False) -> None:
        """Bring as many spans as the connections allow at once; tell of refusals."""
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
async def test_limit_grows_only_if_network_is_bottleneck(used: float, busy: float, grows: bool) -> None:  # noqa: FBT001 - a fact
    """Where the processor or the disk is what keeps bytes from coming, a gain would be noise."""
    line = SimulatedLine(lambda count: count * 60e6, used=used * len(os.sched_getaffinity(0)), busy=busy)
    await line.bring(100)
    assert (line.limits[-1] > FIRST) == grows


async def test_limit_grows_while_throughput_increases() -> None:
    """Where each connection is held to a rate of its own, as Azure does, all that are allowed are used soon."""
    line = SimulatedLine(lambda count: count * 60e6)
    await line.bring(100)
    assert line.limits[0] == FIRST
    assert line.limits[40] == 16
    assert line.limits[-1] == 16


async def test_limit_stays_if_more_connections_gain_nothing() -> None:
    """A line that four connections fill keeps four; more are tried now and then, and given up."""
    line = SimulatedLine(lambda _: 12.5e6)
    await line.bring(400)
    assert sorted(set(line.limits)) == [FIRST, 2 * FIRST]
    assert line.limits.count(FIRST) > 0.7 * len(line.limits)


async def test_limit_grows_when_line_becomes_faster() -> None:
    """What brought nothing once is tried again later."""
    line = SimulatedLine(lambda _: 12.5e6)
    await line.bring(100)
    line.rate = lambda count: count * 60e6
    await line.bring(300)
    assert line.limits[-1] == 16


async def test_limit_is_halved_on_overload() -> None:
    """It halves with each round of refusals, down to what is borne, and is never none."""
    line = SimulatedLine(lambda count: count * 60e6)
    await line.bring(100)
    await line.bring(200, refused=lambda count: count > 5)
    assert line.limits[-1] <= 8
    assert min(line.limits[100:]) >= 2
    await line.bring(100, refused=lambda _: True)
    assert line.limits[-1] == 1


async def test_simultaneous_overload_responses_count_once() -> None:
    """Sixteen connections that are refused together halve it once, not sixteen times."""
    line = SimulatedLine(lambda count: count * 60e6)
    await line.bring(100)
    for _ in range(16):
        line.connections.overloaded()
    assert line.connections.limit == 8


@pytest.mark.parametrize("most", [1, 2, 3, 5, 64])
async def test_limit_never_exceeds_maximum(most: int) -> None:
    """MODELS_CONNECTIONS is an upper limit, and slots are neither lost nor made of nothing."""
    line = SimulatedLine(lambda count: count * 60e6, most)
    await line.bring(500)
    assert max(line.limits) == most
    await line.bring(50, refused=lambda count: count > 2)
    for _ in range(line.connections.limit):
        await line.connections.acquire()
    one_more = asyncio.create_task(line.connections.acquire())
    await asyncio.sleep(0)
    assert not one_more.done()
    one_more.cancel()
