"""Which pages of the files that the work passes through stay in the page cache: the newest, up to a share of it.

A large install would push out what the programs beside it have cached. So the kernel is asked to bring to the disk at
once what was written, and to let go of the oldest of it when the share is used up. What fits into the share stays: the
engine reads it next.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from models_init.core import memory_limits
from models_init.fs.files import await_write_back, begin_write_back

if TYPE_CHECKING:
    from collections.abc import Callable

SMALL = 64 << 10
"""Bytes below which a piece is not worth the calls: 100,000 files of a few KiB are some hundred MiB in all."""


class PageCachePolicy(Protocol):
    """Is told what was written or read, in worker threads."""

    def passed(self, path: str, start: int, size: int, descriptor: int = -1) -> None:
        """Bytes of a file were written or read, by a descriptor that is open still, if it is given.

        Waits for a disk that falls behind; raises what it reports.
        """

    def leave(self, root: str) -> None:
        """No more of the tree `root` will pass, and its name is about to change. Waits and raises as above."""


class NoPageCachePolicy:
    """Leaves it to the kernel."""

    def passed(self, path: str, start: int, size: int, descriptor: int = -1) -> None:
        """Let it be."""

    def leave(self, root: str) -> None:
        """Let it be."""


class BoundedPageCache:
    """Lets `size` bytes stay in the cache, those that passed last."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._pieces: deque[_CachedRange] = deque()
        self._staying = self._total = 0
        self._guard = threading.Lock()

    @classmethod
    def of_this_machine(cls) -> BoundedPageCache:
        """A share of what this machine, and this process's control group, can spare."""
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

    def leave(self, root: str) -> None:
        """See `PageCachePolicy.leave`. Beyond a share nothing of the tree may stay, for it is not counted any more."""
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
        """Have it brought to the disk, without waiting."""
        self._with_file(lambda descriptor: begin_write_back(descriptor, self.start, self.size))

    def let_go(self) -> None:
        """Take it out of the cache once it is on the disk: pages that are not stay."""
        self._with_file(self._drop)

    def _drop(self, descriptor: int) -> None:
        await_write_back(descriptor, self.start, self.size)
        os.posix_fadvise(descriptor, self.start, self.size, os.POSIX_FADV_DONTNEED)

    def _with_file(self, act: Callable[[int], None]) -> None:
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:  # a run beside this one has published it; its pages are its own affair
            return
        try:
            act(descriptor)
        finally:
            os.close(descriptor)
