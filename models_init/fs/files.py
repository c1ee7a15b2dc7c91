"""What the standard library lacks for files and trees: flush them, write them whole, measure them."""

from __future__ import annotations

import errno
import os
import stat
import uuid
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def sync_path(path: str | Path) -> None:
    """Flush one file or directory. Raises `OSError`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file_system(path: str | Path) -> None:
    """Flush the whole file system that `path` lies on: one call for a hundred thousand files.

    syncfs(2) reports write-back errors (Linux 5.8 and later) and leaves other file systems alone. Raises `OSError`.
    """
    import ctypes  # noqa: PLC0415 - 15 ms that a start with nothing to do need not pay

    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))
    finally:
        os.close(descriptor)


_RESERVED = 32 << 20  # bytes: 5 ms on a file system in memory, and still one extent on others


def reserve(descriptor: int, size: int) -> None:
    """Make room for a file of that size; where the file system cannot, give it its size alone. Raises `OSError`.

    posix_fallocate(3) would write a zero into each block instead, between the looks of another run at these bytes. Room
    is made bit by bit, for who writes to the file meanwhile waits for as long as one call takes.
    """
    import ctypes  # noqa: PLC0415 - 15 ms that a start with nothing to do need not pay

    fallocate = ctypes.CDLL(None, use_errno=True).fallocate
    start = 0
    while start < size:
        length = min(_RESERVED, size - start)
        if fallocate(descriptor, 0, ctypes.c_int64(start), ctypes.c_int64(length)) == 0:
            start += length
            continue
        number = ctypes.get_errno()
        if number in {errno.EOPNOTSUPP, errno.ENOSYS}:
            os.ftruncate(descriptor, size)
            return
        if number != errno.EINTR:
            raise OSError(number, os.strerror(number))


_SYNC_WAIT_BEFORE, _SYNC_WRITE, _SYNC_WAIT_AFTER = 1, 2, 4  # SYNC_FILE_RANGE_… of sync_file_range(2)
_NOT_SUPPORTED = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ESPIPE}


def begin_write_back(descriptor: int, start: int, size: int) -> None:
    """Have the kernel write these bytes of a file to the disk now, without waiting. Raises `OSError`."""
    _sync_range(descriptor, start, size, _SYNC_WRITE)


def await_write_back(descriptor: int, start: int, size: int) -> None:
    """Wait until these bytes have left the page cache for the disk; that does not make them durable. `OSError`."""
    _sync_range(descriptor, start, size, _SYNC_WAIT_BEFORE | _SYNC_WRITE | _SYNC_WAIT_AFTER)


def _sync_range(descriptor: int, start: int, size: int, flags: int) -> None:
    import ctypes  # noqa: PLC0415 - 15 ms that a start with nothing to do need not pay

    sync_file_range = _sync_file_range()
    if not sync_file_range:
        return
    while sync_file_range(descriptor, ctypes.c_int64(start), ctypes.c_int64(size), flags) != 0:
        number = ctypes.get_errno()
        if number in _NOT_SUPPORTED:
            return
        if number != errno.EINTR:
            raise OSError(number, os.strerror(number))


@cache
def _sync_file_range() -> Callable[..., int] | None:
    """The function of the C library, found once: it is called twice for each chunk."""
    import ctypes  # noqa: PLC0415 - see above

    return getattr(ctypes.CDLL(None, use_errno=True), "sync_file_range", None)


_EXCHANGE = 2  # RENAME_EXCHANGE of renameat2(2)
_AT_FDCWD = -100


def exchange(one: Path, other: Path) -> bool:
    """Let two names change places at once; False where the file system cannot. Raises `OSError`."""
    import ctypes  # noqa: PLC0415 - 15 ms that a start with nothing to do need not pay

    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if not renameat2:  # a C library from before 2018
        return False
    if renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}:
        return False
    raise OSError(number, os.strerror(number), str(one))


def temp_path(folder: Path, what: str) -> Path:
    """A name in `folder` that no other run uses and that no pack can have."""
    return folder / f".{what}-{uuid.uuid4().hex}"


def make_folder(path: Path) -> None:
    """Make a folder, unless it is there; one that is a link would lead what is written elsewhere. Raises `OSError`."""
    path.mkdir(mode=0o755, exist_ok=True)
    if path.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))


def write_file(path: Path, content: bytes) -> None:
    """Write a small file and flush it. Raises `OSError`."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def disk_usage(folder: Path) -> tuple[int, int]:
    """Bytes and inodes that a tree takes on the disk, as far as it stays there while it is read."""
    size = count = 0
    for parent, _, names in os.walk(folder):
        count += 1
        for name in names:
            with suppress(FileNotFoundError):  # another run may finish it meanwhile
                size += os.lstat(f"{parent}/{name}").st_blocks * 512
                count += 1
    return size, count


class FreedSpaceCounter:
    """What removing trees frees, hard links considered: an inode's blocks are free once all its names are gone."""

    def __init__(self) -> None:
        self._left: dict[tuple[int, int], int] = {}

    def remove(self, path: Path) -> int:
        """Bytes that become free when the file or tree goes, too, after those that were named before."""
        freed = 0
        for entry in _entries(path):
            with suppress(FileNotFoundError):
                status = os.lstat(entry)
                inode = status.st_dev, status.st_ino
                links = 1 if stat.S_ISDIR(status.st_mode) else status.st_nlink
                self._left[inode] = self._left.get(inode, links) - 1
                if self._left[inode] == 0:
                    freed += status.st_blocks * 512
        return freed


def _entries(path: Path) -> Iterator[str]:
    yield str(path)
    for parent, folders, names in os.walk(path):
        yield from (f"{parent}/{name}" for name in (*folders, *names))
