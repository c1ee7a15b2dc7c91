"""Fetch an opaque archive in parts, unpack it while they arrive, and stage the tree once it is verified."""

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
from models_init.core.digests import digest_of
from models_init.core.errors import AccessError, ArchiveError, NoSpaceError, SourceError, VolumeError, WrongBytesError
from models_init.formats.manifest import OpaqueArchive, Resolved, encode, parse
from models_init.fs.files import disk_usage
from models_init.fs.page_cache import NoPageCachePolicy
from models_init.runtime.workers import Workers
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
    from tests.sources.fake import SourceFault

PART = 64 << 10
KIB = 1 << 10
_KEY = "nl-nl/2026.04/pack.tar.zst"


@dataclass
class ArchiveSetup:
    """An archive on a fake source, and the volume that it is installed on."""

    archive: bytes
    volume: Volume
    workers: Workers
    plain: OpaqueArchive = SILENT
    observer: Recorder = field(default_factory=Recorder)

    @property
    def published(self) -> Resolved:
        """Return the published manifest."""
        manifest = described(self.archive, "pack.tar.zst", REF, self.plain)
        return Resolved(manifest, digest_of(encode(manifest)))

    @property
    def install(self) -> ArchiveInstall:
        """Return the object under test, as a new run creates it."""
        return ArchiveInstall(self.volume, NoPageCachePolicy(), self.published)

    @property
    def spool(self) -> Path:
        """Return the spool directory."""
        return spool_path_of(self.volume.staging_path(REF, self.published.digest))

    @property
    def parts(self) -> list[int]:
        """Return the numbers of the stored parts."""
        return sorted(int(path.name) for path in self.spool.glob("[0-9]*"))

    @property
    def trees(self) -> list[Path]:
        """Return the trees that are being unpacked."""
        return sorted(self.spool.glob(".tree-*"))

    def staged(self) -> list[Path]:
        """Return the staged trees."""
        return sorted(
            path for path in (self.volume.staging / REF.name).glob("*@*") if path.suffix not in (".json", ".spool")
        )

    def source(self, *faults: SourceFault) -> FakeSource:
        """Return a source with the archive."""
        return FakeSource({_KEY: self.archive}, *faults)

    async def fetch(self, source: FakeSource, connections: int = 4, buffers: int = 8) -> Resolved:
        """Fetch and unpack the archive; return the derived manifest."""
        made = Buffers(buffers, BATCH_SIZE)
        return await self.install.fetch_and_unpack(
            Fetcher(source, self.workers, self.observer, ConnectionLimiter(connections), made)
        )


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "SPAN_SIZE", PART)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a tree of about ten parts of incompressible data."""
    chance = random.Random("opaque")
    files = {f"a/{number:02}": chance.randbytes(100 * number) for number in range(20)}
    files |= {"b/large": chance.randbytes(560 * KIB), "c/empty": b"", "d/last": chance.randbytes(60 * KIB), "e/": b""}
    directory = write(tmp_path_factory.mktemp("opaque") / "tree", files)
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
def setup(archive: bytes, workers: Workers, tmp_path: Path) -> ArchiveSetup:
    return _setup(archive, workers, tmp_path)


def _setup(archive: bytes, workers: Workers, directory: Path, plain: OpaqueArchive = SILENT) -> ArchiveSetup:
    directory.mkdir(exist_ok=True)
    volume = Volume(directory / "models")
    volume.prepare()
    return ArchiveSetup(archive, volume, workers, plain)


def _parts_of(archive: bytes) -> list[tuple[int, int]]:
    return [(start, min(start + PART, len(archive))) for start in range(0, len(archive), PART)]


@pytest.mark.parametrize(("connections", "buffers"), [(1, 1), (4, 2), (16, 16)])
async def test_archive_is_fetched_and_staged(setup: ArchiveSetup, tree: Path, connections: int, buffers: int) -> None:
    """Each part is fetched once and counted; the tree and its manifest are in staging."""
    source = setup.source()
    found = await setup.fetch(source, connections, buffers)
    staging = setup.volume.staging_path(REF, found.digest)
    assert same_tree(tree, staging) == []
    assert sorted(source.ranges()) == _parts_of(setup.archive)
    assert setup.observer.done == len(setup.archive)
    assert parse(manifest_path_of(staging).read_bytes(), REF) == found.manifest
    assert found.manifest.is_derived
    assert setup.trees == []


async def test_derived_manifest_is_reproducible(setup: ArchiveSetup, workers: Workers, tmp_path: Path) -> None:
    """The derived manifest depends only on the published archive, and describes every byte."""
    first = await setup.fetch(setup.source())
    second = await _setup(setup.archive, workers, tmp_path / "other").fetch(setup.source())
    assert first == second
    placements = list(first.manifest.placements())
    root = setup.volume.staging_path(REF, first.digest)
    for placement in placements:
        data = (root / placement.file.path).read_bytes()[placement.start :][: placement.chunk.size]
        assert digest_of(data) == placement.chunk.digest
    assert all(digest_of((root / one.path).read_bytes()) == one.digest for one in first.manifest.files)


class GatedSource(FakeSource):
    """A source that delays the last part until the gate opens."""

    def __init__(self, archive: bytes) -> None:
        super().__init__({_KEY: archive})
        self.gate = asyncio.Event()
        self.reached = False

    async def get_range(self, key: str, start: int, stop: int, sink: Sink) -> None:
        """Wait if this is the last part."""
        if stop == len(self.objects[key]):
            self.reached = True
            await self.gate.wait()
        await super().get_range(key, start, stop, sink)


async def test_unpacking_follows_download(setup: ArchiveSetup, tree: Path) -> None:
    """All files before a missing part are unpacked, and nothing is staged yet."""
    source = GatedSource(setup.archive)
    fetching = asyncio.create_task(setup.fetch(source))
    try:
        last = len(setup.archive) // PART * PART
        await eventually(lambda: _unpacked(setup) == _content_before(last, setup.archive), "unpacking the stored parts")
        assert source.reached
        assert setup.staged() == []
    finally:
        source.gate.set()
        found = await fetching
    assert same_tree(tree, setup.volume.staging_path(REF, found.digest)) == []


def _content_before(stop: int, archive: bytes) -> int:
    """Return the bytes of file content before this offset of the tar stream."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return sum(min(member.size, max(0, stop - member.offset_data)) for member in tar if member.isreg())


