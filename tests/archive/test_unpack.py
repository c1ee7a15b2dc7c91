"""A plain archive comes to the volume in parts, is unpacked as far as it is there, and leaves the spool when right."""

from __future__ import annotations

import asyncio
import fcntl
import io
import os
import random
import tarfile
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import pytest

from models_init.archive import spool
from models_init.archive.tar_reader import TarEntry
from models_init.archive.tree_writer import TreeWriter
from models_init.archive.unpack import ArchiveInstall
from models_init.core.errors import ArchiveError, NoSpaceError, SourceError, VolumeError, WrongBytesError
from models_init.core.workers import Workers
from models_init.formats.manifest import OpaqueArchive, Resolved, encode, parse
from models_init.fs.files import disk_usage
from models_init.fs.page_cache import NoPageCachePolicy
from models_init.transfer.chunk_io import digest_of
from models_init.transfer.concurrency import ConnectionLimiter
from models_init.transfer.fetcher import Buffers, Fetcher
from models_init.transfer.ranges import BATCH_SIZE
from models_init.volume.layout import Volume, manifest_path_of, spool_path_of
from models_init.volume.retention import YOUNG
from tests.archive.archives import SILENT, described, packed
from tests.archive.hostile import HOSTILE, Hostile
from tests.eventually import eventually
from tests.publish.packs import REF, write
from tests.recorder import Recorder
from tests.samples import same_tree
from tests.sources.fake import FOREVER, Broken, FakeSource, Flipped

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from models_init.sources.source import Sink
    from tests.sources.fake import Fault

PART = 64 << 10
KIB = 1 << 10
_KEY = "nl-nl/2026.04/pack.tar.zst"


