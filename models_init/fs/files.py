"""Functions for files and trees that the standard library lacks: sync, reserve space, exchange, measure disk usage."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import uuid
from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def file_pieces(path: str | Path, size: int) -> Iterator[memoryview]:
    """Yield the first `size` bytes of a file, or all if it has fewer. Raises `OSError`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        while size and (data := os.read(descriptor, min(size, _PIECE))):
            size -= len(data)
            yield memoryview(data)
    finally:
        os.close(descriptor)


_PIECE = 1 << 20  # bytes


def sync_path(path: str | Path) -> None:
    """Sync one file or directory to the disk, as `sync` does. Raises `OSError`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        sync(descriptor)
    finally:
        os.close(descriptor)


_NO_SYNC = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP}


def sync(descriptor: int) -> None:
    """Sync an open file or directory to the disk. Raises `OSError`.

    Does nothing on a file system without this function. VirtualBox's shared folders and older SMB clients lack it for
    directories (EINVAL).
    """
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise


def sync_file_system(path: str | Path) -> None:
    """Sync the whole file system that contains `path`: one call for a hundred thousand files.

    syncfs(2) reports write-back errors (Linux 5.8 and later) and does not sync other file systems. Raises `OSError`.
    """
    import ctypes  # noqa: PLC0415 - saves 15 ms in a start with nothing to do

    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))
    finally:
        os.close(descriptor)


_RESERVED = 32 << 20  # bytes; takes 5 ms on an in-memory file system, and is still one extent on other file systems


def reserve(descriptor: int, size: int) -> None:
    """Allocate space for a file of `size` bytes, or only set its size if the file system cannot. Raises `OSError`.

    posix_fallocate(3) is not used: if the file system cannot allocate space, it writes a zero into each block instead,
    which may overwrite bytes that a concurrent run has just written. Space is allocated in steps of 32 MiB, because a
    concurrent write to the file waits until the current call returns.
    """
    import ctypes  # noqa: PLC0415 - saves 15 ms in a start with nothing to do

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
    """Start writing `size` bytes of a file from `start` to the disk, without waiting. Raises `OSError`."""
    _sync_range(descriptor, start, size, _SYNC_WRITE)


def await_write_back(descriptor: int, start: int, size: int) -> None:
    """Write `size` bytes from `start` to the disk and wait until they are written. Raises `OSError`.

    This does not make them durable: sync_file_range(2) writes no metadata and does not flush the disk's own cache.
    """
    _sync_range(descriptor, start, size, _SYNC_WAIT_BEFORE | _SYNC_WRITE | _SYNC_WAIT_AFTER)


def _sync_range(descriptor: int, start: int, size: int, flags: int) -> None:
    import ctypes  # noqa: PLC0415 - saves 15 ms in a start with nothing to do

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
    """Return the C library's function, or None if it has none. Cached, because it is called twice for each chunk."""
    import ctypes  # noqa: PLC0415 - as above

    return getattr(ctypes.CDLL(None, use_errno=True), "sync_file_range", None)


_EXCHANGE = 2  # RENAME_EXCHANGE of renameat2(2)
_AT_FDCWD = -100
_CANNOT_EXCHANGE = {errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EXDEV}  # EXDEV: see `rename_directory`


def exchange(one: Path, other: Path) -> bool:
    """Exchange two paths atomically; return False if the file system does not support it. Raises `OSError`."""
    import ctypes  # noqa: PLC0415 - saves 15 ms in a start with nothing to do

    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if not renameat2:  # a C library from before 2018
        return False
    if renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _CANNOT_EXCHANGE:
        return False
    raise OSError(number, os.strerror(number), str(other))


def rename_directory(old: Path, new: Path, temporary: Path) -> None:
    """Rename a directory, even one that overlayfs refuses to rename because it comes from a lower layer (EXDEV).

    In that case its files are hard-linked into the new directory `temporary`, which is synced and renamed to `new`
    before `old` is removed. A crash leaves `old` complete, or `new` complete and a part of `old`. Raises `OSError`,
    with EXDEV if `new` is on another file system.
    """
    try:
        os.rename(old, new)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
    else:
        return
    try:
        _link_tree(str(old), str(temporary))
        sync_file_system(temporary)
        os.rename(temporary, new)
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync_path(new.parent)
    shutil.rmtree(old)


