"""The fetcher moves all chunks from a source to staging, verified, within its limits of connections and memory."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from models_init.core.errors import AccessError, ModelsInitError, NoSpaceError, UnavailableError, WrongBytesError
from models_init.runtime.workers import Workers, each
from models_init.transfer.concurrency import ConnectionLimiter
from models_init.transfer.fetcher import Buffers, Fetcher
from models_init.transfer.ranges import BATCH_SIZE, GAP, spans
from models_init.volume.staging import Staging
from tests.eventually import eventually
from tests.publish.packs import REF, archive_of, pack
from tests.recorder import Recorder
from tests.samples import same_tree
from tests.sources.fake import FOREVER, Broken, FakeSource, Flipped, SourceCall

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from models_init.formats.manifest import Chunk, Manifest, Placement
    from tests.sources.fake import SourceFault

_KEY = "nl-nl/2026.04/pack.tar.zst"
_KIB = 1 << 10


@dataclass(frozen=True)
class Published:
    """A pack: its tree, its manifest, its archive."""

    tree: Path
    manifest: Manifest
    archive: bytes

    @property
    def placements(self) -> list[Placement]:
        """All chunks, in archive order."""
        return list(self.manifest.placements())

    def chunk(self, path: str, number: int = 0) -> Chunk:
        """One chunk of a file."""
        (file,) = (file for file in self.manifest.files if file.path == path)
        return file.chunks[number]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    """Build a pack of 12 incompressible MiB in small chunks, with small files before and after."""
    directory, chance = tmp_path_factory.mktemp("published"), random.Random("fetch")
    files = {f"a/{number:02}": chance.randbytes(100 * number) for number in range(30)}
    files |= {"b/large": chance.randbytes(12_000 * _KIB), "c/empty": b"", "d/last": chance.randbytes(100 * _KIB)}
    built = pack(directory, files, chunk_size=64 * _KIB, level=1)
    return Published(directory / f"source-{REF.name}-{REF.version}", built.parsed(), archive_of(built).read_bytes())


class Counted(Buffers):
    """Buffers that count loans and overwrite returned buffers."""

    def __init__(self, count: int, size: int) -> None:
        super().__init__(count, size)
        self.lent = self.most = 0

    async def borrow(self) -> memoryview:
        """Count the loan."""
        buffer = await super().borrow()
        self.lent += 1
        self.most = max(self.most, self.lent)
        return buffer

    def give_back(self, buffer: memoryview) -> None:
        """Overwrite the buffer, so that a late reader gets wrong bytes."""
        buffer[:] = bytes([0x5A]) * len(buffer)
        self.lent -= 1
        super().give_back(buffer)


@dataclass(frozen=True)
class FetchRun:
    """A fetcher with a fake source, and the objects that observe it."""

    published: Published
    source: FakeSource
    staging: Staging
    observer: Recorder
    buffers: Counted
    fetcher: Fetcher

    async def fetch(self, missing: Sequence[Placement] | None = None) -> None:
        """Fetch as the program does, which raises the first error only."""
        wanted = self.published.placements if missing is None else missing
        self.staging.prepare(wanted, ())
        await each(lambda chunks: self.fetcher.fetch(self.staging, chunks), [wanted])

    def sound(self) -> list[Placement]:
        """Return the correct chunks in staging."""
        return self.staging.sound(self.published.placements)


@pytest.fixture
def workers() -> Iterator[Workers]:
    made = Workers()
    yield made
    made.close()


@dataclass(frozen=True)
class FetchSetup:
    """Creates fetch runs."""

    published: Published
    workers: Workers
    directory: Path

    def work(self, *faults: SourceFault, connections: int = 4, buffers: int = 8, piece: int = 60_000) -> FetchRun:
        """Return a run with a source that has these faults."""
        source = FakeSource({_KEY: self.published.archive}, *faults, piece=piece)
        staging = Staging(self.directory / "staging", self.published.manifest)
        observer, counted = Recorder(), Counted(buffers, BATCH_SIZE)
        fetcher = Fetcher(source, self.workers, observer, ConnectionLimiter(connections), counted)
        return FetchRun(self.published, source, staging, observer, counted, fetcher)


@pytest.fixture
def bench(published: Published, workers: Workers, tmp_path: Path) -> FetchSetup:
    return FetchSetup(published, workers, tmp_path)


@pytest.mark.parametrize(("connections", "buffers"), [(1, 1), (1, 8), (4, 2), (16, 1), (16, 48)])
async def test_all_chunks_are_fetched_within_limits(bench: FetchSetup, connections: int, buffers: int) -> None:
    """With any number of connections and buffers, even one of each, every byte is fetched within the limits."""
    work = bench.work(connections=connections, buffers=buffers)
    await work.fetch()
    assert same_tree(bench.published.tree, work.staging.root) == []
    assert work.source.most_at_once <= connections
    assert work.buffers.most <= buffers
    assert work.buffers.lent == 0


@pytest.mark.parametrize("piece", [1_000, 65_536, 1 << 20, 1 << 24])
async def test_source_pieces_may_have_any_size(bench: FetchSetup, piece: int) -> None:
    """The size of the pieces that the source delivers does not matter."""
    work = bench.work(piece=piece)
    await work.fetch()
    assert same_tree(bench.published.tree, work.staging.root) == []


async def test_received_and_written_bytes_are_counted(bench: FetchSetup) -> None:
    """Traffic counts all received bytes and all decompressed bytes written; progress counts bytes of chunks."""
    work = bench.work()
    await work.fetch()
    chunks = [placement.chunk for placement in bench.published.placements]
    asked = sum(stop - start for start, stop in work.source.ranges())
    assert work.fetcher.traffic.fetched == asked
    assert work.fetcher.traffic.written == bench.published.manifest.size
    assert work.observer.done == sum(chunk.length for chunk in chunks) < asked


async def test_only_missing_chunks_are_fetched(bench: FetchSetup) -> None:
    """The ranges are the spans of the missing chunks: no other bytes are fetched, except small gaps."""
    missing = bench.published.placements[3::40]
    work = bench.work()
    await work.fetch(missing)
    assert sorted(work.source.ranges()) == [(span.start, span.stop) for span in spans(missing)]
    assert work.sound() == missing
    wasted = work.fetcher.traffic.fetched - sum(placement.chunk.length for placement in missing)
    assert wasted <= GAP * len(missing)


async def test_no_missing_chunks_cause_no_request(bench: FetchSetup) -> None:
    """Without missing chunks no request is sent."""
    work = bench.work()
    await work.fetch([])
    assert work.source.calls == []


async def test_corrupted_chunk_is_fetched_again(bench: FetchSetup) -> None:
    """Only the wrong chunk is fetched again; if it is then correct, nothing is reported."""
    chunk = bench.published.chunk("b/large", 50)
    work = bench.work(Flipped(at=chunk.offset + 100, times=1), connections=1)
    await work.fetch()
    assert same_tree(bench.published.tree, work.staging.root) == []
    assert (chunk.offset, chunk.offset + chunk.length) in work.source.ranges()
    assert work.source.uncached == [_KEY]
    assert len(work.source.ranges()) == len(list(spans(bench.published.placements))) + 1
    assert work.observer.done == sum(placement.chunk.length for placement in bench.published.placements)


async def test_permanently_wrong_chunk_is_reported_and_others_are_kept(bench: FetchSetup) -> None:
    """After one retry the error names pack, chunk, file and reason; all other chunks are stored and counted."""
    chunk = bench.published.chunk("b/large", 50)
    work = bench.work(Flipped(at=chunk.offset + 100, times=FOREVER))
    with pytest.raises(WrongBytesError) as wrong:
        await work.fetch()
    start = sum(bench.published.chunk("b/large", number).size for number in range(50))
    place = f"nl-nl 2026.04: the chunk at {chunk.offset} of pack.tar.zst (b/large, byte {start})"
    assert str(wrong.value).startswith(f"{place} is wrong, also after a second download: ")
    assert "more" not in str(wrong.value)
    assert [call for call in work.source.calls if call.start == chunk.offset] == [
        SourceCall("get_range", _KEY, chunk.offset, chunk.offset + chunk.length)
    ]
    others = [placement for placement in bench.published.placements if placement.chunk != chunk]
    assert work.sound() == others
    assert work.observer.done == sum(placement.chunk.length for placement in others)
    assert work.buffers.lent == 0


async def test_only_wrong_chunk_of_batch_is_fetched_again(bench: FetchSetup) -> None:
    """A wrong chunk in a batch of many costs its own bytes again, not the batch's."""
    chunk = bench.published.chunk("a/07")
    work = bench.work(Flipped(at=chunk.offset + 5, times=FOREVER))
    with pytest.raises(WrongBytesError, match=r"\(a/07, byte 0\)"):
        await work.fetch()
    assert len(work.sound()) == len(bench.published.placements) - 1
    assert (chunk.offset, chunk.offset + chunk.length) in work.source.ranges()


