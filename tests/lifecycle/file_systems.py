"""Mount small file systems of many kinds: on loop devices, in memory, by FUSE, and as layers of an overlay."""

from __future__ import annotations

import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.lifecycle.loop_devices import tmpfs
from tests.services import require_tool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

FIXED_MODE = 0o777


@dataclass(frozen=True)
class FileSystem:
    """A kind of file system; `mount` mounts an empty one below a directory.

    `fixed_modes` means that all files have `FIXED_MODE`, whatever is set.
    """

    name: str
    mount: Callable[[Path], AbstractContextManager[Path]]
    fixed_modes: bool = False
    hard_links: bool = True

    def __str__(self) -> str:
        return self.name


@contextmanager
def overlay(lower: Path, directory: Path) -> Iterator[Path]:
    """Mount an overlay of `lower`, as a container sees its image, with new upper directories in `directory`."""
    upper, work, merged = (directory / name for name in ("upper", "work", "merged"))
    for path in (upper, work, merged):
        path.mkdir(parents=True)
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    with _mounted(merged, "mount", "-t", "overlay", "-o", options, "overlay", str(merged)):
        yield merged


@contextmanager
def loop(directory: Path, make: tuple[str, ...], megabytes: int, mount: tuple[str, ...]) -> Iterator[Path]:
    """Create a file system by the command `make` and mount it by the command `mount`; both get the device."""
    image, top = directory / "image", directory / "mounted"
    with image.open("wb") as file:
        file.truncate(megabytes << 20)
    top.mkdir()
    device = _run("losetup", "--find", "--show", str(image)).strip()
    try:
        _run(*make, device)
        with _mounted(top, *mount, device, str(top)):
            yield top
    finally:
        _run("losetup", "--detach", device)


@contextmanager
def bindfs(directory: Path, *options: str) -> Iterator[Path]:
    """Mount another directory by FUSE."""
    back, top = directory / "back", directory / "mounted"
    back.mkdir()
    top.mkdir()
    with _mounted(top, "bindfs", *options, str(back), str(top)):
        yield top


@contextmanager
def _mounted(top: Path, *command: str) -> Iterator[None]:
    _run(*command)
    try:
        yield
    finally:
        _run("umount", str(top))


@contextmanager
def _empty_overlay(directory: Path) -> Iterator[Path]:
    (directory / "lower").mkdir()
    with overlay(directory / "lower", directory) as top:
        yield top


def _run(tool: str, *arguments: str) -> str:
    done = subprocess.run([require_tool(tool), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{tool} {arguments}: {done.stdout}{done.stderr}"
    return done.stdout


def _fixed(option: str) -> FileSystem:
    options = (f"--perms={FIXED_MODE:04o}", option, "--chown-ignore")
    return FileSystem(f"bindfs {option}", lambda top: bindfs(top, *options), fixed_modes=True)


CASE_INSENSITIVE = FileSystem(
    "ntfs-3g ignoring case",
    lambda top: loop(top, ("mkntfs", "-q", "-f"), 24, ("lowntfs-3g", "-o", "ignore_case,permissions")),
)
WITHOUT_LINKS = FileSystem(
    "exfat-fuse", lambda top: loop(top, ("mkfs.exfat",), 24, ("mount.exfat-fuse",)), hard_links=False
)
USABLE = (
    FileSystem("ext4", lambda top: loop(top, ("mkfs.ext4", "-q"), 64, ("mount",))),
    FileSystem("xfs", lambda top: loop(top, ("mkfs.xfs", "-q"), 320, ("mount",))),
    FileSystem("btrfs", lambda top: loop(top, ("mkfs.btrfs", "-q"), 120, ("mount",))),
    FileSystem("tmpfs", lambda top: tmpfs(top / "mounted", "size=32m")),
    FileSystem("overlay", _empty_overlay),
    _fixed("--chmod-ignore"),
    _fixed("--chmod-deny"),
    FileSystem("ntfs-3g", lambda top: loop(top, ("mkntfs", "-q", "-f"), 24, ("ntfs-3g",)), fixed_modes=True),
)