def _unpacked(setup: ArchiveSetup) -> int:
    return sum(path.stat().st_size for root in setup.trees for path in root.rglob("*") if path.is_file())


async def test_stored_parts_are_reused_by_next_run(setup: ArchiveSetup) -> None:
    with pytest.raises(SourceError, match="down"):
        await setup.fetch(setup.source(Broken(SourceError("down"), after=6, times=FOREVER)), connections=1, buffers=1)
    setup.workers.close()
    assert setup.trees == []
    stored = setup.parts
    assert stored[:5] == [0, 1, 2, 3, 4]
    assert setup.install.staged().spooled_bytes == len(stored) * PART
    again, source = replace(setup, workers=Workers(), observer=Recorder()), setup.source()
    await again.fetch(source)
    again.workers.close()
    assert sorted(source.ranges()) == _parts_of(setup.archive)[len(stored) :]


def _store(setup: ArchiveSetup, *numbers: int) -> None:
    """Store parts as an earlier run would."""
    setup.spool.mkdir(parents=True)
    for number in numbers:
        start, stop = _parts_of(setup.archive)[number]
        (setup.spool / f"{number:06}").write_bytes(setup.archive[start:stop])


async def test_part_of_wrong_size_is_fetched_again(setup: ArchiveSetup) -> None:
    """A truncated part and a symbolic link count as missing."""
    _store(setup, 0, 1, 2, 3, 4)
    os.truncate(setup.spool / "000001", PART - 1)
    (setup.spool / "000003").unlink()
    (setup.spool / "000003").symlink_to(setup.spool / "000002")
    source = setup.source()
    await setup.fetch(source)
    parts = _parts_of(setup.archive)
    assert sorted(source.ranges()) == [parts[1], parts[3], *parts[5:]]


async def test_corrupted_part_is_replaced_in_same_run(setup: ArchiveSetup, tree: Path) -> None:
    """If the digest of the archive is wrong, all parts are fetched again, once."""
    _store(setup, 0, 1, 2, 3, 4)
    (setup.spool / "000001").write_bytes(bytes(PART))
    source = setup.source()
    found = await setup.fetch(source)
    assert sorted(source.ranges()) == sorted(_parts_of(setup.archive) + _parts_of(setup.archive)[5:])
    assert same_tree(tree, setup.volume.staging_path(REF, found.digest)) == []
    assert setup.observer.names == ["fetching_again"]


async def test_corrupted_transfer_is_retried_once(setup: ArchiveSetup) -> None:
    await setup.fetch(setup.source(Flipped(at=10)), connections=1)
    assert setup.observer.names == ["fetching_again"]


@pytest.mark.parametrize("at", [10, 300_000, -1], ids=["a header", "a content", "the end"])
async def test_wrong_archive_is_reported_after_retry(setup: ArchiveSetup, at: int) -> None:
    """The error names pack and archive; nothing is kept or staged."""
    source = setup.source(Flipped(at=at % len(setup.archive), times=FOREVER))
    with pytest.raises(
        WrongBytesError, match=r"nl-nl 2026.04: the SHA-256 of the archive pack.tar.zst is wrong"
    ) as wrong:
        await setup.fetch(source)
    assert str(wrong.value).endswith("mend the fake")
    assert len(source.ranges()) == 2 * len(_parts_of(setup.archive))
    assert setup.staged() == []
    assert not setup.spool.exists()
    await setup.fetch(setup.source())


