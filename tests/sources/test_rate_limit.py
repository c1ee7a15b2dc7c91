"""The rate is never exceeded, for any number of concurrent ranges and any piece size."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

import pytest

from models_init.sources.wrappers import rate_limit
from models_init.sources.wrappers.rate_limit import RateLimitedSource
from tests.sources.collecting_sink import Collected
from tests.sources.fake import FakeSource

_DATA = random.Random("limited").randbytes(2_000_000)
_RATE = 100_000


@dataclass
class Time:
    """A clock that advances only by sleeping."""

    now: float = 1000.0

    async def sleep(self, seconds: float) -> None:
        """Advance the clock without waiting."""
        self.now += seconds


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    fake = Time()
    monkeypatch.setattr(rate_limit, "monotonic", lambda: fake.now)
    return fake


@pytest.mark.parametrize(("ranges", "piece"), [(1, 60_000), (7, 60_000), (16, 20_000), (3, 700_000)])
async def test_rate_limit_is_kept(time: Time, ranges: int, piece: int) -> None:
    """Bytes per second equal the rate, within one piece, and all bytes arrive."""
    source = RateLimitedSource(FakeSource({"pack": _DATA}, piece=piece), _RATE, time.sleep)
    came: list[tuple[float, int]] = []
    sinks = [Collected(lambda part: came.append((time.now, len(part)))) for _ in range(ranges)]
    began = time.now
    await asyncio.gather(*(source.get_range("pack", 0, len(_DATA), sink) for sink in sinks))
    assert all(sink.data == _DATA for sink in sinks)
    size = ranges * len(_DATA)
    assert time.now - began == pytest.approx(size / _RATE, rel=0.01)
    total = 0
    for moment, count in came:
        total += count
        assert total <= (moment - began) * _RATE * 1.001 + 500


async def test_overlong_sleep_is_compensated(time: Time) -> None:
    """The rate is reached on a machine so busy that each sleep takes half as long again."""
    late = FakeSource({"pack": _DATA}, piece=20_000)

    began = time.now
    source = RateLimitedSource(late, _RATE, lambda seconds: time.sleep(seconds + 0.01))
    await source.get_range("pack", 0, len(_DATA), Collected())
    assert time.now - began == pytest.approx(len(_DATA) / _RATE, rel=0.02)


async def test_unused_rate_does_not_accumulate(time: Time) -> None:
    """After an idle hour, further bytes are still limited to the rate; documents count."""
    source = RateLimitedSource(FakeSource({"pack": _DATA}), _RATE, time.sleep)
    time.now += 3600.0
    began = time.now
    assert await source.read("pack", len(_DATA)) == _DATA
    assert time.now - began == pytest.approx(len(_DATA) / _RATE, rel=0.02)
