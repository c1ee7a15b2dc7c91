"""Move missing chunks from a source into staging, many at a time.

Each connection brings one span after the other; what arrives is laid into a buffer batch by batch, and a worker thread
verifies and writes each full one. The buffers are the only memory that grows with the number of connections: one that
finds none free stops reading, and TCP tells the server to wait.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from models_init.errors import WrongBytesError
from models_init.plan import Batch, Span, spans
from models_init.workers import one_fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from models_init.manifest import Manifest, Placement
    from models_init.pace import Connections
    from models_init.plan import WrongChunk
    from models_init.sources.source import Source
    from models_init.watch import Watcher
    from models_init.workers import Workers


class Target(Protocol):
    """Where chunks of the pack that `manifest` describes are written: staging, or a bundle that is being made."""

    manifest: Manifest

    def write(self, batch: Batch, data: memoryview) -> list[WrongChunk]:
        """Verify and write the chunks of a batch, whose bytes are `data`; return the wrong ones. In worker threads."""


@dataclass(slots=True)
class Traffic:
    """Bytes that came from the source, wanted or not; plain bytes that were written of these, and that were copied.

    `unpacked` are the plain bytes that came in plain archives.
    """

    fetched: int = 0
    written: int = 0
    copied: int = 0
    unpacked: int = 0


class Buffers:
    """`count` pieces of memory of `size` bytes each, made when first needed and used again and again."""

    def __init__(self, count: int, size: int) -> None:
        self._unmade = count
        self._size = size
        self._free: asyncio.LifoQueue[memoryview] = asyncio.LifoQueue()

    async def borrow(self) -> memoryview:
        """Lend one; wait until there is one."""
        if self._free.empty() and self._unmade:
            self._unmade -= 1
            return memoryview(bytearray(self._size))
        return await self._free.get()

    def give_back(self, buffer: memoryview) -> None:
        """Take one back."""
        self._free.put_nowait(buffer)


@dataclass(frozen=True, slots=True)
class Fetcher:
    """Fetches for any number of packs at once; `connections` and `buffers` are shared by all of them."""

    source: Source
    workers: Workers
    watcher: Watcher
    connections: Connections
    buffers: Buffers
    traffic: Traffic = field(default_factory=Traffic)

    async def fetch(self, target: Target, missing: Sequence[Placement]) -> None:
        """Bring the missing chunks, given in archive order; raises as `bring` does."""
        await self.bring(target, spans(missing))

    async def bring(self, target: Target, wanted: Iterable[Span]) -> None:
        """Bring the chunks of these spans to where they belong.

        Raises the source's errors and the volume's at once; `WrongBytesError` for chunks that were wrong twice at the
        end, when everything else is in place.
        """
        delivery = _Delivery(self, target)
        with one_fault():
            async with asyncio.TaskGroup() as group:
                for span in wanted:
                    await self.connections.acquire()
                    bringing = group.create_task(delivery.bring(span, group))
                    bringing.add_done_callback(lambda _: self.connections.release())
        if delivery.lost:
            raise WrongBytesError(delivery.lament())


class _Delivery:
    """One pack's chunks on their way."""

    def __init__(self, fetcher: Fetcher, target: Target) -> None:
        self._fetcher = fetcher
        self._target = target
        self._key = target.manifest.archive_key
        self.lost: list[WrongChunk] = []

    async def bring(self, span: Span, group: asyncio.TaskGroup) -> None:
        """Bring one span; what arrives is stored by tasks of their own."""

        def accept(batch: Batch, buffer: memoryview) -> None:
            group.create_task(self._store(batch, buffer))

        await self._bring(span, accept)

    async def _bring(self, span: Span, accept: Callable[[Batch, memoryview], None]) -> None:
        receiver = _Receiver(span, self._fetcher, accept)
        try:
            await self._fetcher.source.get_range(self._key, span.start, span.stop, receiver.feed)
        finally:
            receiver.close()

    async def _store(self, batch: Batch, buffer: memoryview) -> None:
        for bad in await self._write(batch, buffer):
            await self._once_more(bad.placement)

    async def _once_more(self, placement: Placement) -> None:
        """A wrong chunk gets one fresh try: the fault may lie on the way and not at the source."""
        start, stop = placement.chunk.offset, placement.chunk.offset + placement.chunk.length
        batch = Batch(start, stop, (placement,))
        arrived: list[memoryview] = []
        async with self._fetcher.connections:
            await self._bring(Span(start, stop, (batch,)), lambda _, buffer: arrived.append(buffer))
        self.lost += await self._write(batch, arrived[0])

    async def _write(self, batch: Batch, buffer: memoryview) -> list[WrongChunk]:
        """Verify and write in a worker thread, give the buffer back, account for what was right."""
        fetcher, data = self._fetcher, buffer[: batch.stop - batch.start]
        run = fetcher.workers.run_in_turn if batch.is_fine else fetcher.workers.run
        try:
            wrong = await run(self._target.write, batch, data)
        finally:
            fetcher.buffers.give_back(buffer)
        bad = {id(chunk.placement) for chunk in wrong}
        right = [placement.chunk for placement in batch.placements if id(placement) not in bad]
        fetcher.traffic.written += sum(chunk.size for chunk in right)
        fetcher.watcher.advance(sum(chunk.length for chunk in right))
        return wrong

    def lament(self) -> str:
        """Say which chunk was wrong, where it lies, and what to do."""
        first, manifest = self.lost[0], self._target.manifest
        chunk = first.placement.chunk
        others = f", and {len(self.lost) - 1} more" if len(self.lost) > 1 else ""
        return (
            f"{manifest.ref}: the chunk at {chunk.offset} of {manifest.archive.file} "
            f"({first.placement.file.path}, byte {first.placement.start}) is wrong, and was again when asked anew: "
            f"{first.reason}{others}; {self._fetcher.source.remedy(self._key, chunk.offset)}; all other chunks are kept"
        )


class _Receiver:
    """Lays the bytes of one span, as they come, into a buffer for each batch, and drops those between batches."""

    def __init__(self, span: Span, fetcher: Fetcher, accept: Callable[[Batch, memoryview], None]) -> None:
        self._fetcher = fetcher
        self._accept = accept
        self._position = span.start
        self._batches = iter(span.batches)
        self._batch = next(self._batches)
        self._buffer: memoryview | None = None

    async def feed(self, piece: memoryview) -> None:
        """Take the next bytes; waits while all memory is in use."""
        self._fetcher.traffic.fetched += len(piece)
        self._fetcher.connections.count(len(piece))
        while piece:
            taken = await self._take(piece)
            self._position += taken
            piece = piece[taken:]
            if self._position == self._batch.stop:
                self._hand_over()

    async def _take(self, piece: memoryview) -> int:
        """Use the beginning of the piece; return how much of it is used up."""
        if self._position < self._batch.start:
            return min(len(piece), self._batch.start - self._position)
        if self._buffer is None:
            self._buffer = await self._fetcher.buffers.borrow()
        count = min(len(piece), self._batch.stop - self._position)
        begin = self._position - self._batch.start
        self._buffer[begin : begin + count] = piece[:count]
        return count

    def _hand_over(self) -> None:
        batch, buffer, self._buffer = self._batch, self._buffer, None
        self._batch = next(self._batches, batch)
        if buffer is not None:
            self._accept(batch, buffer)

    def close(self) -> None:
        """Give up what is half-filled."""
        if self._buffer is not None:
            self._fetcher.buffers.give_back(self._buffer)
            self._buffer = None
