"""Find and read a large file that may be split into numbered parts, independently of its content."""

from __future__ import annotations

import os
import re
from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from models_init.core.errors import AccessError, ModelsInitError, SourceError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_PART = re.compile(r"(?P<stem>(?!\._).+)\.(?P<number>[0-9]{3})\Z")
"""Exactly three digits: a name such as `site.tar.20261128` is that of a dated copy, not of a part.

Names with `._` are those of files in which macOS keeps attributes on media without them, one beside each part."""

_SUFFIX = ".tar"


def part_name(stem: str, number: int) -> str:
    """Return the name of a part; the first has number 1."""
    return f"{stem}.{number:03}"


def parts_named(whole: Path) -> list[Path]:
    """Return the numbered parts of the file `whole` that exist, in any order."""
    names = os.listdir(whole.parent) if whole.parent.is_dir() else []
    matches = ((name, _PART.match(name)) for name in names)
    return [whole.with_name(name) for name, found in matches if found and found["stem"] == whole.name]


def is_bundle(path: Path) -> bool:
    """Return True if the path names a bundle rather than a directory with packs. It need not exist.

    If the path cannot be examined, its name decides, and the source reports the error when it is read.
    """
    try:
        if path.is_dir():
            return bool(_stems(path))
        is_file = path.is_file()
    except OSError:  # no permission, or a mount whose server is gone
        is_file = False
    return is_file or path.suffix == _SUFFIX or _PART.match(path.name) is not None


def parts_of(path: Path) -> list[Path]:
    """Return the file at `path`, or all parts in order.

    `path` may be a file, one of the parts, the name of the file before it was split, or a directory with the parts.
    Raises `SourceError`: `path` does not exist, a part is missing, or a directory has parts of several files.
    """
    try:
        return _parts_of(path)
    except OSError as error:
        raise translated(error, path) from error


def _parts_of(path: Path) -> list[Path]:
    if path.is_dir():
        stems = _stems(path)
        if len(stems) > 1:
            raise SourceError(
                f"{path} has parts of several bundles ({', '.join(stems)}.*); set MODELS_URL to the first part of one"
            )
        return _in_order(path, stems[0])
    found = _PART.match(path.name)
    if found:
        return _in_order(path.parent, found["stem"])
    if not path.exists() and path.parent.is_dir() and path.name in _stems(path.parent):
        return _in_order(path.parent, path.name)
    if not path.is_file():
        raise SourceError(f"{path} does not exist; mount the disk or share, or correct MODELS_URL")
    return [path]


def _stems(directory: Path) -> list[str]:
    """Return the names, without part numbers, of the tar files of which the directory has parts."""
    matches = (_PART.match(name) for name in os.listdir(directory))
    return sorted({found["stem"] for found in matches if found and found["stem"].endswith(_SUFFIX)})


def _in_order(directory: Path, stem: str) -> list[Path]:
    names = os.listdir(directory) if directory.is_dir() else []
    matches = [(name, _PART.match(name)) for name in names]
    numbers = {int(found["number"]): name for name, found in matches if found and found["stem"] == stem}
    if not numbers:
        raise SourceError(
            f"{directory / part_name(stem, 1)} does not exist; mount the disk or share, or correct MODELS_URL"
        )
    missing = [part_name(stem, number) for number in range(1, max(numbers)) if number not in numbers]
    if missing:
        raise missing_parts(directory, missing)
    return [directory / numbers[number] for number in sorted(numbers)]


def missing_parts(directory: Path, names: list[str]) -> SourceError:
    """Return the error for parts that are missing in a directory."""
    several = len(names) > 1
    return SourceError(
        f"{', '.join(names[:20])}{' and more' if len(names) > 20 else ''} {'are' if several else 'is'} missing in "
        f"{directory}; copy all parts of the bundle into one directory, then run again"
    )


@dataclass(frozen=True, slots=True)
class FileOffset:
    """The position of a byte: a file, and the offset in it."""

    path: Path
    offset: int

    def __str__(self) -> str:
        return f"byte {self.offset} of {self.path}"


class MultipartFile:
    """Several open files that are read as one; all methods block."""

    def __init__(self, paths: Iterable[Path]) -> None:
        """Open the files. Raises `SourceError` or `AccessError`."""
        self.paths = list(paths)
        self._descriptors: list[int] = []
        try:
            for path in self.paths:
                self._descriptors.append(_open(path))
            self.sizes = [os.fstat(descriptor).st_size for descriptor in self._descriptors]
        except BaseException:
            self.close()
            raise
        self._starts = [0, *accumulate(self.sizes)]

    @property
    def size(self) -> int:
        """Total size in bytes."""
        return self._starts[-1]

    def place(self, offset: int) -> FileOffset:
        """Return the file and offset of a byte."""
        index = self._index(offset)
        return FileOffset(self.paths[index], offset - self._starts[index])

    def bounds(self) -> list[tuple[int, int]]:
        """Return the offsets at which each file begins and ends in the whole file."""
        return list(pairwise(self._starts))

    def fill(self, buffer: memoryview, offset: int) -> int:
        """Read from one file into the buffer and return the number of bytes, which may be less than its size.

        Returns 0 at the end. Raises `SourceError` or `AccessError`.
        """
        index = self._index(offset)
        at = offset - self._starts[index]
        try:
            return os.preadv(self._descriptors[index], [buffer[: max(0, self.sizes[index] - at)]], at)
        except OSError as error:
            raise translated(error, self.paths[index]) from error

    def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes, fewer at the end. Raises `SourceError` or `AccessError`."""
        buffer = bytearray(max(0, min(size, self.size - offset)))
        filled = 0
        while filled < len(buffer):
            count = self.fill(memoryview(buffer)[filled:], offset + filled)
            if count == 0:
                break
            filled += count
        return bytes(buffer[:filled])

    def close(self) -> None:
        """Close the files."""
        while self._descriptors:
            os.close(self._descriptors.pop())

    def _index(self, offset: int) -> int:
        return min(bisect_right(self._starts, offset), len(self.paths)) - 1


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise translated(error, path) from error


def translated(error: OSError, path: Path) -> ModelsInitError:
    """Return the exception for an `OSError` of reading a file or a part."""
    if isinstance(error, FileNotFoundError):
        return SourceError(f"{path} does not exist; mount the disk or share, or correct MODELS_URL")
    if isinstance(error, PermissionError):
        return AccessError(f"{path} cannot be read: {error.strerror}; give the running user read permission")
    return UnavailableError(f"{path} cannot be read: {error.strerror}; check the disk, or use another copy")
