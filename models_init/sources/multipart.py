"""A large file, whole or in numbered parts, read as one: what lies on the stick, before anybody asks what it means."""

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

_PART = re.compile(r"(?P<stem>.+)\.(?P<number>[0-9]{3,})\Z")
_SUFFIX = ".tar"


def part_name(stem: str, number: int) -> str:
    """The name of a part; they are counted from 1."""
    return f"{stem}.{number:03}"


def is_bundle(path: Path) -> bool:
    """Tell whether a path is meant for a bundle rather than for a folder with packs; nothing need be there."""
    if path.is_dir():
        return bool(_stems(path))
    return path.is_file() or path.suffix == _SUFFIX or _PART.match(path.name) is not None


def parts_of(path: Path) -> list[Path]:
    """The file, or all parts in order: of the part that is named, of the file that was split, of those in a folder.

    Raises `SourceError` where nothing is there, where a number is missing, or where a folder has parts of several.
    """
    try:
        return _parts_of(path)
    except OSError as error:
        raise translated(error, path) from error


def _parts_of(path: Path) -> list[Path]:
    if path.is_dir():
        stems = _stems(path)
        if len(stems) > 1:
            raise SourceError(f"{path} holds parts of several bundles ({', '.join(stems)}.*): name the first part")
        return _in_order(path, stems[0])
    found = _PART.match(path.name)
    if found:
        return _in_order(path.parent, found["stem"])
    if not path.exists() and path.parent.is_dir() and path.name in _stems(path.parent):
        return _in_order(path.parent, path.name)
    if not path.is_file():
        raise SourceError(f"there is no {path}; mount the medium, or correct MODELS_URL")
    return [path]


def _stems(folder: Path) -> list[str]:
    """What the numbered tar files in the folder are parts of."""
    matches = (_PART.match(name) for name in os.listdir(folder))
    return sorted({found["stem"] for found in matches if found and found["stem"].endswith(_SUFFIX)})


def _in_order(folder: Path, stem: str) -> list[Path]:
    names = os.listdir(folder) if folder.is_dir() else []
    matches = [(name, _PART.match(name)) for name in names]
    numbers = {int(found["number"]): name for name, found in matches if found and found["stem"] == stem}
    if not numbers:
        raise SourceError(f"there is no {folder / part_name(stem, 1)}; mount the medium, or correct MODELS_URL")
    missing = [part_name(stem, number) for number in range(1, max(numbers)) if number not in numbers]
    if missing:
        raise missing_parts(folder, missing)
    return [folder / numbers[number] for number in sorted(numbers)]


def missing_parts(folder: Path, names: list[str]) -> SourceError:
    """The error for parts that ought to lie in a folder."""
    several = len(names) > 1
    return SourceError(
        f"{', '.join(names[:20])}{' and more' if len(names) > 20 else ''} {'are' if several else 'is'} missing in "
        f"{folder}; copy all parts of the bundle into one folder, then run again"
    )


@dataclass(frozen=True, slots=True)
class FileOffset:
    """A byte of the whole: the file that has it, and where in that."""

    path: Path
    offset: int

    def __str__(self) -> str:
        return f"byte {self.offset} of {self.path}"


class MultipartFile:
    """Files that are open, one after the other as one; everything here blocks."""

    def __init__(self, paths: Iterable[Path]) -> None:
        """Open them; raises `SourceError`, `AccessError`."""
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
        """Bytes of all."""
        return self._starts[-1]

    def place(self, offset: int) -> FileOffset:
        """Where a byte lies."""
        index = self._index(offset)
        return FileOffset(self.paths[index], offset - self._starts[index])

    def bounds(self) -> list[tuple[int, int]]:
        """Where each file begins and ends in the whole."""
        return list(pairwise(self._starts))

    def fill(self, buffer: memoryview, offset: int) -> int:
        """Read into the buffer, as much as one file has of it; 0 at the end. Raises `SourceError`, `AccessError`."""
        index = self._index(offset)
        at = offset - self._starts[index]
        try:
            return os.preadv(self._descriptors[index], [buffer[: max(0, self.sizes[index] - at)]], at)
        except OSError as error:
            raise translated(error, self.paths[index]) from error

    def read(self, offset: int, size: int) -> bytes:
        """Read so many bytes, or what is there of them."""
        buffer = bytearray(max(0, min(size, self.size - offset)))
        filled = 0
        while filled < len(buffer):
            count = self.fill(memoryview(buffer)[filled:], offset + filled)
            if count == 0:
                break
            filled += count
        return bytes(buffer[:filled])

    def close(self) -> None:
        """Close them."""
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
    """Say in our words what a medium did."""
    if isinstance(error, FileNotFoundError):
        return SourceError(f"there is no {path}; mount the medium, or correct MODELS_URL")
    if isinstance(error, PermissionError):
        return AccessError(f"{path} cannot be read: {error.strerror}; give the running user read permission")
    return UnavailableError(f"{path} cannot be read: {error.strerror}; check the medium, or take another copy of it")
