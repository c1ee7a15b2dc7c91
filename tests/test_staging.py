"""Staging: the content of the directory is the only record of progress, and only verified bytes are written."""

from __future__ import annotations

import errno
import os
import random
import shutil
import stat
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from models_init.core.digests import digest_of
from models_init.core.errors import NoSpaceError, VolumeError
from models_init.publish.pack.version_directory import VersionDirectory
from models_init.transfer.ranges import Batch, batches
from models_init.transfer.reuse import Copy, Link
from models_init.volume.staging import Staging
from tests.publish.packs import archive_of, write
from tests.publish.packs import built as packed
from tests.samples import same_tree

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from models_init.formats.manifest import File, Manifest, Placement

_LARGE = random.Random("staging").randbytes(300 << 10)
_FILES = {"a/large": _LARGE, "b/small": b"small\n", "b/empty": b"", "run": b"#!/bin/sh\n", "none/": b""}
_CHUNK = 64 << 10


class Pack:
    """A built pack: its tree, its manifest, its archive."""

    def __init__(self, directory: Path) -> None:
        self.tree = write(directory / "tree", _FILES)
        (self.tree / "run").chmod(0o755)
        built = VersionDirectory(packed(self.tree, directory / "out", chunk_size=_CHUNK, level=1).directory)
        self.manifest: Manifest = built.parsed()
        self.archive = archive_of(built).read_bytes()

    @property
    def placements(self) -> list[Placement]:
        """All chunks."""
        return list(self.manifest.placements())

    def file(self, path: str) -> File:
        """One file."""
        return next(file for file in self.manifest.files if file.path == path)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    return Pack(tmp_path_factory.mktemp("built"))


@pytest.fixture
def staging(built: Pack, tmp_path: Path) -> Staging:
    """Return an empty staging directory, two levels deep as on a volume."""
    (tmp_path / "staging").mkdir()
    return Staging(tmp_path / "staging/nl-nl/2026.04@0", built.manifest)


def fill(staging: Staging, built: Pack) -> None:
    """Write all chunks."""
    staging.prepare(built.placements, ())
    staging.allocate(built.placements, ())
    for batch in batches(built.placements):
        assert staging.write(batch, memoryview(built.archive)[batch.start : batch.stop]) == []


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_complete_staging_equals_published_tree(staging: Staging, built: Pack) -> None:
    assert not staging.exists()
    fill(staging, built)
    assert staging.exists()
    assert same_tree(built.tree, staging.root) == []
    assert staging.sound(built.placements) == built.placements


def test_files_of_several_chunks_are_allocated_first(staging: Staging, built: Pack) -> None:
    staging.prepare(built.placements, ())
    staging.allocate(built.placements, ())
    large = staging.root / "a/large"
    assert (large.stat().st_size, mode(large)) == (len(_LARGE), 0o644)
    assert large.stat().st_blocks * 512 >= len(_LARGE)
    assert not (staging.root / "b/small").exists()
    assert (staging.root / "b/empty").stat().st_size == 0
    assert (staging.root / "none").is_dir()
    assert staging.sound(built.placements) == []
    allocated, inodes = staging.allocated()
    assert len(_LARGE) <= allocated
    assert inodes == 6


def test_second_prepare_keeps_verified_chunks(staging: Staging, built: Pack) -> None:
    fill(staging, built)
    staging.prepare(built.placements, ())
    assert staging.sound(built.placements) == built.placements


def test_directory_replaced_by_another_run_is_reported(staging: Staging, built: Pack) -> None:
    fill(staging, built)
    assert staging.is_as_prepared()
    staging.root.rename(staging.root.with_name("thrown away"))
    assert not staging.is_as_prepared()
    staging.root.mkdir()
    assert not staging.is_as_prepared()
    with pytest.raises(VolumeError, match="run again"):
        staging.prepare(built.placements, ())


