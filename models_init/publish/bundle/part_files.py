"""Write a bundle to one file or numbered parts, which are named `….part` until complete and resumed by the next run."""

from __future__ import annotations

import os
from bisect import bisect_right
from contextlib import contextmanager
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from models_init.core.errors import UsageError
from models_init.core.units import count, some
from models_init.fs.files import reserve
from models_init.publish.pack.drafts import open_part, part_path, publish, translate_os_errors
from models_init.sources.multipart import part_name, parts_named

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from models_init.formats.bundle_index import Contents


def part_paths(out: Path, contents: Contents) -> list[Path]:
    """Return the final paths of the bundle's files."""
    if not contents.part_size:
        return [out]
    return [out.with_name(part_name(out.name, number + 1)) for number in range(len(contents.parts))]


def check_no_other_parts(paths: list[Path], out: Path) -> None:
    """Raise `UsageError` if there are parts of another bundle of that name, so that they are not overwritten.

    A reader would take further parts for parts of this bundle. Parts without the first part are those of a bundle whose
    first part was moved away, unless a run was killed while it renamed them: the first part is renamed last.
    """
    if others := [str(path) for path in parts_named(out) if path not in paths]:
        raise UsageError(
            f"{some(others)}: part of another bundle, because this one has {count(len(paths), 'part')}; remove it, or "
            "choose another --out"
        )
    existing = [str(path) for path in paths if path.exists()]
    if existing and not part_path(paths[0]).exists():
        raise UsageError(
            f"{some(existing)}: part of another bundle, whose first part is missing; remove it, or choose another --out"
        )


class PartFiles:
    """Read and write all files as one address space. Calls block; `read` and `write` are safe in several threads."""

    def __init__(self, paths: list[Path], sizes: list[int]) -> None:
        self._paths = paths
        self._sizes = sizes
        self._starts = [0, *accumulate(sizes)]
        self._descriptors: list[int] = []
        self.resumed = False

    @contextmanager
    def opened(self) -> Iterator[PartFiles]:
        """Open, lock and resize the files, and keep the data of an earlier run.

        Raises `LockedError`: another run is writing the files.
        Raises `NoSpaceError`: the disk is full.
        """
        try:
            for path, size in zip(self._paths, self._sizes, strict=True):
                with translate_os_errors(path):
                    self._descriptors.append(_open(path))
                    self._size(self._descriptors[-1], size)
            yield self
        finally:
            while self._descriptors:
                os.close(self._descriptors.pop())

    def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes from `offset`, or fewer at the end."""
        found = bytearray()
        while len(found) < size:
            index, at, count = self._where(offset + len(found), size - len(found))
            with translate_os_errors(self._paths[index]):
                piece = os.pread(self._descriptors[index], count, at)
            if not piece:
                break
            found += piece
        return bytes(found)

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Write `data` at `offset`, across files if needed."""
        view = memoryview(data)
        while view:
            index, at, count = self._where(offset, len(view))
            with translate_os_errors(self._paths[index]):
                written = os.pwrite(self._descriptors[index], view[:count], at)
            view = view[written:]
            offset += written

    def bounds(self) -> list[tuple[int, int]]:
        """Return the (start, stop) offsets of each file in the bundle."""
        return list(pairwise(self._starts))

    def sync(self) -> None:
        """Flush all files to the disk (fsync)."""
        for path, descriptor in zip(self._paths, self._descriptors, strict=True):
            with translate_os_errors(path):
                os.fsync(descriptor)

    def publish(self) -> None:
        """Rename the files to their final names, the first part last, because a bundle cannot be opened without it."""
        publish(*reversed(self._paths))

    def _where(self, offset: int, size: int) -> tuple[int, int, int]:
        index = bisect_right(self._starts, offset) - 1
        return index, offset - self._starts[index], min(size, self._starts[index + 1] - offset)

    def _size(self, descriptor: int, size: int) -> None:
        self.resumed |= os.fstat(descriptor).st_size > 0
        os.ftruncate(descriptor, size)
        reserve(descriptor, size)


def _open(path: Path) -> int:
    """Open the draft of `path`; undo the rename of a run that was killed between two renames.

    Raises `LockedError`: another run is writing the file.
    """
    part = part_path(path)
    if path.exists() and not part.exists():
        path.rename(part)
    return open_part(path)
