"""A source in memory whose faults are data, and which is as nasty as the contract allows.

    source = FakeSource({"nl-nl/1/pack": data}, Broken(UnavailableError("down"), at=1000, times=2), Flipped(at=5))

For each range the first fault applies that is meant for its key, has let its `after` ranges pass, and is not used up.
What it lays behind a piece, where the sink has room, is rubbish.
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
PIECE = 60_000  # bytes: no power of two, so that pieces and chunks never end together
_POISON = 0xA5


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What is wrong, for `times` calls whose key fits `on`, after `after` others of them; this one is: nothing."""

    on: str = "*"
    times: int = 1
    after: int = 0

    def spoil(self, data: bytes, _start: int) -> bytes:
        """Return the bytes to give instead of the right ones."""
        return data

    def check(self, _given: int) -> None:
        """Raise, if this is the moment."""

    def room(self, _given: int) -> int:
        """How many bytes may be given until `check` is to be asked again."""
        return FOREVER


@dataclass(frozen=True)
class Broken(Fault):
    """The error comes after `at` bytes."""

    error: ModelsInitError
    at: int = 0

    def check(self, given: int) -> None:
        """Raise after as many bytes."""
        if given >= self.at:
            raise self.error

    def room(self, given: int) -> int:
        """Up to the break."""
        return self.at - given


@dataclass(frozen=True)
class Flipped(Fault):
    """One bit of the object is wrong, in the byte `at`; ranges without that byte are right, and count nevertheless."""

    at: int

    def spoil(self, data: bytes, start: int) -> bytes:
        """Flip it."""
        if not start <= self.at < start + len(data):
            return data
        spoiled = bytearray(data)
        spoiled[self.at - start] ^= 1
        return bytes(spoiled)


class Call(NamedTuple):
    """A call that came in."""

    method: str
    key: str
    start: int = 0
    stop: int = 0


class FakeSource:
    """Serves `objects`; `calls` is what came in, `most_at_once` the most ranges that were under way together."""

    name = "fake:"

    def __init__(self, objects: Mapping[str, bytes], *faults: Fault, piece: int = PIECE) -> None:
        self.objects = dict(objects)
        self.calls: list[Call] = []
        self.most_at_once = 0
        self.closed = False
        self._at_once = 0
        self._piece = piece
        self.script(*faults)

    def script(self, *faults: Fault) -> None:
        """Let these be the faults from now on, each with all its times before it."""
        self._script = [(fault, itertools.count()) for fault in faults]

    def ranges(self) -> list[tuple[int, int]]:
        """Every range that was asked for."""
        return [(call.start, call.stop) for call in self.calls if call.method == "get_range"]

    async def read(self, key: str, limit: int) -> bytes:
        """See `Source.read`."""
        self.calls.append(Call("read", key))
        await asyncio.sleep(0)
        fault = self._fault(key)
        fault.check(FOREVER)
        data = self._object(key)
        if len(data) > limit:
            raise SourceError(f"{key} is larger than {limit} bytes")
        return fault.spoil(data, 0)

    async def get_range(self, key: str, start: int, stop: int, sink: Sink) -> None:
        """See `Source.get_range`."""
        self.calls.append(Call("get_range", key, start, stop))
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            await self._give(key, start, stop, sink)
        finally:
            self._at_once -= 1

    async def names(self, folder: str) -> list[str]:
        """See `Source.names`."""
        self.calls.append(Call("names", folder))
        await asyncio.sleep(0)
        self._fault(folder).check(FOREVER)
        prefix = f"{folder}/" if folder else ""
        return sorted({key[len(prefix) :].split("/")[0] for key in self.objects if key.startswith(prefix)})

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

    def _fault(self, key: str) -> Fault:
        for fault, met in self._script:
            if fnmatchcase(key, fault.on) and fault.after <= next(met) < fault.after + fault.times:
                return fault
        return Fault()