def test_unexpected_entries_are_removed(staging: Staging, built: Pack, tmp_path: Path) -> None:
    """Targets of links are not touched."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "keep").write_text("keep")
    root = staging.root
    (root / "stray/deep").mkdir(parents=True)
    (root / "stray/deep/file").touch()
    (root / "stray.txt").touch()
    (root / "link").symlink_to(outside)
    (root / "a").symlink_to(outside)
    (root / "b/small").mkdir(parents=True)
    (root / "b/empty").symlink_to(outside / "keep")
    (root / "none").touch()
    (root / "run").write_bytes(b"x" * 100_000)
    (root / "run").chmod(0o755)
    fill(staging, built)
    assert same_tree(built.tree, root) == []
    assert os.listdir(outside) == ["keep"]
    assert (outside / "keep").read_text() == "keep"


@pytest.mark.parametrize("spoiled", ["bytes", "length", "empty", "garbage", "another"])
def test_wrong_chunk_is_not_written(staging: Staging, built: Pack, spoiled: str) -> None:
    """The other chunks of its batch are written."""
    staging.prepare(built.placements, ())
    staging.allocate(built.placements, ())
    batch = next(batches(built.placements))
    placement, other = batch.placements[1], batch.placements[2]
    begin = placement.chunk.offset - batch.start
    data = bytearray(built.archive[batch.start : batch.stop])
    frame = slice(begin, begin + placement.chunk.length)
    if spoiled == "bytes":
        data[begin + placement.chunk.length // 2] ^= 1
    elif spoiled == "another":
        begin = other.chunk.offset - batch.start
        data[frame] = data[begin : begin + placement.chunk.length]
    else:
        data[frame] = {"length": data[frame][:-1] + b"\0", "empty": b"\0" * len(data[frame])}.get(
            spoiled, random.Random(spoiled).randbytes(len(data[frame]))
        )
    before = (staging.root / "a/large").read_bytes()[placement.start :][: placement.chunk.size]
    (wrong,) = staging.write(batch, memoryview(bytes(data)))
    assert wrong.placement == placement
    assert wrong.reason
    assert (staging.root / "a/large").read_bytes()[placement.start :][: placement.chunk.size] == before
    assert staging.sound(built.placements) == [each for each in batch.placements if each != placement]


def test_chunk_verified_by_hash_only(staging: Staging, built: Pack) -> None:
    fill(staging, built)
    first, second, *others = (placement for placement in built.placements if placement.file.path == "a/large")
    large = staging.root / "a/large"
    data = bytearray(large.read_bytes())
    data[second.start + 5] ^= 1
    times = large.stat().st_mtime_ns
    large.write_bytes(data)
    os.utime(large, ns=(times, times))
    (staging.root / "b/small").unlink()
    (staging.root / "run").write_bytes(b"#!")
    assert others
    assert staging.sound(built.placements) == [first, *others]
    os.truncate(large, second.start + 100)
    assert staging.sound(built.placements) == [first]


def test_directory_link_or_fifo_has_no_valid_chunk(staging: Staging, built: Pack) -> None:
    fill(staging, built)
    small, run = staging.root / "b/small", staging.root / "run"
    small.rename(staging.root / "elsewhere")
    small.symlink_to(staging.root / "elsewhere")
    run.unlink()
    run.mkdir()
    assert {placement.file.path for placement in staging.sound(built.placements)} == {"a/large"}
    run.rmdir()
    os.mkfifo(run)
    assert {placement.file.path for placement in staging.sound(built.placements)} == {"a/large"}


def test_link_is_not_written_through(staging: Staging, built: Pack, tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("victim")
    staging.prepare(built.placements, ())
    (staging.root / "b/small").symlink_to(tmp_path / "victim")
    whole = Batch(0, len(built.archive), tuple(built.placements))
    with pytest.raises(VolumeError, match="b/small"):
        staging.write(whole, memoryview(built.archive))
    assert (tmp_path / "victim").read_text() == "victim"


def test_file_is_linked_from_installed_tree(staging: Staging, built: Pack) -> None:
    staging.prepare(built.placements, ())
    origin = built.tree / "b/small"
    assert staging.link(Link(built.file("b/small"), str(built.tree), built.file("b/small")))
    assert (staging.root / "b/small").stat().st_ino == origin.stat().st_ino
    assert [name for name in os.listdir(staging.root.parents[1]) if name.startswith(".")] == []


def test_missing_or_changed_file_is_not_linked(staging: Staging, built: Pack) -> None:
    staging.prepare(built.placements, ())
    tree = built.tree.parent / "changed"
    tree.mkdir()
    (tree / "small").write_bytes(_FILES["b/small"])
    (tree / "small").chmod(0o600)
    small = built.file("b/small")
    gone, changed = (replace(small, path=path) for path in ("none", "small"))
    assert not staging.link(Link(small, str(tree), gone))
    assert not staging.link(Link(small, str(tree), changed))
    assert not (staging.root / "b/small").exists()
    assert [name for name in os.listdir(staging.root.parents[1]) if name.startswith(".")] == []


def test_file_that_does_not_fit_leaves_no_part_of_its_copy(
    staging: Staging, built: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file with a second name is copied before it is written."""
    fill(staging, built)
    os.link(staging.root / "a/large", tmp_path / "other name")

    def copyfile(_origin: str, copy: Path) -> None:
        copy.write_bytes(_LARGE[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shutil, "copyfile", copyfile)
    with pytest.raises(NoSpaceError):
        staging.prepare(built.placements, ())
    assert os.listdir(staging.root.parents[1]) == ["nl-nl"]


def test_only_valid_chunks_are_copied(staging: Staging, built: Pack) -> None:
    staging.prepare(built.placements, ())
    staging.allocate(built.placements, ())
    large = [placement for placement in built.placements if placement.file.path == "a/large"]
    right = [Copy(placement, str(built.tree), "a/large", placement.start) for placement in large[:2]]
    wrong = [
        Copy(large[2], str(built.tree), "a/large", large[2].start + 1),
        Copy(large[3], str(built.tree), "b/small", 0),
        Copy(large[4], str(built.tree), "none", 0),
    ]
    assert staging.copy([*right, *wrong]) == large[2:5]
    assert staging.sound(built.placements) == large[:2]


@pytest.mark.parametrize("number", [errno.EIO, errno.EUCLEAN, errno.EBADMSG], ids=errno.errorcode.get)
def test_chunk_in_unreadable_sector_is_neither_valid_nor_copied(
    staging: Staging, built: Pack, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The chunk is fetched instead, also by a repair of the file itself."""
    staging.prepare(built.placements, ())
    staging.allocate(built.placements, ())
    first, second, third, *_ = (placement for placement in built.placements if placement.file.path == "a/large")
    read = os.preadv

    def preadv(descriptor: int, buffers: Sequence[memoryview], offset: int) -> int:
        if offset == second.start:
            raise OSError(number, os.strerror(number))
        return read(descriptor, buffers, offset)

    monkeypatch.setattr(os, "preadv", preadv)
    large = [Copy(placement, str(built.tree), "a/large", placement.start) for placement in (first, second, third)]
    assert staging.copy(large) == [second]
    assert staging.sound([first, second, third]) == [first, third]


def test_chunks_are_found_by_offset_in_batch(staging: Staging, built: Pack) -> None:
    staging.prepare(built.placements, ())
    placement = built.placements[1]
    start, stop = placement.chunk.offset - 10, placement.chunk.offset + placement.chunk.length + 10
    batch = Batch(start, stop, (placement,))
    assert staging.write(batch, memoryview(built.archive)[start:stop]) == []
    written = (staging.root / placement.file.path).read_bytes()[placement.start :][: placement.chunk.size]
    assert digest_of(written) == placement.chunk.digest
