"""File systems on loop devices: small, full, read-only, or with a simulated power cut."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.lifecycle.fork_server import until
from tests.services import require_tool

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_SHUTDOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN, XFS_IOC_GOINGDOWN
LOSE_THE_LOG, KEEP_THE_LOG = 2, 1  # unflushed changes that are lost: all, or data but not names

_MEGABYTES = {"ext4": 64, "xfs": 320}  # mkfs.xfs makes no smaller ones
_MAKE = {"ext4": ("mkfs.ext4", "-q", "-F"), "xfs": ("mkfs.xfs", "-q", "-f")}


@dataclass(frozen=True)
class Disk:
    """A file system of a kind in `<directory>/image`, mounted with `options` on `<directory>/disk`."""

    kind: str
    directory: Path
    options: str = "loop"

    @property
    def top(self) -> Path:
        """Return the mount point."""
        return self.directory / "disk"

    def make(self, megabytes: int = 0, *arguments: str) -> None:
        """Create the file system."""
        self.top.mkdir(parents=True, exist_ok=True)
        image = self.directory / "image"
        image.unlink(missing_ok=True)
        with image.open("wb") as file:
            file.truncate((megabytes or _MEGABYTES[self.kind]) << 20)
        tool, *usual = _MAKE[self.kind]
        _run(require_tool(tool), *usual, *arguments, str(image))

    def mount(self) -> None:
        """Mount the file system."""
        _run(require_tool("mount"), "-o", self.options, str(self.directory / "image"), str(self.top))

    def unmount(self) -> None:
        """Unmount the file system; no file on it may be open.

        Another test's mount namespace may have a copy of the mount for a moment. Until that is gone, mounting again
        would return the same file system instead of one that is read from the disk.
        """
        device = os.path.basename(os.path.realpath(_source(self.top)))
        _run(require_tool("umount"), str(self.top))
        until(lambda: not Path(f"/sys/fs/{self.kind}/{device}").exists())

    def find_an_error(self) -> None:
        """Trigger an ext4 error; with `errors=remount-ro`, the file system becomes read-only."""
        device = os.path.basename(os.path.realpath(_source(self.top)))
        Path(f"/sys/fs/ext4/{device}/trigger_fs_error").write_text("a test\n")

    def repair(self) -> None:
        """Check the file system and mount it again."""
        self.unmount()
        _run(require_tool("e2fsck"), "-p", "-f", str(self.directory / "image"), good=(0, 1))
        self.mount()

    def cut_the_power(self, flag: int) -> None:
        """Simulate a power cut: later writes fail and do not reach the disk."""
        descriptor = os.open(self.top, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, struct.pack("I", flag))
        finally:
            os.close(descriptor)

    @contextmanager
    def mounted(self) -> Iterator[Path]:
        """Mount the file system within a `with` block."""
        self.mount()
        try:
            yield self.top
        finally:
            self.unmount()


@contextmanager
def tmpfs(directory: Path, options: str) -> Iterator[Path]:
    """Mount an empty file system in memory on a new directory."""
    directory.mkdir()
    _run(require_tool("mount"), "-t", "tmpfs", "-o", options, "tmpfs", str(directory))
    try:
        yield directory
    finally:
        _run(require_tool("umount"), str(directory))


def flush(directory: Path) -> None:
    """Sync the file system."""
    _run("sync", "-f", str(directory))


def _source(top: Path) -> str:
    """Return the device that is mounted there."""
    command = (require_tool("findmnt"), "-n", "-o", "SOURCE", str(top))
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _run(*command: str, good: Sequence[int] = (0,)) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in good, f"{command}: {done.stdout}{done.stderr}"
