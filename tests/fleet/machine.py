"""A machine of the simulation: the program's retries, gate, limiter and fetcher on a simulated source."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from models_init.core.errors import ModelsInitError
from models_init.core.events import NullObserver
from models_init.formats.manifest import MIB
from models_init.sources.wrappers.mirrors import MirroredSource
from models_init.sources.wrappers.retry import RetryingSource, RetryPolicy
from models_init.sources.wrappers.straggler import StragglerSource
from models_init.transfer.concurrency import ConnectionLimiter
from models_init.transfer.fetcher import Buffers, Fetcher
from models_init.transfer.ranges import spans

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator, Sequence

    from models_init.formats.manifest import Manifest, Placement
    from models_init.runtime.workers import Workers
    from models_init.sources.source import Source
    from models_init.sources.wrappers.retry import Retry
    from models_init.transfer.ranges import Batch, Span, WrongChunk

_BUFFER = memoryview(bytearray(4 << 20))  # shared by all machines; nothing is written to it


class _Worker:
    """Runs calls immediately, without a thread."""

    async def run_to_end(self, call: Callable[..., object], *arguments: object, small: bool = False) -> object:  # noqa: ARG002 - part of the interface
        return call(*arguments)


class _SharedBuffer(Buffers):
    """Gives the same memory to every caller."""

    async def borrow(self) -> memoryview:
        return _BUFFER

    def give_back(self, buffer: memoryview) -> None:
        pass


@dataclass(slots=True)
class _Staging:
    """Records the placements that were stored, by their offset."""

    manifest: Manifest
    stored: set[int] = field(default_factory=set)

    def write(self, batch: Batch, _data: memoryview) -> list[WrongChunk]:
        self.stored.update(placement.chunk.offset for placement in batch.placements)
        return []


@dataclass(slots=True)
class _RetryCounter:
    connections: ConnectionLimiter
    count: int = 0

    def retrying(self, retry: Retry) -> None:
        self.count += 1
        if retry.error.overloaded:
            self.connections.overloaded()

    def recovered(self) -> None:
        pass


@dataclass(slots=True)
class MachineResult:
    """The end of a machine's install, and its exit codes."""

    ended: float = 0.0
    codes: list[int] = field(default_factory=list)
    retries: int = 0
    fetched: int = 0


class Machine:
    """Installs one pack: reads the manifest and fetches what it needs; a failed run is started again."""

    def __init__(self, source: Source, manifest: Manifest, needed: Sequence[Placement], connections: int,
                 chance: random.Random) -> None:  # fmt: skip
        self._source = source
        self._needed = needed
        self._connections = connections
        self._chance = chance
        self._staging = _Staging(manifest)
        self.mirrors: Sequence[Source] = ()
        self.result = MachineResult()

    @staticmethod
    def spans_of(placements: Sequence[Placement]) -> Iterator[Span]:
        """Yield the ranges in which these chunks are requested."""
        return spans(placements)

    async def install(self) -> MachineResult:
        """Run until an install succeeds, with the pauses of a kubelet between failures."""
        pause = 10.0
        while (code := await self._run()) != 0:
            self.result.codes.append(code)
            await asyncio.sleep(pause)
            pause = min(300.0, 2 * pause)
        self.result.codes.append(0)
        self.result.ended = asyncio.get_running_loop().time()
        return self.result

    async def _run(self) -> int:
        loop = asyncio.get_running_loop()
        connections = ConnectionLimiter(self._connections, loop.time, lambda: 0.0)
        policy = RetryPolicy(clock=loop.time, uniform=self._chance.uniform)
        retries = _RetryCounter(connections)
        source: Source = RetryingSource(StragglerSource(self._source, loop.time), policy, retries)
        if self.mirrors:
            source = MirroredSource(source, self.mirrors, NullObserver(), is_signed=False, policy=policy)
        fetcher = Fetcher(source, cast("Workers", _Worker()), NullObserver(), connections, _SharedBuffer(1, 0))
        missing = [one for one in self._needed if one.chunk.offset not in self._staging.stored]
        try:
            await source.read("manifest.json", MIB)
            await fetcher.fetch_spans(self._staging, spans(missing))
        except ModelsInitError as error:
            return error.exit_code
        finally:
            self.result.retries += retries.count
            self.result.fetched += fetcher.traffic.fetched
        return 0
