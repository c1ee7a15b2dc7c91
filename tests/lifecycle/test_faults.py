"""Full disks, failing disks and disks that become read-only: one message, and the older release stays complete."""

from __future__ import annotations

import os
import random
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.eventually import eventually
from tests.lifecycle.loop_devices import Disk, flush, tmpfs
from tests.publish.packs import write
from tests.services import require_root, require_tool
from tests.site import COMMON, DUTCH, NEWER, Done, Packs, Site, build_packs

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

KIB, MIB = 1 << 10, 1 << 20
FILES = 160
SIZE = 64 * KIB
_SLOWLY = (
    "inject=preadv,preadv2:delay_exit=100000"  # microseconds after each read of the source, to slow the install down
)


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Packs:
    """Build a pack of many files of one chunk, and a version with all files changed."""
    require_root()
    directory = tmp_path_factory.mktemp("versions")
    trees = {COMMON: write(directory / "common", {"phones.txt": b"a b c\n"})}
    for ref in (DUTCH, NEWER):
        files = {f"{number:03}.bin": random.Random(f"{ref} {number}").randbytes(SIZE) for number in range(FILES)}
        trees[ref] = write(directory / ref.version, files)
    for tree in trees.values():
        for path in (tree, *tree.rglob("*")):
            path.chmod(0o755 if path.is_dir() else 0o644)
    return build_packs(directory, trees, level=1)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Mount a small file system."""
    disk = Disk("ext4", tmp_path, "loop,errors=remount-ro")
    disk.make(64)
    with disk.mounted():
        yield disk


@pytest.fixture
def installed(disk: Disk, versions: Packs) -> Site:
    """Install the older version on the small disk; the environment names the newer one."""
    site = Site(disk.top / "models", versions.environment)
    assert site.run().code == 0
    return site.but(REALTIME_LANGUAGE_VERSION=NEWER.version)


def strace(*rules: str) -> tuple[str, ...]:
    """Return the command prefix for strace with these injection rules."""
    return (require_tool("strace"), "-f", "-qq", "-o", os.devnull, *(part for rule in rules for part in ("-e", rule)))


@contextmanager
def slow(site: Site) -> Iterator[subprocess.Popen[str]]:
    """Start an install that takes some seconds, because its source is slow."""
    with site.start("--json", through=strace("trace=preadv,preadv2", _SLOWLY)) as process:
        yield process


def ended(process: subprocess.Popen[str]) -> Done:
    """Wait until it ends."""
    out, err = process.communicate(timeout=120)
    return Done(process.returncode, out, err)


def staged(site: Site) -> int:
    """Return the number of files of the newer version in staging."""
    return sum(len(list(directory.iterdir())) for directory in site.staging(NEWER))


def assert_older_is_whole(site: Site, versions: Packs) -> None:
    """Check that the older version is current and unchanged."""
    assert versions.differences(site, COMMON, DUTCH) == []
    assert site.run("--verify").code == 0


def assert_goes_on(site: Site, versions: Packs, found: int) -> None:
    """Check that the next run installs the newer version and fetches only what staging lacks."""
    done = site.run("--json")
    assert done.code == 0, done.err
    assert versions.differences(site, COMMON, NEWER) == []
    assert done.json["bytes_written"] <= (FILES - found) * SIZE


def test_too_little_space_is_reported_before_download(tmp_path: Path, versions: Packs) -> None:
    """The message says how much is missing."""
    with tmpfs(tmp_path / "small", "size=34m") as small:
        site = Site(small / "models", versions.environment)
        assert site.run().code == 0
        done = site.but(REALTIME_LANGUAGE_VERSION=NEWER.version).run()
        assert done.code == 41
        assert done.fault.startswith("the volume lacks ")
        assert staged(site) == 0
        assert_older_is_whole(site, versions)


def test_too_few_inodes_are_reported_before_download(tmp_path: Path, versions: Packs) -> None:
    with tmpfs(tmp_path / "small", f"size=100m,nr_inodes={FILES + 80}") as small:
        site = Site(small / "models", versions.environment)
        assert site.run().code == 0
        done = site.but(REALTIME_LANGUAGE_VERSION=NEWER.version).run()
        assert done.code == 41
        assert "inodes" in done.fault
        assert_older_is_whole(site, versions)


async def test_disk_filled_during_install_ends_with_41_and_next_run_resumes(
    installed: Site, versions: Packs, disk: Disk
) -> None:
    filler = disk.top / "filler"
    with slow(installed) as process:
        await eventually(lambda: staged(installed) > FILES // 8, "the middle of the install")
        with filler.open("wb") as file:
            for size in (MIB, 64 * KIB, 4 * KIB):
                while _grown(file.fileno(), size):
                    pass
        done = ended(process)

    assert done.code == 41, done.err
    assert "the volume is full" in done.fault
    found = _right(installed, versions)
    assert found > FILES // 8
    filler.unlink()
    assert_older_is_whole(installed, versions)
    assert_goes_on(installed, versions, found)


async def test_disk_read_only_during_install_ends_with_43_and_next_run_resumes(
    installed: Site, versions: Packs, disk: Disk
) -> None:
    """ext4 becomes read-only when it finds an error."""
    with slow(installed) as process:
        await eventually(lambda: staged(installed) > FILES // 8, "the middle of the install")
        flush(disk.top)
        disk.find_an_error()
        done = ended(process)

    assert done.code == 43, done.err
    assert "Read-only file system" in done.fault
    assert versions.differences(installed, COMMON, DUTCH) == []
    disk.repair()
    found = _right(installed, versions)
    assert_older_is_whole(installed, versions)
    assert_goes_on(installed, versions, found)


@pytest.mark.parametrize("rule", ["syncfs:error=EIO", "fsync:error=EIO:when=2", "pwrite64:error=EIO:when=40"])
def test_io_error_ends_with_40_and_older_release_stays(installed: Site, versions: Packs, rule: str) -> None:
    done = installed.run(through=strace(f"trace={rule.partition(':')[0]}", f"inject={rule}"))
    assert done.code == 40, done.err
    assert "Input/output error" in done.fault
    assert_older_is_whole(installed, versions)
    assert_goes_on(installed, versions, 0)


@pytest.mark.parametrize("moment", [1, 5, 12])
def test_write_without_space_ends_with_41_and_next_run_resumes(installed: Site, versions: Packs, moment: int) -> None:
    done = installed.run(through=strace("trace=pwrite64", f"inject=pwrite64:error=ENOSPC:when={moment}+"))
    assert done.code == 41, done.err
    found = _right(installed, versions)
    assert_older_is_whole(installed, versions)
    assert_goes_on(installed, versions, found)


def _right(site: Site, versions: Packs) -> int:
    """Return the number of correct files in staging."""
    tree = versions.trees[NEWER]
    (directory,) = site.staging(NEWER)
    return sum(path.read_bytes() == (tree / path.name).read_bytes() for path in directory.iterdir())


def _grown(descriptor: int, size: int) -> bool:
    try:
        os.posix_fallocate(descriptor, os.fstat(descriptor).st_size, size)
    except OSError:
        return False
    return True