@dataclass
class Work:
    """A delivery at work on a fake source."""

    archive: bytes
    volume: Volume
    workers: Workers
    plain: OpaqueArchive = SILENT
    observer: Recorder = field(default_factory=Recorder)

    @property
    def published(self) -> Resolved:
        """What the publisher says."""
        manifest = described(self.archive, "pack.tar.zst", REF, self.plain)
        return Resolved(manifest, digest_of(encode(manifest)))

    @property
    def delivery(self) -> ArchiveInstall:
        """It, fresh as in a new run."""
        return ArchiveInstall(self.volume, NoPageCachePolicy(), self.published)

    @property
    def spool(self) -> Path:
        """Where the parts lie."""
        return spool_path_of(self.volume.staging_path(REF, self.published.digest))

    @property
    def parts(self) -> list[int]:
        """The parts that lie there, by number."""
        return sorted(int(path.name) for path in self.spool.glob("[0-9]*"))

    @property
    def trees(self) -> list[Path]:
        """What is being unpacked."""
        return sorted(self.spool.glob(".tree-*"))

    def staged(self) -> list[Path]:
        """The trees that have left a spool."""
        return sorted(
            path for path in (self.volume.staging / REF.name).glob("*@*") if path.suffix not in (".json", ".spool")
        )

    def source(self, *faults: Fault) -> FakeSource:
        """A source with the archive."""
        return FakeSource({_KEY: self.archive}, *faults)

    async def bring(self, source: FakeSource, connections: int = 4, buffers: int = 8) -> Resolved:
        """Bring it as the program does."""
        made = Buffers(buffers, BATCH_SIZE)
        return await self.delivery.fetch_and_unpack(
            Fetcher(source, self.workers, self.observer, ConnectionLimiter(connections), made)
        )


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "SPAN_SIZE", PART)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten parts, about, that nothing compresses."""
    chance = random.Random("plain")
    files = {f"a/{number:02}": chance.randbytes(100 * number) for number in range(20)}
    files |= {"b/large": chance.randbytes(560 * KIB), "c/empty": b"", "d/last": chance.randbytes(60 * KIB), "e/": b""}
    directory = write(tmp_path_factory.mktemp("plain") / "tree", files)
    for path in (directory, *directory.rglob("*")):
        path.chmod(0o755 if path.is_dir() or path.name == "large" else 0o644)
    return directory


@pytest.fixture(scope="module")
def archive(tree: Path) -> bytes:
    return packed(tree)


@pytest.fixture
def workers() -> Iterator[Workers]:
    made = Workers()
    yield made
    made.close()


@pytest.fixture
def work(archive: bytes, workers: Workers, tmp_path: Path) -> Work:
    return _work(archive, workers, tmp_path)


def _work(archive: bytes, workers: Workers, directory: Path, plain: OpaqueArchive = SILENT) -> Work:
    directory.mkdir(exist_ok=True)
    volume = Volume(directory / "models")
    volume.prepare()
    return Work(archive, volume, workers, plain)


def _parts_of(archive: bytes) -> list[tuple[int, int]]:
    return [(start, min(start + PART, len(archive))) for start in range(0, len(archive), PART)]


@pytest.mark.parametrize(("connections", "buffers"), [(1, 1), (4, 2), (16, 16)])
async def test_it_arrives(work: Work, tree: Path, connections: int, buffers: int) -> None:
    """Each part is fetched once; the tree and its manifest stand in staging, and all that came is counted."""
    source = work.source()
    found = await work.bring(source, connections, buffers)
    staging = work.volume.staging_path(REF, found.digest)
    assert same_tree(tree, staging) == []
    assert sorted(source.ranges()) == _parts_of(work.archive)
    assert work.observer.done == len(work.archive)
    assert parse(manifest_path_of(staging).read_bytes(), REF) == found.manifest
    assert found.manifest.is_derived
    assert work.trees == []


async def test_the_manifest_that_is_derived_is_the_same_anywhere(work: Work, workers: Workers, tmp_path: Path) -> None:
    """It depends on what was published alone, and describes every byte."""
    first = await work.bring(work.source())
    second = await _work(work.archive, workers, tmp_path / "other").bring(work.source())
    assert first == second
    placements = list(first.manifest.placements())
    root = work.volume.staging_path(REF, first.digest)
    for placement in placements:
        data = (root / placement.file.path).read_bytes()[placement.start :][: placement.chunk.size]
        assert digest_of(data) == placement.chunk.digest
    assert all(digest_of((root / one.path).read_bytes()) == one.digest for one in first.manifest.files)


class Gated(FakeSource):
    """Keeps the last part back until it is let through."""

    def __init__(self, archive: bytes) -> None:
        super().__init__({_KEY: archive})
        self.gate = asyncio.Event()
        self.reached = False

    async def get_range(self, key: str, start: int, stop: int, sink: Sink) -> None:
        """Wait where it is the last."""
        if stop == len(self.objects[key]):
            self.reached = True
            await self.gate.wait()
        await super().get_range(key, start, stop, sink)


async def test_it_is_unpacked_as_far_as_it_is_there(work: Work, tree: Path) -> None:
    """Before the last part comes all files before it are written; nothing has left the spool."""
    source = Gated(work.archive)
    bringing = asyncio.create_task(work.bring(source))
    try:
        last = len(work.archive) // PART * PART
        await eventually(lambda: _unpacked(work) == _content_before(last, work.archive), "unpacking all that is there")
        assert source.reached
        assert work.staged() == []
    finally:
        source.gate.set()
        found = await bringing
    assert same_tree(tree, work.volume.staging_path(REF, found.digest)) == []


def _content_before(stop: int, archive: bytes) -> int:
    """Bytes of files that lie before that byte of the tar stream."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return sum(min(member.size, max(0, stop - member.offset_data)) for member in tar if member.isreg())


def _unpacked(work: Work) -> int:
    return sum(path.stat().st_size for root in work.trees for path in root.rglob("*") if path.is_file())


