"""However many ranges are read at once, and in whatever pieces: no second brings more than the rate."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field

import pytest

from models_init.sources import limited
from models_init.sources.limited import LimitedSource
from tests.sources.fake import FakeSource

_DATA = random.Random("limited").randbytes(2_000_000)
_RATE = 100_000


@dataclass
class Time:
    """A clock that moves to the next sleeper's end when all sleep."""

    now: float = 1000.0
    sleepers: list[tuple[float, asyncio.Future[None]]] = field(default_factory=list)

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock is there."""
        future = asyncio.get_running_loop().create_future()
        self.sleepers.append((self.now + seconds, future))
        await future

    async def run(self, *work: asyncio.Task[None]) -> None:
        """Move the clock until the work is done."""
        while not all(task.done() for task in work):
            for _ in range(20):
                await asyncio.sleep(0)
            if self.sleepers:
                self.sleepers.sort(key=lambda sleeper: sleeper[0])
                self.now, future = self.sleepers.pop(0)
                future.set_result(None)


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    fake = Time()
    monkeypatch.setattr(limited, "monotonic", lambda: fake.now)
    return fake


@pytest.mark.parametrize(("ranges", "piece"), [(1, 60_000), (7, 60_000), (16, 20_000), (3, 700_000)])
async def test_the_rate_is_kept(time: Time, ranges: int, piece: int) -> None:
    """Bytes over seconds is the rate, within a piece; everything arrives."""
    source = LimitedSource(FakeSource({"pack": _DATA}, piece=piece), _RATE, time.sleep)
    came: list[tuple[float, int]] = []

    async def read() -> None:
        data = bytearray()

        async def sink(part: memoryview) -> None:
            data.extend(part)
            came.append((time.now, len(part)))

        await source.get_range("pack", 0, len(_DATA), sink)
        assert data == _DATA

    began = time.now
    await time.run(*(asyncio.create_task(read()) for _ in range(ranges)))
    size = ranges * len(_DATA)
    assert time.now - began == pytest.approx(size / _RATE, rel=0.01)
    total = 0
    for moment, count in came:
        total += count
        assert total <= (moment - began) * _RATE * 1.001 + 500


async def test_a_late_sleep_is_made_up_for(time: Time) -> None:
    """A machine so busy that each sleep takes a tenth of a second more has the rate nevertheless."""
    late = FakeSource({"pack": _DATA}, piece=20_000)

    async def sleep(seconds: float) -> None:
        await time.sleep(seconds + 0.1)

    began = time.now
    await time.run(asyncio.create_task(_fetch(LimitedSource(late, _RATE, sleep))))
    assert time.now - began == pytest.approx(len(_DATA) / _RATE, rel=0.02)


async def test_nothing_is_saved_up(time: Time) -> None:
    """After an hour without a byte the next ones come at the rate, too; documents count."""
    source = LimitedSource(FakeSource({"pack": _DATA}), _RATE, time.sleep)
    time.now += 3600.0
    began = time.now
    await time.run(asyncio.create_task(_read(source)))
    assert time.now - began == pytest.approx(len(_DATA) / _RATE, rel=0.02)


async def _fetch(source: LimitedSource) -> None:
    async def sink(_piece: memoryview) -> None:
        pass

    await source.get_range("pack", 0, len(_DATA), sink)


async def _read(source: LimitedSource) -> None:
    assert await source.read("pack", len(_DATA)) == _DATA
