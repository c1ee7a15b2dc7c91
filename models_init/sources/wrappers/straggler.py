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

_FAR_BELOW = 4  # a range that is this many times slower than the others is a straggler
_LOOK = 2.0  # seconds of receiving between checks of a range; TCP's slow start is over by then on any link
_OVERHEAD = 1.0  # seconds that a new connection may take
_KNOWN = 32  # number of latest ranges whose rates are kept
_ENOUGH = 4  # number of ranges that are necessary for a typical rate
_TRIES = 3  # maximum number of aborts of one range; after that it is accepted as slow


class StragglerSource(SourceWrapper):
    """Aborts a range that is far slower than the latest others, with an `UnavailableError`, so that it is retried."""

    def __init__(self, inner: Source, clock: Callable[[], float] = monotonic) -> None:
        super().__init__(inner)
        self._clock = clock
        self._paces: deque[float] = deque(maxlen=_KNOWN)
        self._cut_off: Counter[tuple[str, int]] = Counter()

    async def get_range(self, key: str, start: int, stop: int, sink: Sink) -> None:
        """See `Source.get_range`."""
        timed = _TimedSink(sink, _RateMeter(stop - start, self._clock), lambda watch: self._judge(watch, key, stop))
        await super().get_range(key, start, stop, timed)
        self._paces.append(timed.watch.pace)

    def _judge(self, watch: _RateMeter, key: str, stop: int) -> None:
        if self._crawls(watch) and self._cut_off[key, stop] < _TRIES:
            self._cut_off[key, stop] += 1
            raise UnavailableError(
                f"a range of {key} came at {watch.pace / 1e6:.2f} MB/s, the others at "
                f"{self._usual() / 1e6:.2f} MB/s; it is asked for again on another connection"
            )

    def _crawls(self, watch: _RateMeter) -> bool:
        """Return True if a new connection at the others' rate would probably finish much sooner."""
        if len(self._paces) < _ENOUGH or watch.left < watch.pace * _OVERHEAD:
            return False
        return watch.pace * _FAR_BELOW < self._usual()

    def _usual(self) -> float:
        """Return the median rate of the latest ranges. The module `statistics` is avoided, as it is slow to import."""
        paces = sorted(self._paces)
        return paces[len(paces) // 2]


class _TimedSink(SinkWrapper):
    """Measures the rate at which the source delivers, and calls `look` from time to time."""

    def __init__(self, inner: Sink, watch: _RateMeter, look: Callable[[_RateMeter], None]) -> None:
        super().__init__(inner)
        self.watch = watch
        self._look = look

    async def buffer_updated(self, count: int) -> None:
        """See `Sink.buffer_updated`."""
        self.watch.arrived(count)
        await super().buffer_updated(count)
        if self.watch.is_time_to_look():
            self._look(self.watch)
        self.watch.resume()


class _RateMeter:
    """Measures the rate at which `size` bytes arrive.

    The time until the first bytes is not counted, because the idle limit covers it.
    The time that the sink takes is not counted either.
    """

    def __init__(self, size: int, clock: Callable[[], float]) -> None:
        self.left = size
        self._clock = clock
        self._came = 0
        self._seconds = 0.0
        self._since: float | None = None
        self._looked = 0.0

    def arrived(self, count: int) -> None:
        self.left -= count
        if self._since is not None:
            self._seconds += self._clock() - self._since
            self._came += count

    def resume(self) -> None:
        self._since = self._clock()

    def is_time_to_look(self) -> bool:
        """Return True once per `_LOOK` seconds of receiving."""
        if self._seconds - self._looked < _LOOK:
            return False
        self._looked = self._seconds
        return True

    @property
    def pace(self) -> float:
        """Bytes per second."""
        return self._came / max(self._seconds, 1e-6)
