"""Store the parts of an opaque archive on the volume while it is downloaded and unpacked.

A part of the right size is assumed to be correct until the digest of the whole archive is checked.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from bisect import bisect_right
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from models_init.fs.files import disk_usage, make_directory, temp_path
from models_init.fs.os_errors import volume_errors
from models_init.transfer.ranges import BATCH_SIZE, SPAN_SIZE, Batch, Span
from models_init.volume.retention import YOUNG

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Iterator, Sequence
    from pathlib import Path

    from models_init.formats.manifest import Manifest
    from models_init.fs.page_cache import PageCachePolicy
    from models_init.transfer.ranges import WrongChunk


class Part(NamedTuple):
    """Bytes `start` to `stop` of the archive, within one of its sections."""

    number: int
    start: int
    stop: int
    section: int = 0

    @property
    def size(self) -> int:
        """Return the number of bytes."""
        return self.stop - self.start


class Spool:
    """The directory `root` with the parts of an archive; the policy `pages` is applied to all file data.

    `sections` are the sizes in bytes of the pieces that have digests of their own: the layers of an image, or the whole
    archive. Those whose numbers are in `unneeded` are not stored.
    """

    def __init__(
        self, root: Path, sections: Sequence[int], pages: PageCachePolicy, unneeded: Container[int] = ()
    ) -> None:
        self.root = root
        self._sections = sections
        self._pages = pages
        self._unneeded = unneeded

    def parts(self) -> Iterator[Part]:
        """Yield all parts, in order."""
        number = begin = 0
        for section, size in enumerate(self._sections):
            for start in range(begin, begin + size, SPAN_SIZE):
                if section not in self._unneeded:
                    yield Part(number, start, min(start + SPAN_SIZE, begin + size), section)
                number += 1
            begin += size

    def missing(self) -> list[Part]:
        """Return the parts that are not stored yet."""
        with volume_errors(self.root):
            return [part for part in self.parts() if not self._has(part)]

    def allocated(self) -> tuple[int, int]:
        """Return the disk usage in bytes and inodes."""
        return disk_usage(self.root)

    def prepare(self, *, locked: bool) -> None:
        """Create the directory and remove temporary files of killed runs.

        Unless the caller has `locked` the volume exclusively, only those older than `YOUNG` seconds are removed.
        """
        with volume_errors(self.root):
            make_directory(self.root.parent)
            make_directory(self.root)
            for name in os.listdir(self.root):
                path = self.root / name
                if name.startswith(".") and (locked or _age(path) > YOUNG):
                    _remove(path)

    def draft(self) -> Path:
        """Return a temporary path for a part that is being written."""
        return temp_path(self.root, "part")

    def write(self, draft: Path, at: int, data: memoryview) -> None:
        """Write bytes of a part at offset `at` of the part. Blocks; call it in a worker thread."""
        with volume_errors(self.root):
            descriptor = os.open(draft, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
            try:
                while data:
                    written = os.pwrite(descriptor, data, at)
                    data, at = data[written:], at + written
            finally:
                os.close(descriptor)

    def publish(self, draft: Path, part: Part) -> None:
        """Rename a complete part to its final name. Blocks; call it in a worker thread."""
        with volume_errors(self.root):
            self._pages.passed(str(draft), 0, part.size)
            os.rename(draft, self.path(part))

    def path(self, part: Part) -> Path:
        """Return the path of a part."""
        return self.root / f"{part.number:06}"

    def clear(self) -> None:
        """Remove all parts."""
        with volume_errors(self.root), suppress(FileNotFoundError):
            shutil.rmtree(self.root)

    def remove(self, sections: Container[int]) -> None:
        """Remove the parts of these sections; remove the directory if these are all sections."""
        if all(number in sections for number in range(len(self._sections))):
            self.clear()
            return
        with volume_errors(self.root):
            for part in self.parts():
                if part.section in sections:
                    self.path(part).unlink(missing_ok=True)

    def _has(self, part: Part) -> bool:
        path = self.path(part)
        return path.is_file() and not path.is_symlink() and path.stat().st_size == part.size


class SpoolWriter:
    """A fetch target that stores parts; a part's batches may come in any order.

    `on_part` is called in the fetcher's worker threads after each complete part.
    """

    def __init__(self, spool: Spool, manifest: Manifest, on_part: Callable[[Part], None]) -> None:
        self.manifest = manifest
        self._spool = spool
        self._on_part = on_part
        self._parts = list(spool.parts())
        self._begun: dict[int, tuple[Path, int]] = {}
        self._lock = threading.Lock()

    def write(self, batch: Batch, data: memoryview) -> list[WrongChunk]:
        """See `FetchTarget.write`; returns no wrong chunks because nothing can be verified yet."""
        part = self._parts[bisect_right(self._parts, batch.start, key=lambda part: part.start) - 1]
        with self._lock:
            draft, left = self._begun.get(part.number) or (self._spool.draft(), part.size)
            self._begun[part.number] = draft, left
        self._spool.write(draft, batch.start - part.start, data)
        with self._lock:
            left = self._begun[part.number][1] - len(data)
            self._begun[part.number] = draft, left
        if not left:
            self._spool.publish(draft, part)
            self._on_part(part)
        return []


def spans(parts: Iterable[Part]) -> Iterator[Span]:
    """Yield the spans to fetch for these parts."""
    for part in parts:
        batches = (
            Batch(start, min(start + BATCH_SIZE, part.stop), ()) for start in range(part.start, part.stop, BATCH_SIZE)
        )
        yield Span(part.start, part.stop, tuple(batches))


class SpoolClosedError(Exception):
    """Internal: reading was stopped because no more parts will be stored."""


class SpoolReader:
    """Reads a spool from its start in a separate thread; waits for each part until it is stored."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._parts = spool.parts()
        self._stored: set[int] = set()
        self._stopped = False
        self._changed = threading.Condition()
        self._descriptor = -1

    def mark_stored(self, *parts: Part) -> None:
        """Mark parts as stored."""
        with self._changed:
            self._stored.update(part.number for part in parts)
            self._changed.notify()

    def stop(self) -> None:
        """Stop reading: a waiting `read` raises `SpoolClosedError`."""
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def read(self, size: int, /) -> bytes:
        """Return the next bytes, empty at the end of the archive. Raises `SpoolClosedError`, `VolumeError`."""
        with volume_errors(self._spool.root):
            while True:
                if self._descriptor < 0 and not self._open_next():
                    return b""
                if data := os.read(self._descriptor, size):
                    return data
                self.close()

    def close(self) -> None:
        """Close the open part and drop its pages from the page cache, because it is read only once."""
        if self._descriptor >= 0:
            os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(self._descriptor)
            self._descriptor = -1

    def _open_next(self) -> bool:
        part = next(self._parts, None)
        if part is None:
            return False
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or part.number in self._stored)
            if self._stopped:
                raise SpoolClosedError
        self._descriptor = os.open(self._spool.path(part), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        return True


def _age(path: Path) -> float:
    try:
        return time.time() - os.lstat(path).st_mtime
    except FileNotFoundError:
        return 0.0


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