async def test_parts_that_came_are_taken_up(work: Work) -> None:
    """A run that was broken off has fetched nothing in vain, but for what was in flight."""
    with pytest.raises(SourceError, match="down"):
        await work.bring(work.source(Broken(SourceError("down"), after=6, times=FOREVER)), connections=1, buffers=1)
    work.workers.close()
    assert work.trees == []
    came = work.parts
    assert came[:5] == [0, 1, 2, 3, 4]
    assert work.delivery.staged().spooled_bytes == len(came) * PART
    again, source = replace(work, workers=Workers(), observer=Recorder()), work.source()
    await again.bring(source)
    again.workers.close()
    assert sorted(source.ranges()) == _parts_of(work.archive)[len(came) :]


def _lay(work: Work, *numbers: int) -> None:
    """Parts of an earlier run."""
    work.spool.mkdir(parents=True)
    for number in numbers:
        start, stop = _parts_of(work.archive)[number]
        (work.spool / f"{number:06}").write_bytes(work.archive[start:stop])


async def test_a_part_of_another_size_is_fetched_again(work: Work) -> None:
    """A part that was cut off by a crash of the machine is none; neither is a link."""
    _lay(work, 0, 1, 2, 3, 4)
    os.truncate(work.spool / "000001", PART - 1)
    (work.spool / "000003").unlink()
    (work.spool / "000003").symlink_to(work.spool / "000002")
    source = work.source()
    await work.bring(source)
    parts = _parts_of(work.archive)
    assert sorted(source.ranges()) == [parts[1], parts[3], *parts[5:]]


async def test_parts_that_have_rotten_are_fetched_again_at_once(work: Work, tree: Path) -> None:
    """Where the whole is wrong all of it is fetched anew, once, in the same run."""
    _lay(work, 0, 1, 2, 3, 4)
    (work.spool / "000001").write_bytes(bytes(PART))
    source = work.source()
    found = await work.bring(source)
    assert sorted(source.ranges()) == sorted(_parts_of(work.archive) + _parts_of(work.archive)[5:])
    assert same_tree(tree, work.volume.staging_path(REF, found.digest)) == []
    assert work.observer.names == ["fetching_again"]


async def test_a_bit_that_flipped_on_the_way_costs_one_more_try(work: Work) -> None:
    """Wherever it is, and whether the archive can be read or not."""
    await work.bring(work.source(Flipped(at=10)), connections=1)
    assert work.observer.names == ["fetching_again"]


@pytest.mark.parametrize("at", [10, 300_000, -1], ids=["a header", "a content", "the end"])
async def test_an_archive_that_stays_wrong_is_told(work: Work, at: int) -> None:
    """The error names pack and archive; nothing is kept of it, and nothing has left the spool."""
    source = work.source(Flipped(at=at % len(work.archive), times=FOREVER))
    with pytest.raises(
        WrongBytesError, match=r"nl-nl 2026.04: the SHA-256 of the archive pack.tar.zst is wrong"
    ) as wrong:
        await work.bring(source)
    assert str(wrong.value).endswith("mend the fake")
    assert len(source.ranges()) == 2 * len(_parts_of(work.archive))
    assert work.staged() == []
    assert not work.spool.exists()
    await work.bring(work.source())


@pytest.mark.parametrize("hostile", HOSTILE, ids=[hostile.name for hostile in HOSTILE])
async def test_hostile_archives_leave_nothing(hostile: Hostile, workers: Workers, tmp_path: Path) -> None:
    """Each is refused once its digest has shown that it is the publisher's; only the volume's staging is touched."""
    work = _work(hostile.archive, workers, tmp_path, OpaqueArchive(entries=600))
    before = _everything(tmp_path)
    with pytest.raises(ArchiveError) as refused:
        await work.bring(work.source())
    assert refused.value.exit_code == 10
    assert str(refused.value).startswith("nl-nl 2026.04: the archive pack.tar.zst cannot be used: ")
    assert hostile.words in str(refused.value)
    assert len(str(refused.value)) < 1000
    assert _everything(tmp_path) - before <= {work.volume.staging / REF.name}


