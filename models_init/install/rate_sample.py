"""Measure the rate of a source by fetching a few megabytes of a pack, for `--check`."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING

from models_init.formats.manifest import MIB
from models_init.runtime.workers import each
from models_init.transfer.ranges import spans

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models_init.sources.source import Source
    from models_init.transfer.plan import PackPlan

_SAMPLE = 8 * MIB
"""Largest number of bytes to fetch."""

_RANGE_SIZE = MIB // 2
_BUFFER_SIZE = 16 << 10  # size of the receive buffer in bytes
_SAMPLE_SECONDS = 2.0


async def sample_rate(source: Source, pack: PackPlan) -> tuple[int, float]:
    """Return the number of fetched bytes and the seconds that they took, without the time to open connections."""
    ranges = list(_sample_ranges(pack))
    sinks = [DiscardingSink() for _ in ranges]

    async def fetch(start: int, stop: int, sink: DiscardingSink) -> None:
        await source.get_range(pack.manifest.archive_key, start, stop, sink)

    began = monotonic()
    with suppress(TimeoutError):
        async with asyncio.timeout(_SAMPLE_SECONDS):
            await each(lambda range_: fetch(range_[0], range_[0] + 1, DiscardingSink()), ranges)
            began = monotonic()
            await each(lambda one: fetch(*one[0], one[1]), list(zip(ranges, sinks, strict=True)))
    return sum(sink.count for sink in sinks), max(monotonic() - began, 0.001)


class DiscardingSink:
    """A sink that counts bytes and drops them."""

    def __init__(self) -> None:
        self.count = 0
        self._memory = memoryview(bytearray(_BUFFER_SIZE))

    def get_buffer(self) -> memoryview:
        """See `Sink.get_buffer`."""
        return self._memory

    async def buffer_updated(self, count: int) -> None:
        """See `Sink.buffer_updated`."""
        self.count += count


def _sample_ranges(pack: PackPlan) -> Iterator[tuple[int, int]]:
    """Yield ranges of the bytes to fetch, up to the size of the sample."""
    left = _SAMPLE
    wanted = ((span.start, span.stop) for span in spans(pack.missing)) if pack.missing else _whole(pack)
    for begin, end in wanted:
        for start in range(begin, end, _RANGE_SIZE):
            stop = min(start + _RANGE_SIZE, end, start + left)
            yield start, stop
            left -= stop - start
            if not left:
                return


def _whole(pack: PackPlan) -> Iterator[tuple[int, int]]:
    """Yield the range of a complete archive, for an archive without chunks."""
    yield 0, pack.manifest.archive.size