async def test_entirely_wrong_archive_stays_within_limits(bench: FetchSetup) -> None:
    """If every chunk is wrong, retries respect the limits, and the error counts all chunks."""
    work = bench.work(connections=3, buffers=5)
    work.source.objects[_KEY] = bytes(len(bench.published.archive))
    with pytest.raises(WrongBytesError) as wrong:
        await work.fetch()
    assert f", and {len(bench.published.placements) - 1} more; " in str(wrong.value)
    assert work.source.most_at_once <= 3
    assert work.buffers.most <= 5
    assert (work.observer.done, work.fetcher.traffic.written, work.sound()) == (0, 0, [])


@pytest.mark.parametrize("error", [AccessError("expired"), UnavailableError("down"), WrongBytesError("replaced")])
async def test_source_error_ends_fetch(bench: FetchSetup, error: ModelsInitError) -> None:
    """The source's error is raised, chunks verified before are kept, and no task remains."""
    work = bench.work(Broken(error, after=1, times=FOREVER), connections=1)
    with pytest.raises(type(error)) as raised:
        await work.fetch()
    assert raised.value is error
    assert len(work.source.calls) == 2
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert work.sound()
    assert 0 < work.observer.done <= sum(placement.chunk.length for placement in work.sound())


async def test_error_within_range_keeps_complete_batches(bench: FetchSetup) -> None:
    """Complete batches that arrived before the error are written."""
    work = bench.work(Broken(AccessError("expired"), at=3 << 20), connections=1)
    with pytest.raises(AccessError):
        await work.fetch()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert work.sound()
    assert all(placement.chunk.offset < 3 << 20 for placement in work.sound())


