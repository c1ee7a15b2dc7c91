"""The rate is never exceeded, for any number of concurrent ranges and any piece size."""

from __future__ import annotations

import asyncio
import random

import pytest

from models_init.sources.wrappers.rate_limit import RateLimitedSource
from tests.clock import FakeClock
from tests.sources.collecting_sink import Collected
from tests.sources.fake import FakeSource

_DATA = random.Random("limited").randbytes(2_000_000)
_RATE = 100_000


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.mark.parametrize(("ranges", "piece"), [(1, 60_000), (7, 60_000), (16, 20_000), (3, 700_000)])
async def test_rate_limit_is_kept(clock: FakeClock, ranges: int, piece: int) -> None:
    """Bytes per second equal the rate, within one piece, and all bytes arrive."""
    source = RateLimitedSource(FakeSource({"pack": _DATA}, piece=piece), _RATE, clock.sleep, clock)
    came: list[tuple[float, int]] = []
    sinks = [Collected(lambda part: came.append((clock.now, len(part)))) for _ in range(ranges)]
    began = clock.now
    await asyncio.gather(*(source.get_range("pack", 0, len(_DATA), sink) for sink in sinks))
    assert all(sink.data == _DATA for sink in sinks)
    size = ranges * len(_DATA)
    assert clock.now - began == pytest.approx(size / _RATE, rel=0.01)
    total = 0
    for moment, count in came:
        total += count
        assert total <= (moment - began) * _RATE * 1.001 + 500


async def test_overlong_sleep_is_compensated(clock: FakeClock) -> None:
    """The rate is reached even if each sleep takes 1.5 times as long as requested, as on a busy machine."""
    late = FakeSource({"pack": _DATA}, piece=20_000)

    began = clock.now
    source = RateLimitedSource(late, _RATE, lambda seconds: clock.sleep(seconds + 0.01), clock)
    await source.get_range("pack", 0, len(_DATA), Collected())
    assert clock.now - began == pytest.approx(len(_DATA) / _RATE, rel=0.02)


async def test_unused_rate_does_not_accumulate(clock: FakeClock) -> None:
    """After an idle hour, further bytes are still limited to the rate; bytes of documents count as well."""
    source = RateLimitedSource(FakeSource({"pack": _DATA}), _RATE, clock.sleep, clock)
    clock.now += 3600.0
    began = clock.now
    assert await source.read("pack", len(_DATA)) == _DATA
    assert clock.now - began == pytest.approx(len(_DATA) / _RATE, rel=0.02)
