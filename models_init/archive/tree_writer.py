"""Write the files of an archive to a temporary tree before the archive is known to be valid."""

from __future__ import annotations

import os
import shutil
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING

from models_init.archive.tar_headers import shown
from models_init.core.errors import NoSpaceError
from models_init.core.file_modes import DIRECTORY_MODE, EXECUTABLE_MODE, FILE_MODE
from models_init.core.names import same_path_error
from models_init.core.units import human_size
from models_init.formats.manifest import MIB
from models_init.fs.files import file_pieces, make_directory, visible_path
from models_init.fs.os_errors import volume_errors
from models_init.transfer.plan import SPARE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from models_init.archive.tar_reader import TarEntry
    from models_init.fs.page_cache import PageCachePolicy


_PASSED = 4 * MIB  # bytes written between two calls of the page cache policy


class TreeWriter:
    """A new tree at `root` for one archive, whose names the reader has already checked.

    The layers of an image are written one after the other, so entries can also be removed.
    """

    def __init__(self, root: Path, pages: PageCachePolicy) -> None:
        self._root = str(root)
        self._pages = pages
        self._directories = {""}
        with volume_errors(root):
            make_directory(root)

    def add(self, entry: TarEntry, content: Iterator[memoryview]) -> None:
        """Write a directory or a file.

        Raises `VolumeError`; if a file does not fit, before it is created. The names in an archive are distinct, so a
        name that exists already is one that this file system treats as the same.
        """
        with volume_errors(self._root), self._collisions():
            if entry.is_directory:
                self._make_directory(entry.path)
                return
            self._make_directory(entry.path.rpartition("/")[0])
            self._require_room(entry)
            path = f"{self._root}/{entry.path}"
            mode = EXECUTABLE_MODE if entry.executable else FILE_MODE
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
            try:
                self._write(descriptor, path, content)
            finally:
                os.close(descriptor)

    def link(self, source: str, entry: TarEntry) -> None:
        """Add a second name for the file `source` of the tree, as a hard link, or else as a copy."""
        if not self._link(f"{self._root}/{source}", entry.path):
            self.add(entry, file_pieces(f"{self._root}/{source}", entry.size))

    def adopt(self, source: str, entry: TarEntry) -> bool:
        """Hard-link a file of an installed pack; return False if that fails, or if its size or mode differs."""
        mode = EXECUTABLE_MODE if entry.executable else FILE_MODE
        if not self._link(source, entry.path):
            return False
        status = os.lstat(f"{self._root}/{entry.path}")
        if stat.S_ISREG(status.st_mode) and (status.st_size, status.st_mode & 0o777) == (entry.size, mode):
            return True
        self.remove_file(entry.path)
        return False

    def pieces(self, entry: TarEntry) -> Iterator[memoryview]:
        """Yield the content of a file of the tree. Raises `OSError`."""
        return file_pieces(f"{self._root}/{entry.path}", entry.size)

    def _link(self, source: str, path: str) -> bool:
        with volume_errors(self._root), self._collisions():
            self._make_directory(path.rpartition("/")[0])
            try:
                os.link(source, f"{self._root}/{path}", follow_symlinks=False)
            except FileExistsError:
                raise
            except OSError:  # no hard links on this file system, too many of one file, or no such file
                return False
            return True

    def remove_file(self, path: str) -> None:
        """Remove a file."""
        with volume_errors(self._root):
            os.unlink(f"{self._root}/{path}")

    def remove_directory(self, path: str) -> None:
        """Remove an empty directory."""
        with volume_errors(self._root):
            os.rmdir(f"{self._root}/{path}")
            self._directories.discard(path)

    @contextmanager
    def _collisions(self) -> Iterator[None]:
        try:
            yield
        except FileExistsError as error:
            path, existing = (os.path.relpath(name, self._root) for name in (error.filename, _existing(error.filename)))
            raise same_path_error(visible_path(self._root), "the archive", existing, path) from error

    def complete(self) -> None:
        """Finish writing."""
        with volume_errors(self._root):
            self._pages.complete(self._root)

    def discard(self) -> None:
        """Remove the tree."""
        with volume_errors(self._root):
            shutil.rmtree(self._root, ignore_errors=True)

    def _make_directory(self, path: str) -> None:
        missing = []
        while path not in self._directories:
            missing.append(path)
            path = path.rpartition("/")[0]
        for directory in reversed(missing):
            os.mkdir(f"{self._root}/{directory}", DIRECTORY_MODE)
            self._directories.add(directory)

    def _write(self, descriptor: int, path: str, content: Iterator[memoryview]) -> None:
        reported = end = 0
        for piece in content:
            rest = piece
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            end += len(piece)
            if end - reported >= _PASSED:
                self._pages.passed(path, reported, end - reported)
                reported = end
        self._pages.passed(path, reported, end - reported)

    def _require_room(self, entry: TarEntry) -> None:
        status = os.statvfs(self._root)
        lacking = entry.size + SPARE - status.f_bavail * status.f_frsize
        if entry.size > SPARE and lacking > 0:
            raise NoSpaceError(
                f"the volume lacks {human_size(lacking)} for {shown(entry.path)} ({human_size(entry.size)}) of the "
                "archive; make room or run with --prune, then run again"
            )


def _existing(path: str) -> str:
    """Return the path under which the entry `path` was created."""
    inode = os.lstat(path).st_ino
    with os.scandir(os.path.dirname(path)) as entries:
        return next((entry.path for entry in entries if entry.inode() == inode), path)