async def test_volume_error_ends_fetch(bench: FetchSetup, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk ends the fetch at once, and no task remains."""
    full = NoSpaceError("full")

    def fail(*_: object) -> None:
        raise full

    monkeypatch.setattr(Staging, "write", fail)
    work = bench.work()
    with pytest.raises(NoSpaceError) as raised:
        await work.fetch()
    assert raised.value is full
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert work.observer.done == 0


async def test_fetch_can_be_cancelled(bench: FetchSetup) -> None:
    """A cancelled fetch ends, leaves no task, and keeps verified chunks."""
    work = bench.work(connections=2)
    task = asyncio.create_task(work.fetch())
    await eventually(lambda: work.observer.done, "the first verified bytes")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert len(work.sound()) > 0


async def test_packs_share_connections_and_buffers(bench: FetchSetup, tmp_path: Path) -> None:
    """Packs that are fetched concurrently share the limits."""
    work = bench.work(connections=3, buffers=2)
    stagings = [Staging(tmp_path / f"pack-{number}", bench.published.manifest) for number in range(3)]
    for staging in stagings:
        staging.prepare(bench.published.placements, ())
    await each(lambda staging: work.fetcher.fetch(staging, bench.published.placements), stagings)
    assert [same_tree(bench.published.tree, staging.root) for staging in stagings] == [[], [], []]
    assert work.source.most_at_once <= 3
    assert work.buffers.most <= 2


async def test_buffers_are_allocated_on_demand() -> None:
    """A buffer is allocated when needed, reused before another is allocated, and waited for if all are lent."""
    buffers = Buffers(2, 10)
    one = await buffers.borrow()
    buffers.give_back(one)
    assert await buffers.borrow() is one
    two = await buffers.borrow()
    assert two is not one
    third = asyncio.create_task(buffers.borrow())
    await asyncio.sleep(0)
    assert not third.done()
    buffers.give_back(two)
    assert await third is two
