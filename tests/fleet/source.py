"""The sources of the simulation: a service over a line, and a cache at a site. They deliver sizes instead of bytes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models_init.core.errors import UnavailableError
from models_init.formats.manifest import MIB
from models_init.sources.wrappers.base import SourceWrapper

if TYPE_CHECKING:
    import random

    from models_init.formats.manifest import Archive
    from models_init.sources.source import Sink
    from tests.fleet.service import Line, SimulatedService

_MANIFEST_SIZE = 200_000
_ROUND_TRIP = 0.03  # seconds
_SLICE = MIB  # of a site cache, as in its nginx configuration


async def pour(size: int, sink: Sink) -> None:
    """Pass `size` bytes to the sink."""
    while size:
        count = min(size, len(sink.get_buffer()))
        await sink.buffer_updated(count)
        size -= count


@dataclass(frozen=True, slots=True)
class Faults:
    """Share of requests whose connection breaks after a random part of the bytes; begin and end of an outage."""

    resets: float = 0.0
    outage: tuple[float, float] = (0.0, 0.0)


class SimulatedSource:
    """Reads from `service` over `line`. Delivers sizes instead of bytes."""

    name = "simulated:"

    def __init__(self, service: SimulatedService, line: Line, faults: Faults, chance: random.Random) -> None:
        self._service = service
        self._line = line
        self._faults = faults
        self._chance = chance

    async def read(self, key: str, _limit: int) -> bytes:
        """See `Source.read`; returns no bytes."""
        await asyncio.sleep(_ROUND_TRIP)
        self._service.admit(key, _MANIFEST_SIZE)
        await self._line.transfer(_MANIFEST_SIZE)
        return b""

    async def get_range(self, key: str, start: int, stop: int, sink: Sink) -> None:
        """See `Source.get_range`."""
        size = stop - start
        if is_broken := self._chance.random() < self._faults.resets:
            size = int(size * self._chance.random())
        await self.carry(key, stop - start, size)
        await pour(size, sink)
        if is_broken:
            raise UnavailableError("the connection was reset")

    async def carry(self, key: str, requested: int, received: int) -> None:
        """Request bytes of an archive, and wait until some of them have arrived."""
        await asyncio.sleep(_ROUND_TRIP)
        self._service.admit(key, requested)
        await self._line.transfer(received)

    async def names(self, _directory: str) -> list[str]:
        """See `Source.names`."""
        return []

    def report_wrong(self, _key: str, _start: int, _stop: int, _reason: str) -> bool:
        """See `Source.report_wrong`."""
        return False

    def recompressed(self, _key: str) -> Archive | None:
        """See `Source.recompressed`."""
        return None

    def unavailable_reason(self, _key: str, _start: int, _stop: int) -> str:
        """See `Source.unavailable_reason`."""
        return ""

    def repair_hint(self, _key: str, _start: int) -> str:
        """See `Source.repair_hint`."""
        return ""

    async def close(self) -> None:
        """Do nothing."""


class SimulatedCache:
    """The slices that a site's cache has, or is fetching."""

    def __init__(self) -> None:
        self.slices: dict[tuple[str, int], asyncio.Lock] = {}
        self.complete: set[tuple[str, int]] = set()


class CachedSource(SourceWrapper):
    """A source behind a site's cache, which fetches a missing slice once and passes on refusals."""

    def __init__(self, direct: SimulatedSource, cache: SimulatedCache) -> None:
        super().__init__(direct)
        self._direct = direct
        self._cache = cache

    async def get_range(self, key: str, start: int, stop: int, sink: Sink) -> None:
        """See `Source.get_range`."""
        for first in range(start - start % _SLICE, stop, _SLICE):
            name = (key, first)
            async with self._cache.slices.setdefault(name, asyncio.Lock()):
                if name not in self._cache.complete:
                    await self._direct.carry(key, _SLICE, _SLICE)
                    self._cache.complete.add(name)
            await pour(min(stop, first + _SLICE) - max(start, first), sink)