def _everything(directory: Path) -> set[Path]:
    return set(directory.rglob("*"))


@pytest.mark.parametrize(
    ("plain", "words"),
    [
        (OpaqueArchive(size=600_000), "it unpacks to more than 600000 bytes"),
        (OpaqueArchive(size=900_000), "not 900000 as its manifest says"),
        (OpaqueArchive(entries=20), "more than 20 files and directories"),
        (OpaqueArchive(entries=40), "not 40 as its manifest says"),
    ],
)
async def test_what_the_manifest_says_of_the_content_must_be_true(
    archive: bytes, workers: Workers, tmp_path: Path, plain: OpaqueArchive, words: str
) -> None:
    """More stops the reading, less is found at the end."""
    work = _work(archive, workers, tmp_path, plain)
    with pytest.raises(ArchiveError, match=words):
        await work.bring(work.source())
    assert work.staged() == []


async def test_what_the_manifest_says_rightly_is_taken(archive: bytes, workers: Workers, tmp_path: Path) -> None:
    """Both numbers."""
    work = _work(archive, workers, tmp_path)
    found = (await work.bring(work.source())).manifest
    assert found.plain
    told = _work(archive, workers, tmp_path / "other", replace(found.plain, derived_from=None))
    assert (await told.bring(told.source())).manifest.files == found.files


async def test_leftovers_of_killed_runs_are_cleared_away(work: Work) -> None:
    """By the run that holds the lock; where locks do not keep others out, only what is old."""
    work.delivery._clean_up()
    (work.spool / ".tree-1/a").mkdir(parents=True)
    (work.spool / ".part-1").write_bytes(b"half")
    work.delivery._clean_up()
    assert len(list(work.spool.iterdir())) == 2
    with (work.volume.root / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        work.delivery._clean_up()
    assert list(work.spool.iterdir()) == []
    (work.spool / ".part-2").write_bytes(b"half")
    os.utime(work.spool / ".part-2", (time.time() - YOUNG - 60,) * 2)
    work.delivery._clean_up()
    assert list(work.spool.iterdir()) == []


async def test_a_tree_that_was_never_published_is_made_anew(work: Work) -> None:
    """A run that was killed before the pack had its name left its tree: its room is counted, and it goes."""
    first = await work.bring(work.source())
    left = work.volume.staging_path(REF, first.digest)
    assert work.delivery.staged().disk_bytes >= 2 * len(work.archive)
    (left / "d/last").write_bytes(b"rotten")
    source = work.source()
    with (work.volume.root / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        work.delivery._clean_up()
        assert not left.exists()
        assert await work.bring(source) == first
    assert source.ranges() == []
    assert (left / "d/last").stat().st_size == 60 * KIB


async def test_an_error_of_the_volume_ends_it(work: Work) -> None:
    """A spool that vanishes meanwhile is told, nobody waits for ever, and the next run does it."""
    source = Gated(work.archive)
    bringing = asyncio.create_task(work.bring(source))
    await eventually(lambda: source.reached and len(work.parts) >= 5)
    os.rename(work.spool, work.spool.with_name("gone"))
    source.gate.set()
    with pytest.raises(VolumeError):
        await bringing
    await work.bring(work.source())


def test_a_file_without_room_is_not_begun(tmp_path: Path) -> None:
    """What the header says is compared with what is free before a byte is written."""
    tree = TreeWriter(tmp_path / "tree", NoPageCachePolicy())
    entry = TarEntry("a", is_directory=False, size=1 << 60, executable=False, content=iter(()))
    with pytest.raises(NoSpaceError, match=r"the volume lacks .* for 'a' of the archive"):
        tree.add(entry, iter(()))
    assert disk_usage(tmp_path / "tree") == (0, 1)
