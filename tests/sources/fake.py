"""An in-memory source with scripted faults, which behaves as badly as the contract allows.

    source = FakeSource({"nl-nl/1/pack": data}, Broken(UnavailableError("down"), at=1000, times=2), Flipped(at=5))

The first fault that matches the key, has skipped `after` ranges, and was used fewer than `times` times applies to a
range. The rest of the sink's buffer after each piece is filled with garbage.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple

from models_init.core.errors import ModelsInitError, NotFoundError, SourceError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from models_init.sources.source import Sink

FOREVER = sys.maxsize
PIECE = 60_000  # bytes; not a power of two, so that pieces and chunks never end at the same offset
_POISON = 0xA5


@dataclass(frozen=True, kw_only=True)
class SourceFault:
    """A fault for `times` calls whose key matches `on`, after `after` matching calls; this base has no effect."""

    on: str = "*"
    times: int = 1
    after: int = 0

    def spoil(self, data: bytes, _start: int) -> bytes:
        """Return the bytes to send instead of `data`, which begins at `_start`."""
        return data

    def check(self, _given: int) -> None:
        """Raise the error if it is due after `_given` bytes."""

    def room(self, _given: int) -> int:
        """Return the number of bytes that may be sent until the next call of `check`."""
        return FOREVER


@dataclass(frozen=True)
class Broken(SourceFault):
    """An error after `at` bytes."""

    error: ModelsInitError
    at: int = 0

    def check(self, given: int) -> None:
        """Raise the error after `at` bytes."""
        if given >= self.at:
            raise self.error

    def room(self, given: int) -> int:
        """Return the bytes left until the error."""
        return self.at - given


@dataclass(frozen=True)
class Flipped(SourceFault):
    """One flipped bit in byte `at` of the object; ranges without that byte are correct, but count as well."""

    at: int

    def spoil(self, data: bytes, start: int) -> bytes:
        """Flip the bit."""
        if not start <= self.at < start + len(data):
            return data
        spoiled = bytearray(data)
        spoiled[self.at - start] ^= 1
        return bytes(spoiled)


class SourceCall(NamedTuple):
    """A received call."""

    method: str
    key: str
    start: int = 0
    stop: int = 0


class FakeSource:
    """A source of `objects`; `calls` lists the calls, `most_at_once` is the maximum number of concurrent ranges.

    `uncached` lists the keys for which caches must be bypassed.
    """

    name = "fake:"

    def __init__(self, objects: Mapping[str, bytes], *faults: SourceFault, piece: int = PIECE) -> None:
        self.objects = dict(objects)
        self.calls: list[SourceCall] = []
        self.most_at_once = 0
        self.closed = False
        self.uncached: list[str] = []
        self._at_once = 0
        self._piece = piece
        self.script(*faults)

    def script(self, *faults: SourceFault) -> None:
        """Replace the faults; the counts of each start at zero."""
        self._script = [(fault, itertools.count()) for fault in faults]

    def ranges(self) -> list[tuple[int, int]]:
        """Return all requested ranges."""
        return [(call.start, call.stop) for call in self.calls if call.method == "get_range"]

    async def read(self, key: str, limit: int) -> bytes:
        """See `Source.read`."""
        self.calls.append(SourceCall("read", key))
        await asyncio.sleep(0)
        fault = self._fault(key)
        fault.check(FOREVER)
        data = self._object(key)
        if len(data) > limit:
            raise SourceError(f"{key} is larger than {limit} bytes")
        return fault.spoil(data, 0)

    async def get_range(self, key: str, start: int, stop: int, sink: Sink) -> None:
        """See `Source.get_range`."""
        self.calls.append(SourceCall("get_range", key, start, stop))
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            await self._give(key, start, stop, sink)
        finally:
            self._at_once -= 1

    async def names(self, directory: str) -> list[str]:
        """See `Source.names`."""
        self.calls.append(SourceCall("names", directory))
        await asyncio.sleep(0)
        self._fault(directory).check(FOREVER)
        prefix = f"{directory}/" if directory else ""
        return sorted({key[len(prefix) :].split("/")[0] for key in self.objects if key.startswith(prefix)})

    def report_wrong(self, key: str, _start: int, _stop: int, _reason: str) -> bool:
        """See `Source.report_wrong`."""
        self.uncached.append(key)
        return False

    def recompressed(self, _key: str) -> None:
        """See `Source.recompressed`."""

    def unavailable_reason(self, _key: str, _start: int, _stop: int) -> str:
        """See `Source.unavailable_reason`."""
        return ""

    def repair_hint(self, _key: str, _start: int) -> str:
        """See `Source.repair_hint`."""
        return "mend the fake"

    async def close(self) -> None:
        """See `Source.close`."""
        self.closed = True

    async def _give(self, key: str, start: int, stop: int, sink: Sink) -> None:
        fault, data = self._fault(key), self._object(key)
        if not 0 <= start < stop <= len(data):
            raise SourceError(f"{key} has {len(data)} bytes, {start} to {stop} were asked for")
        data = fault.spoil(data[start:stop], start)
        given = 0
        while given < len(data):
            await asyncio.sleep(0)
            fault.check(given)
            room = sink.get_buffer()
            assert room, "a sink has room for a byte at least"
            piece = data[given : given + min(self._piece, fault.room(given), len(room))]
            room[: len(piece)] = piece
            room[len(piece) : len(piece) + 16] = bytes([_POISON]) * len(room[len(piece) : len(piece) + 16])
            await sink.buffer_updated(len(piece))
            given += len(piece)
        fault.check(given)

    def _object(self, key: str) -> bytes:
        if key not in self.objects:
            raise NotFoundError(f"there is no {key}")
        return self.objects[key]

    def _fault(self, key: str) -> SourceFault:
        for fault, met in self._script:
            if fnmatchcase(key, fault.on) and fault.after <= next(met) < fault.after + fault.times:
                return fault
        return SourceFault()
