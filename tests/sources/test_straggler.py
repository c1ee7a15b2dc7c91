"""A range that is far slower than the others is aborted, so that it is requested again; no other range is aborted."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from models_init.core.errors import UnavailableError
from models_init.sources.wrappers.base import SinkWrapper
from models_init.sources.wrappers.straggler import StragglerSource
from tests.clock import FakeClock
from tests.sources.collecting_sink import Collected
from tests.sources.fake import FakeSource

if TYPE_CHECKING:
    from models_init.sources.source import Sink

_MB = 10**6
_DATA = random.Random("brisk").randbytes(8 * _MB)
_PIECE = 100_000


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


class Late(SinkWrapper):
    """A sink that advances the clock before each piece."""

    def __init__(self, inner: Sink, source: Timed) -> None:
        super().__init__(inner)
        self._source = source

    async def buffer_updated(self, count: int) -> None:
        """Advance the clock by the transfer time of the piece."""
        self._source.clock.now += count / self._source.rate
        await super().buffer_updated(count)


class Timed(FakeSource):
    """A source that sends `rate` bytes per second."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__({"pack": _DATA}, piece=_PIECE)
        self.rate = 20.0 * _MB
        self.delay = 0.0
        self.clock = clock

    async def get_range(self, key: str, start: int, stop: int, sink: Sink) -> None:
        """Advance the clock by the delay of the response."""
        self.clock.now += self.delay

        await super().get_range(key, start, stop, Late(sink, self))


async def fetch(source: StragglerSource, start: int = 0, stop: int = len(_DATA)) -> bytes:
    sink = Collected(size=_PIECE)
    try:
        await source.get_range("pack", start, stop, sink)
    except UnavailableError as error:
        assert "it is requested again on another connection" in str(error)  # noqa: PT017 - an error is one of several outcomes
    return bytes(sink.data)


@pytest.mark.parametrize(
    ("usual", "seconds"), [(40.0 * _MB, 0.5), (20.0 * _MB, 0.8), (5.0 * _MB, 2.0)], ids=["fast", "usual", "slow"]
)
async def test_straggling_range_is_aborted(usual: float, seconds: float, clock: FakeClock) -> None:
    """At a tenth of the others' rate, a range is aborted; the bytes received until then were passed on.

    It is aborted after twice the time that the others take, but not before half a second and not after two.
    """
    inner = Timed(clock)
    source = StragglerSource(inner, clock)
    inner.rate = usual
    for _ in range(4):
        assert await fetch(source) == _DATA
    inner.rate, began = usual / 10, clock.now
    came = await fetch(source)
    assert came == _DATA[: len(came)]
    assert clock.now - began == pytest.approx(seconds, abs=0.25)
    inner.rate = usual
    assert came + await fetch(source, len(came)) == _DATA


async def test_range_is_aborted_at_most_three_times(clock: FakeClock) -> None:
    """After three aborts, the range is completed, however slowly."""
    inner = Timed(clock)
    source = StragglerSource(inner, clock)
    for _ in range(4):
        await fetch(source)
    inner.rate, data, asked = 0.8 * _MB, b"", 0
    while len(data) < len(_DATA):
        data += await fetch(source, len(data))
        asked += 1
    assert (data, asked) == (_DATA, 4)


@pytest.mark.parametrize("known", [0, 3])
async def test_no_range_is_aborted_without_faster_ones(clock: FakeClock, known: int) -> None:
    """If all ranges are slow, or few others are known, none is aborted."""
    inner = Timed(clock)
    source = StragglerSource(inner, clock)
    for _ in range(known):
        await fetch(source)
    inner.rate = 0.5 * _MB
    for _ in range(1 if known else 4):
        assert await fetch(source) == _DATA


async def test_time_of_sink_does_not_count_as_slow_source(clock: FakeClock) -> None:
    """A stalled disk does not make a range slow."""
    source = StragglerSource(Timed(clock), clock)
    for _ in range(4):
        await fetch(source)

    def stall(_piece: bytes) -> None:
        clock.now += 10.0

    slow = Collected(stall, size=_PIECE)
    await source.get_range("pack", 0, len(_DATA), slow)
    assert slow.data == _DATA


async def test_almost_complete_range_is_not_aborted(clock: FakeClock) -> None:
    """A new connection would take as long as waiting for the rest."""
    inner = Timed(clock)
    source = StragglerSource(inner, clock)
    for _ in range(4):
        await fetch(source)
    inner.rate = 1.0 * _MB
    size = 14 * _PIECE
    assert await fetch(source, 0, size) == _DATA[:size]


async def test_delay_before_response_does_not_count_as_slow(clock: FakeClock) -> None:
    """A response that begins late (after waiting for a token) and is then fast is not aborted."""
    inner = Timed(clock)
    source = StragglerSource(inner, clock)
    for _ in range(4):
        await fetch(source)
    inner.delay = 60.0
    assert await fetch(source) == _DATA
