"""Fetch missing chunks from a source into staging over several connections.

Each connection fetches one span at a time into its own buffer, batch by batch. A worker thread verifies and writes each
full batch. Meanwhile the connection pauses, TCP flow control makes the server wait, and the event loop receives for the
other connections. The buffers, and the read-ahead of the HTTP client, are the only memory that grows with the number of
connections.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple, Protocol

from models_init.core.errors import WrongBytesError
from models_init.runtime.workers import unwrap_group
from models_init.transfer.ranges import Batch, Span, spans

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from models_init.core.events import Observer
    from models_init.formats.manifest import Manifest, Placement
    from models_init.runtime.workers import Workers
    from models_init.sources.source import Source
    from models_init.transfer.concurrency import ConnectionLimiter
    from models_init.transfer.ranges import WrongChunk


class FetchTarget(Protocol):
    """A destination for chunks of the pack described by `manifest`: staging, or a bundle under construction."""

    manifest: Manifest

    def write(self, batch: Batch, data: memoryview) -> list[WrongChunk]:
        """Verify and write the chunks of a batch from its bytes `data`; return the wrong ones.

        Called in worker threads.
        """


@dataclass(slots=True)
class TransferStats:
    """Counters of a transfer, in bytes.

    `fetched` counts everything received from the source, wanted or not; `written` the decompressed bytes of fetched
    chunks; `copied` the decompressed bytes copied on the volume; `unpacked` the bytes unpacked from opaque archives.
    """

    fetched: int = 0
    written: int = 0
    copied: int = 0
    unpacked: int = 0


class Buffers:
    """A pool of `count` buffers of `size` bytes each, allocated on first use and reused."""

    def __init__(self, count: int, size: int) -> None:
        self._unmade = count
        self._size = size
        self._free: asyncio.LifoQueue[memoryview] = asyncio.LifoQueue()

    async def borrow(self) -> memoryview:
        """Return a buffer; wait until one is free."""
        if self._free.empty() and self._unmade:
            self._unmade -= 1
            return memoryview(bytearray(self._size))
        return await self._free.get()

    def give_back(self, buffer: memoryview) -> None:
        """Return a buffer to the pool."""
        self._free.put_nowait(buffer)


@dataclass(frozen=True, slots=True)
class Fetcher:
    """Fetches chunks of several packs concurrently; they share `connections` and `buffers`."""

    source: Source
    workers: Workers
    observer: Observer
    connections: ConnectionLimiter
    buffers: Buffers
    traffic: TransferStats = field(default_factory=TransferStats)

    async def fetch(self, target: FetchTarget, missing: Sequence[Placement]) -> None:
        """Fetch the missing chunks, given in archive order; raises as `fetch_spans` does."""
        await self.fetch_spans(target, spans(missing))

    async def fetch_spans(self, target: FetchTarget, wanted: Iterable[Span]) -> None:
        """Fetch the chunks of these spans and write them to the target.

        Raises errors of the source and of the volume at once. Raises `WrongBytesError`, after all other chunks are
        written, for chunks that were wrong twice.
        """
        pack = _PackFetch(self, target)
        with unwrap_group():
            async with asyncio.TaskGroup() as group:
                for span in wanted:
                    await self.connections.acquire()
                    task = group.create_task(pack.fetch_span(span, group))
                    task.add_done_callback(lambda _: self.connections.release())
        if pack.lost:
            raise WrongBytesError(pack.failure_message())

    def count(self, *, fetched: int = 0, written: int = 0, verified: int = 0, pack: str = "") -> None:
        """Add to the counters of received and written bytes, and report `verified` bytes as progress of a pack."""
        self.traffic.fetched += fetched
        self.traffic.written += written
        if verified:
            self.observer.advance(verified, pack)


class _PackFetch:
    """The fetch of one pack's chunks."""

    def __init__(self, fetcher: Fetcher, target: FetchTarget) -> None:
        self._fetcher = fetcher
        self._target = target
        self._key = target.manifest.archive_key
        self.lost: list[WrongChunk] = []

    async def fetch_span(self, span: Span, group: asyncio.TaskGroup) -> None:
        """Fetch one span; start a task that retries each wrong chunk."""
        for rejected in await self._fetch_batches(span):
            group.create_task(self._retry_chunk(rejected))

    async def _retry_chunk(self, rejected: _RejectedChunk) -> None:
        """Fetch a wrong chunk again from every other server, and once with a request that bypasses caches.

        The network or a mirror, rather than the publisher, may have altered it.
        """
        placement, past_caches = rejected.wrong.placement, False
        start, stop = placement.chunk.offset, placement.chunk.offset + placement.chunk.length
        while rejected.other_server or not past_caches:
            past_caches = past_caches or not rejected.other_server
            async with self._fetcher.connections:
                found = await self._fetch_batches(Span(start, stop, (Batch(start, stop, (placement,)),)))
            if not found:
                return
            (rejected,) = found
        self.lost.append(rejected.wrong)

    async def _fetch_batches(self, span: Span) -> list[_RejectedChunk]:
        """Fetch one span into a buffer, batch by batch; return the wrong chunks."""
        fetcher = self._fetcher
        buffer = await fetcher.buffers.borrow()
        receiver = _Receiver(span, buffer, fetcher, self._target)
        try:
            await fetcher.source.get_range(self._key, span.start, span.stop, receiver)
        finally:
            fetcher.buffers.give_back(buffer)
        return receiver.rejected

    def failure_message(self) -> str:
        """Return the error text: the first wrong chunk, its position and the remedy."""
        first, manifest = self.lost[0], self._target.manifest
        chunk = first.placement.chunk
        others = f", and {len(self.lost) - 1} more" if len(self.lost) > 1 else ""
        return (
            f"{manifest.ref}: the chunk at {chunk.offset} of {manifest.archive.file} "
            f"({first.placement.file.path}, byte {first.placement.start}) is wrong, also after a second download: "
            f"{first.reason}{others}; "
            f"{self._fetcher.source.repair_hint(self._key, chunk.offset)}; all other chunks are kept"
        )