@pytest.mark.parametrize("hostile", HOSTILE, ids=[hostile.name for hostile in HOSTILE])
async def test_invalid_archives_leave_nothing(hostile: Hostile, workers: Workers, tmp_path: Path) -> None:
    """Each is rejected after its digest is verified; only the staging directory of the pack remains."""
    setup = _setup(hostile.archive, workers, tmp_path, OpaqueArchive(entries=600))
    before = _everything(tmp_path)
    with pytest.raises(ArchiveError) as refused:
        await setup.fetch(setup.source())
    assert refused.value.exit_code == 10
    assert str(refused.value).startswith("nl-nl 2026.04: the archive pack.tar.zst cannot be used: ")
    assert hostile.words in str(refused.value)
    assert len(str(refused.value)) < 1000
    assert _everything(tmp_path) - before <= {setup.volume.staging / REF.name}


def _everything(directory: Path) -> set[Path]:
    return set(directory.rglob("*"))


@pytest.mark.parametrize(
    ("plain", "words"),
    [
        (OpaqueArchive(size=600_000), "it exceeds the limit of 600000 bytes"),
        (OpaqueArchive(size=900_000), "not 900000 as its manifest states"),
        (OpaqueArchive(entries=20), "it exceeds the limit of 20 files and directories"),
        (OpaqueArchive(entries=40), "not 40 as its manifest states"),
    ],
)
async def test_wrong_totals_in_manifest_are_rejected(
    archive: bytes, workers: Workers, tmp_path: Path, plain: OpaqueArchive, words: str
) -> None:
    """Excess content ends the extraction immediately; missing content is detected at the end."""
    setup = _setup(archive, workers, tmp_path, plain)
    with pytest.raises(ArchiveError, match=words):
        await setup.fetch(setup.source())
    assert setup.staged() == []


async def test_right_totals_in_manifest_are_accepted(archive: bytes, workers: Workers, tmp_path: Path) -> None:
    setup = _setup(archive, workers, tmp_path)
    found = (await setup.fetch(setup.source())).manifest
    assert found.plain
    other = _setup(archive, workers, tmp_path / "other", replace(found.plain, derived_from=None))
    assert (await other.fetch(other.source())).manifest.files == found.files


async def test_leftovers_of_killed_runs_are_removed(setup: ArchiveSetup) -> None:
    """A run that holds the lock removes all of them; without the lock only old ones are removed."""

    async def leftovers() -> list[str]:
        """Run with a source that denies access; return the names that remain in the spool."""
        with pytest.raises(AccessError):
            await setup.fetch(setup.source(Broken(AccessError("expired"), times=FOREVER)))
        return sorted(path.name for path in setup.spool.iterdir())

    assert await leftovers() == []
    (setup.spool / ".tree-1/a").mkdir(parents=True)
    (setup.spool / ".part-1").write_bytes(b"half")
    assert await leftovers() == [".part-1", ".tree-1"]
    with (setup.volume.root / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert await leftovers() == []
    (setup.spool / ".part-2").write_bytes(b"half")
    os.utime(setup.spool / ".part-2", (time.time() - YOUNG - 60,) * 2)
    assert await leftovers() == []


async def test_unpublished_tree_is_replaced(setup: ArchiveSetup) -> None:
    """The tree of a run that was killed before publishing counts as staged space and is removed."""
    first = await setup.fetch(setup.source())
    left = setup.volume.staging_path(REF, first.digest)
    assert setup.install.staged().disk_bytes >= 2 * len(setup.archive)
    (left / "d/last").write_bytes(b"corrupted")
    source = setup.source()
    with (setup.volume.root / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert await setup.fetch(source) == first
    assert source.ranges() == []
    assert (left / "d/last").stat().st_size == 60 * KIB


async def test_volume_error_ends_the_run(setup: ArchiveSetup) -> None:
    """If the spool disappears, the run ends with an error, and the next one succeeds."""
    source = GatedSource(setup.archive)
    fetching = asyncio.create_task(setup.fetch(source))
    await eventually(lambda: source.reached and len(setup.parts) >= 5)
    os.rename(setup.spool, setup.spool.with_name("gone"))
    source.gate.set()
    with pytest.raises(VolumeError):
        await fetching
    await setup.fetch(setup.source())


def test_file_that_does_not_fit_is_not_created(tmp_path: Path) -> None:
    tree = TreeWriter(tmp_path / "tree", NoPageCachePolicy())
    entry = TarEntry("a", is_directory=False, size=1 << 60, executable=False, content=iter(()))
    with pytest.raises(NoSpaceError, match=r"the volume lacks .* for 'a' .* of the archive"):
        tree.add(entry, iter(()))
    assert disk_usage(tmp_path / "tree") == (0, 1)
