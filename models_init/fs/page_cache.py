"""Limit how much of the page cache an install occupies.

Without a limit, a large install would evict the cached data of other programs on the machine. Therefore written bytes
are written back to the disk at once, and when the limit is reached, the oldest ranges are dropped from the cache. The
newest ones stay, because the engine reads these files next.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from models_init.fs.files import await_write_back, begin_write_back, sync_file_system
from models_init.runtime import memory_limits

if TYPE_CHECKING:
    from collections.abc import Callable

SMALL = 64 << 10
"""Bytes; smaller ranges are not tracked one by one, to save system calls: 100,000 files of a few KiB are a few hundred
MiB."""

_SMALL_TOTAL = 128 << 20
"""Bytes of small ranges after which the file system is synced, while other threads work. Otherwise the sync before
publishing would write all of them while no other thread works: 0.1 to 0.3 s for 350 MiB (measured)."""


class PageCachePolicy(Protocol):
    """Decides what stays in the page cache. Called in worker threads after each read or write."""

    def passed(self, path: str, start: int, size: int, descriptor: int = -1) -> None:
        """Report that `size` bytes of a file from `start` were written or read.

        `descriptor` is an open descriptor of the file, or -1. May wait for a slow disk. Raises `OSError`.
        """

    def passed_small(self, root: str, size: int) -> None:
        """Report that `size` bytes were written below `root` in ranges of less than `SMALL` bytes.

        May wait for a slow disk. Raises `OSError`.
        """

    def complete(self, root: str) -> None:
        """Report that the tree `root` is complete and about to be renamed. Waits and raises as `passed` does."""


class NoPageCachePolicy:
    """Leaves the page cache to the kernel."""

    def passed(self, path: str, start: int, size: int, descriptor: int = -1) -> None:
        """Do nothing."""

    def passed_small(self, root: str, size: int) -> None:
        """Do nothing."""

    def complete(self, root: str) -> None:
        """Do nothing."""


class BoundedPageCache:
    """Keeps the `size` bytes that were read or written last in the cache."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._pieces: deque[_CachedRange] = deque()
        self._staying = self._total = self._small = 0
        self._guard = threading.Lock()

    @classmethod
    def of_this_machine(cls) -> BoundedPageCache:
        """Return a cache whose size fits the machine's free memory and the limit of this process's control group."""
        return cls(memory_limits.cache_share(memory_limits.available_bytes(), memory_limits.limit_bytes()))

    def passed(self, path: str, start: int, size: int, descriptor: int = -1) -> None:
        """See `PageCachePolicy.passed`."""
        if size < SMALL:
            return
        piece = _CachedRange(path, start, size)
        if descriptor >= 0:
            begin_write_back(descriptor, start, size)
        else:
            piece.begin()
        for old in self._crowded_out_by(piece):
            old.let_go()

    def passed_small(self, root: str, size: int) -> None:
        """See `PageCachePolicy.passed_small`. Sync the file system from time to time, in the calling thread."""
        with self._guard:
            self._small += size
            if is_due := self._small >= _SMALL_TOTAL:
                self._small = 0
        if is_due:
            sync_file_system(root)

    def complete(self, root: str) -> None:
        """See `PageCachePolicy.complete`.

        If more than `size` bytes were read or written in all, the tree is dropped from the cache, because its ranges
        are no longer counted after the rename.
        """
        for piece in self._all_of(f"{root}/"):
            piece.let_go()

    def _crowded_out_by(self, piece: _CachedRange) -> list[_CachedRange]:
        old = []
        with self._guard:
            self._pieces.append(piece)
            self._staying += piece.size
            self._total += piece.size
            while self._staying > self.size:
                old.append(self._pieces.popleft())
                self._staying -= old[-1].size
        return old

    def _all_of(self, prefix: str) -> list[_CachedRange]:
        with self._guard:
            if self._total <= self.size:
                return []
            found = [piece for piece in self._pieces if piece.path.startswith(prefix)]
            self._pieces = deque(piece for piece in self._pieces if not piece.path.startswith(prefix))
            self._staying -= sum(piece.size for piece in found)
        return found


@dataclass(frozen=True, slots=True)
class _CachedRange:
    path: str
    start: int
    size: int

    def begin(self) -> None:
        """Start writing the range to the disk, without waiting."""
        self._with_file(lambda descriptor: begin_write_back(descriptor, self.start, self.size))

    def let_go(self) -> None:
        """Write the range to the disk, wait, and drop it from the cache; the kernel does not drop unwritten pages."""
        self._with_file(self._drop)

    def _drop(self, descriptor: int) -> None:
        await_write_back(descriptor, self.start, self.size)
        os.posix_fadvise(descriptor, self.start, self.size, os.POSIX_FADV_DONTNEED)

    def _with_file(self, act: Callable[[int], None]) -> None:
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:  # published by a concurrent run, which is responsible for the pages
            return
        try:
            act(descriptor)
        finally:
            os.close(descriptor)