class _RejectedChunk(NamedTuple):
    """A wrong chunk; `other_server` is True if the source reads it from another server next time."""

    wrong: WrongChunk
    other_server: bool


class _Receiver:
    """A sink for one span: stores each batch once the buffer holds it; drops the bytes between batches.

    `rejected` lists the chunks that did not verify. They are reported to the source at once.
    """

    def __init__(self, span: Span, buffer: memoryview, fetcher: Fetcher, target: FetchTarget) -> None:
        self._buffer = buffer
        self._fetcher = fetcher
        self._target = target
        self._key = target.manifest.archive_key
        self._pack = str(target.manifest.ref)
        self._position = span.start
        self._batches = iter(span.batches)
        self._batch = next(self._batches)
        self.rejected: list[_RejectedChunk] = []

    def get_buffer(self) -> memoryview:
        """See `Sink.get_buffer`."""
        batch, position = self._batch, self._position
        if position < batch.start:
            return self._buffer[: batch.start - position]
        return self._buffer[position - batch.start : batch.stop - batch.start]

    async def buffer_updated(self, count: int) -> None:
        """See `Sink.buffer_updated`. Raises what the target raises."""
        self._position += count
        self._fetcher.count(fetched=count)
        began = monotonic()
        if self._position == self._batch.stop:
            await self._store(self._batch)
            self._batch = next(self._batches, self._batch)
        self._fetcher.connections.count(count, monotonic() - began)

    async def _store(self, batch: Batch) -> None:
        """Verify and write a batch, and count its right chunks."""
        data = self._buffer[: batch.stop - batch.start]
        wrong = await self._fetcher.workers.run_to_end(self._target.write, batch, data, small=batch.is_small)
        bad = {id(chunk.placement) for chunk in wrong}
        right = [placement.chunk for placement in batch.placements if id(placement) not in bad]
        written, verified = sum(chunk.size for chunk in right), sum(chunk.length for chunk in right)
        self._fetcher.count(written=written, verified=verified, pack=self._pack)
        self.rejected += [_RejectedChunk(chunk, self._report(chunk)) for chunk in wrong]

    def _report(self, wrong: WrongChunk) -> bool:
        """Report a wrong chunk to the source; return True if the source reads it from another server next time."""
        chunk = wrong.placement.chunk
        reason = f"it sent a wrong chunk of {self._pack}: {wrong.reason}"
        return self._fetcher.source.report_wrong(self._key, chunk.offset, chunk.offset + chunk.length, reason)
