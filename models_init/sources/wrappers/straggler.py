"""When a range crawls while the others run: a source around a source.

A balancer's bad machine, a lossy path among several: one connection at a tenth of the others' pace holds up the whole
install at its end. A fresh connection mostly goes another way.
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

_FAR_BELOW = 4  # times slower than the others
_LOOK = 2.0  # seconds of receiving before a range is judged: TCP's slow start is over, on any line
_OVERHEAD = 1.0  # seconds that a fresh connection may cost
_KNOWN = 32  # ranges whose pace is remembered
_ENOUGH = 4  # ranges that make a pace
_TRIES = 3  # times that one range is cut off: then the source is as it is


class StragglerSource(SourceWrapper):
    """Cuts off a range that comes far slower than the latest others, with an `UnavailableError`: worth another try."""

    def __init__(self, inner: Source) -> None:
        super().__init__(inner)
        self._paces: deque[float] = deque(maxlen=_KNOWN)
        self._cut_off: Counter[tuple[str, int]] = Counter()

    async def get_range(self, key: str, start: int, stop: int, sink: Sink) -> None:
        """See `Source.get_range`."""
        timed = _TimedSink(sink, stop - start, lambda watch: self._judge(watch, key, stop))
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
        """Tell whether a fresh connection at the others' pace would be done much sooner."""
        if len(self._paces) < _ENOUGH or watch.left < watch.pace * _OVERHEAD:
            return False
        return watch.pace * _FAR_BELOW < self._usual()

    def _usual(self) -> float:
        """The median; `statistics` takes longer to import than it is worth. Others are added meanwhile."""
        paces = sorted(self._paces)
        return paces[len(paces) // 2]


class _TimedSink(SinkWrapper):
    """Has a stopwatch run while its source does, and now and then somebody `look` at it."""

    def __init__(self, inner: Sink, size: int, look: Callable[[_RateMeter], None]) -> None:
        super().__init__(inner)
        self.watch = _RateMeter(size)
        self._look = look

    async def buffer_updated(self, count: int) -> None:
        """See `Sink.buffer_updated`."""
        self.watch.arrived(count)
        await super().buffer_updated(count)
        if self.watch.is_time_to_look():
            self._look(self.watch)
        self.watch.resume()


class _RateMeter:
    """How fast `size` bytes come, from the first piece on: how long that takes is the idle limit's affair.

    The time that the sink takes is not the source's.
    """

    def __init__(self, size: int) -> None:
        self.left = size
        self._came = 0
        self._seconds = 0.0
        self._since: float | None = None
        self._looked = 0.0

    def arrived(self, count: int) -> None:
        self.left -= count
        if self._since is not None:
            self._seconds += monotonic() - self._since
            self._came += count

    def resume(self) -> None:
        self._since = monotonic()

    def is_time_to_look(self) -> bool:
        """Tell, every other second, that it is time to look."""
        if self._seconds - self._looked < _LOOK:
            return False
        self._looked = self._seconds
        return True

    @property
    def pace(self) -> float:
        """Bytes a second."""
        return self._came / max(self._seconds, 1e-6)
