"""The gate of an overloaded source: how many requests it admits, and when; no test waits in real time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from models_init.core.errors import UnavailableError
from models_init.sources.wrappers.backoff import Backoff
from models_init.sources.wrappers.gate import Gate
from models_init.sources.wrappers.retry import RetryingSource, RetryPolicy
from tests.clock import FakeClock
from tests.fleet.loop import run_simulated
from tests.sources.collecting_sink import Collected
from tests.sources.fake import FOREVER, Broken, FakeSource
from tests.sources.retry_log import RetryLog

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models_init.sources.source import Sink

_DATA = bytes(300_000)
_BUSY = UnavailableError("busy", retry_after=20.0, overloaded=True)


def longest(_low: float, high: float) -> float:
    """Return the longest wait instead of a random one."""
    return high


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def gate(clock: FakeClock) -> Gate:
    return Gate(Backoff(4.0, 60.0, 4.0, longest), clock, clock.sleep)


async def entered(gate: Gate, count: int) -> int:
    """Let this many requests try to enter; return the number of admitted ones."""
    tasks = [asyncio.create_task(gate.enter()) for _ in range(count)]
    await asyncio.sleep(0.0)
    inside = sum(task.done() for task in tasks)
    for task in tasks:
        task.cancel()
    return inside


async def succeed(gate: Gate, times: int) -> None:
    """Send one request after the other, which all succeed."""
    for _ in range(times):
        await gate.enter()
        gate.succeeded()
        gate.leave()


async def test_each_success_admits_one_more_until_first_refusal(gate: Gate) -> None:
    for successes in range(20):
        assert await entered(gate, 64) == 2 + successes
        for _ in range(2 + successes):
            gate.leave()
        await succeed(gate, 1)


async def test_refusal_halves_running_requests(gate: Gate, clock: FakeClock) -> None:
    """If other requests are running, the service is available, so the gate stays open for half as many."""
    await succeed(gate, 15)
    assert await entered(gate, 64) == 17
    gate.refused(20.0, 300.0)
    gate.leave()
    assert gate.closed_for() == 0.0
    for _ in range(9):
        assert await entered(gate, 1) == 0
        gate.succeeded()
        gate.leave()
    assert await entered(gate, 8) == 1
    assert clock.waits == []


async def test_gate_closes_when_only_request_is_refused(gate: Gate, clock: FakeClock) -> None:
    """The gate opens for one request after Retry-After and the jitter; a success does not admit all others at once."""
    await gate.enter()
    gate.refused(20.0, 300.0)
    gate.leave()
    began = clock.now
    tasks = [asyncio.create_task(gate.enter()) for _ in range(16)]
    for _ in range(5):
        await asyncio.sleep(0)
    assert clock.now - began == 20.0 + 20.0
    assert sum(task.done() for task in tasks) == 1
    gate.succeeded()
    gate.leave()
    for _ in range(3):
        await asyncio.sleep(0)
    assert sum(task.done() for task in tasks) == 2
    for task in tasks:
        task.cancel()


async def test_pauses_grow_without_retry_after_and_shrink_after_successes(gate: Gate, clock: FakeClock) -> None:
    async def pause() -> float:
        await gate.enter()
        gate.refused(0.0, 300.0)
        gate.leave()
        wait = gate.closed_for()
        clock.now += wait
        return wait

    assert [await pause() for _ in range(4)] == [4.0, 16.0, 60.0, 60.0]
    await succeed(gate, 32)
    assert await pause() == 60.0
    await succeed(gate, 64)
    assert await pause() == 4.0


async def test_only_first_pause_of_run_is_spread_widely(gate: Gate, clock: FakeClock) -> None:
    """The first one often affects all sites in the same second. Successes do not make a later pause the first again."""
    waits = []
    for _ in range(3):
        await gate.enter()
        gate.refused(40.0, 300.0)
        gate.leave()
        waits.append(gate.closed_for() - 40.0)
        clock.now += gate.closed_for()
        await succeed(gate, 64)
    assert waits == [40.0, 20.0, 20.0]


@pytest.mark.parametrize("style", [(0.0, 8.0), (10.0, 20.0), (30.0, 60.0)], ids=["none", "10-s", "30-s"])
def test_refused_run_sends_one_request_at_a_time(style: tuple[float, float]) -> None:
    """Sixteen connections together send one probe after each pause, until the source answers."""
    retry_after, longest_pause = style

    async def refused_connections() -> Sequence[float]:
        loop, log = asyncio.get_running_loop(), RetryLog()
        busy = UnavailableError("busy", retry_after=retry_after, overloaded=True)
        inner = _TimedSource({"pack": _DATA}, Broken(busy, times=4))
        source = RetryingSource(inner, RetryPolicy(clock=loop.time), log)
        await asyncio.gather(*(source.get_range("pack", 0, 1000, Collected()) for _ in range(16)))
        return inner.times

    times = run_simulated(refused_connections())
    assert times[:2] == [0.0, 0.0]
    assert retry_after <= times[2] <= longest_pause
    assert times[3] - times[2] >= retry_after
    assert times[4] - times[3] >= retry_after
    assert len(times) == 4 + 16


def test_run_is_given_up_when_no_request_is_answered() -> None:
    """The time limit is that of the source: requests that wait at the gate do not extend it."""

    async def refused_forever() -> float:
        loop = asyncio.get_running_loop()
        inner = FakeSource({"pack": _DATA}, Broken(_BUSY, times=FOREVER))
        source = RetryingSource(inner, RetryPolicy(clock=loop.time), RetryLog())
        calls = [source.read("pack", len(_DATA)) for _ in range(8)]
        with pytest.raises(UnavailableError):
            await asyncio.gather(*calls)
        return loop.time()

    assert 200.0 < run_simulated(refused_forever()) < 600.0


class _TimedSource(FakeSource):
    """Records the time of each request."""

    def __init__(self, objects: dict[str, bytes], *faults: Broken) -> None:
        super().__init__(objects, *faults)
        self.times: list[float] = []

    async def get_range(self, key: str, start: int, stop: int, sink: Sink) -> None:
        self.times.append(asyncio.get_running_loop().time())
        await super().get_range(key, start, stop, sink)