def _link_tree(old: str, new: str) -> None:
    """Create a directory with the same subdirectories and with hard links to the same files."""
    os.mkdir(new, stat.S_IMODE(os.lstat(old).st_mode))
    with os.scandir(old) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                _link_tree(entry.path, f"{new}/{entry.name}")
            else:
                _link_or_copy(entry.path, f"{new}/{entry.name}")


def _link_or_copy(old: str, new: str) -> None:
    try:
        os.link(old, new, follow_symlinks=False)
    except OSError:  # the file system has no hard links, or too many of this file
        shutil.copy(old, new, follow_symlinks=False)


def make_link(target: str, path: Path) -> None:
    """Create a symbolic link. Raises `OSError` that names `path`; that of `os.symlink` would name the target first."""
    try:
        os.symlink(target, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def temp_path(directory: Path, what: str) -> Path:
    """Return a path in `directory` that no other run uses and that cannot be the name of a pack."""
    return directory / f".{what}-{uuid.uuid4().hex}"


@contextmanager
def removed_on_error(path: Path) -> Iterator[None]:
    """Remove a temporary file, link or directory if the block, which makes it and renames it, raises."""
    try:
        yield
    except BaseException:
        with suppress(OSError):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        raise


_TEMPORARY = re.compile(r"\.[a-z]+-[0-9a-f]{32}")


def visible_path(path: str) -> str:
    """Return the path to show in a message. For a temporary file from `temp_path`, that is its directory."""
    parts = path.split("/")
    number = next((number for number, part in enumerate(parts) if _TEMPORARY.fullmatch(part)), len(parts))
    return "/".join(parts[:number]) or path


def make_directory(path: Path) -> None:
    """Create a directory unless it exists.

    Raises `OSError`: it cannot be created, or is a symbolic link, so that files would be written elsewhere.
    """
    if path.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    path.mkdir(mode=0o755, exist_ok=True)


def write_file(path: Path, content: bytes) -> None:
    """Write a small file and sync it to the disk. Raises `OSError`."""
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        sync(file.fileno())


def is_empty(directory: Path) -> bool:
    """Return True for a directory without entries; False for anything else. Raises `OSError`."""
    try:
        with os.scandir(directory) as entries:
            return next(entries, None) is None
    except (FileNotFoundError, NotADirectoryError):
        return False


def disk_usage(directory: Path) -> tuple[int, int]:
    """Return the bytes and inodes that a tree occupies on disk. Files that are removed meanwhile are not counted."""
    size = count = 0
    for parent, _, names in os.walk(directory):
        count += 1
        for name in names:
            with suppress(FileNotFoundError):  # another run may have moved it
                size += os.lstat(f"{parent}/{name}").st_blocks * 512
                count += 1
    return size, count


def stored_bytes(directory: Path) -> int:
    """Return the bytes of file content below `directory` that were written; 0 if it does not exist.

    Space that is only allocated does not count. If the file system does not report holes, whole files count.
    """
    return sum(_written(f"{parent}/{name}") for parent, _, names in os.walk(directory) for name in names)


def _written(path: str) -> int:
    """Return the written bytes of a regular file; 0 for anything else, and for a file that another run has moved."""
    count = end = 0
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            while stat.S_ISREG(status.st_mode) and end < status.st_size:  # ENXIO after the last data ends the loop
                start = os.lseek(descriptor, end, os.SEEK_DATA)
                end = os.lseek(descriptor, start, os.SEEK_HOLE)
                count += end - start
        finally:
            os.close(descriptor)
    return count


class FreedSpaceCounter:
    """Computes the space that removing trees would free; it takes hard links into account.

    The blocks of an inode are freed when all its names are removed.
    """

    def __init__(self) -> None:
        self._remaining_links: dict[tuple[int, int], int] = {}

    def remove(self, path: Path) -> int:
        """Return the bytes freed by removing this file or tree in addition to those of earlier calls."""
        freed = 0
        for entry in _entries(path):
            with suppress(FileNotFoundError):
                status = os.lstat(entry)
                inode = status.st_dev, status.st_ino
                links = 1 if stat.S_ISDIR(status.st_mode) else status.st_nlink
                self._remaining_links[inode] = self._remaining_links.get(inode, links) - 1
                if self._remaining_links[inode] == 0:
                    freed += status.st_blocks * 512
        return freed


def _entries(path: Path) -> Iterator[str]:
    yield str(path)
    for parent, directories, names in os.walk(path):
        yield from (f"{parent}/{name}" for name in (*directories, *names))
