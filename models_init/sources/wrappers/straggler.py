"""Abort and retry straggling range requests (source decorator).

A faulty server behind a load balancer, or a lossy path among several, can slow one connection to a tenth of the others'
rate. That connection then delays the end of the whole install. A new connection usually takes another path.
"""

from __future__ import annotations

from collections import Counter, deque
from time import monotonic
from typing import TYPE_CHECKING

from models_init.core.errors import UnavailableError
from models_init.sources.wrappers.base import SinkWrapper, SourceWrapper

if TYPE_CHECKING:
    from collections.abc import Callable

    from models_init.sources.source import Sink, Source

_RATIO = 4  # a range that is this many times slower than the others is a straggler
_CHECK_TIMES = 2  # a range is checked each time it has taken this many times as long as the others
_SHORTEST_CHECK, _LONGEST_CHECK = 0.5, 2.0
"""Bounds of the time between two checks, in seconds of receiving. TCP's slow start ends within 2 s on any link, and
sooner on a link where whole ranges take less time."""

_RECONNECT_SECONDS = 1.0  # time that a new connection may take
_SAMPLES = 32  # number of latest ranges whose rates are kept
_ENOUGH_SAMPLES = 4  # number of ranges that are necessary for a typical rate
_MAX_ABORTS = 3  # of one range; after that, its rate is accepted


class StragglerSource(SourceWrapper):
    """Aborts a range that is far slower than other recent ones, with an `UnavailableError`, so that it is retried."""

    def __init__(self, inner: Source, clock: Callable[[], float] = monotonic) -> None:
        super().__init__(inner)
        self._clock = clock
        self._rates: deque[float] = deque(maxlen=_SAMPLES)
        self._typical_rate = 0.0  # median of the latest rates, 0 if they are too few
        self._aborts: Counter[tuple[str, int]] = Counter()

    async def get_range(self, key: str, start: int, stop: int, sink: Sink) -> None:
        """See `Source.get_range`."""
        meter = _RateMeter(stop - start, self._clock)
        await super().get_range(key, start, stop, _TimedSink(sink, meter, lambda: self._check(meter, key, stop)))
        self._rates.append(meter.rate)
        if len(self._rates) >= _ENOUGH_SAMPLES:  # the module `statistics` is avoided, as it is slow to import
            self._typical_rate = sorted(self._rates)[len(self._rates) // 2]

    def _check(self, meter: _RateMeter, key: str, stop: int) -> None:
        if not self._typical_rate or not meter.is_check_due(_CHECK_TIMES * meter.size / self._typical_rate):
            return
        if self._is_straggler(meter) and self._aborts[key, stop] < _MAX_ABORTS:
            self._aborts[key, stop] += 1
            raise UnavailableError(
                f"a range of {key} arrived at {meter.rate / 1e6:.2f} MB/s, the others at "
                f"{self._typical_rate / 1e6:.2f} MB/s; it is requested again on another connection"
            )

    def _is_straggler(self, meter: _RateMeter) -> bool:
        """Return True if a new connection at the others' rate would probably finish much sooner."""
        return meter.left > meter.rate * _RECONNECT_SECONDS and meter.rate * _RATIO < self._typical_rate


class _TimedSink(SinkWrapper):
    """Measures the rate at which the source delivers, and calls `check` after each piece."""

    def __init__(self, inner: Sink, meter: _RateMeter, check: Callable[[], None]) -> None:
        super().__init__(inner)
        self._meter = meter
        self._check = check

    async def buffer_updated(self, count: int) -> None:
        """See `Sink.buffer_updated`."""
        self._meter.arrived(count)
        await super().buffer_updated(count)
        self._check()
        self._meter.resume()


class _RateMeter:
    """Measures the rate at which `size` bytes arrive.

    The time until the first bytes is not counted, because the idle limit covers it.
    The time that the sink takes is not counted either.
    """

    def __init__(self, size: int, clock: Callable[[], float]) -> None:
        self.size = self.left = size
        self._clock = clock
        self._received = 0
        self._seconds = 0.0
        self._since: float | None = None
        self._checked = 0.0

    def arrived(self, count: int) -> None:
        self.left -= count
        if self._since is not None:
            self._seconds += self._clock() - self._since
            self._received += count

    def resume(self) -> None:
        self._since = self._clock()

    def is_check_due(self, seconds: float) -> bool:
        """Return True once per `seconds` of receiving, which are limited to the bounds above."""
        if self._seconds - self._checked < max(_SHORTEST_CHECK, min(seconds, _LONGEST_CHECK)):
            return False
        self._checked = self._seconds
        return True

    @property
    def rate(self) -> float:
        """Bytes per second."""
        return self._received / max(self._seconds, 1e-6)
