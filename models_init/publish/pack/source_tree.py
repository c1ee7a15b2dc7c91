"""List the regular files and directories of a directory, and reject every entry that a pack cannot contain."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models_init.core.errors import UsageError
from models_init.core.units import some
from models_init.formats.manifest import check_path

if TYPE_CHECKING:
    from pathlib import Path

_KINDS = {
    stat.S_IFIFO: "a fifo",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A regular file: `path` in the pack, `real` path on this machine, `size` in bytes, `mtime` in nanoseconds."""

    path: str
    real: str
    size: int
    mtime: int
    executable: bool


@dataclass(frozen=True, slots=True)
class Directory:
    """A directory of the pack."""

    path: str


@dataclass(frozen=True, slots=True)
class SourceTree:
    """The entries of a pack in ascending order of path, so that a directory precedes its contents."""

    entries: tuple[SourceFile | Directory, ...]

    @property
    def files(self) -> list[SourceFile]:
        """The regular files."""
        return [entry for entry in self.entries if isinstance(entry, SourceFile)]

    @property
    def empty_directories(self) -> list[str]:
        """The paths of the empty directories."""
        parents = {entry.path.rpartition("/")[0] for entry in self.entries}
        return [entry.path for entry in self.entries if isinstance(entry, Directory) and entry.path not in parents]

    @property
    def size(self) -> int:
        """Total size of all files in bytes."""
        return sum(file.size for file in self.files)


def scan(directory: Path, *, dereference: bool = False) -> SourceTree:
    """Walk the directory; with `dereference`, follow links whose target is inside the directory.

    Raises `UsageError`: some entries cannot be in a pack (the message names them), or the directory contains no file,
    which means a mistyped path or an empty mount.
    """
    walk = _Walk(os.path.realpath(directory), dereference=dereference)
    walk.enter(walk.root, "", (walk.root,))
    if walk.faults:
        raise UsageError(f"{directory} cannot be a pack: {some(walk.faults)}; {_remedy(walk)}")
    tree = SourceTree(tuple(sorted(walk.entries, key=lambda entry: entry.path)))
    if not tree.files:
        raise UsageError(f"{directory} contains no file: nothing to publish; name the directory with the models")
    return tree


class _Walk:
    """The entries and faults found in one walk."""

    def __init__(self, root: str, *, dereference: bool) -> None:
        self.root = root
        self.dereference = dereference
        self.entries: list[SourceFile | Directory] = []
        self.faults: list[str] = []

    def enter(self, real: str, path: str, ancestors: tuple[str, ...]) -> None:
        """Add a directory's entries; `ancestors` has the real paths of the directory and of those that led to it."""
        try:
            names = os.listdir(real)
        except OSError as error:
            self.faults.append(f"{path or real!r} ({error.strerror})")
            return
        for name in names:
            self._add_entry(f"{real}/{name}", f"{path}/{name}" if path else name, ancestors)

    def _add_entry(self, location: str, path: str, ancestors: tuple[str, ...]) -> None:
        try:
            check_path(path)
            real = self._resolved(location)
            status = os.lstat(real)
        except ValueError as error:
            self.faults.append(str(error))
        except OSError as error:
            self.faults.append(f"{path} ({error.strerror})")
        else:
            if fault := self._add(real, path, status, ancestors):
                self.faults.append(f"{path} ({fault})")

    def _resolved(self, location: str) -> str:
        """Resolve a link if `dereference` is set.

        Raises `OSError`: the link is broken or part of a loop.
        """
        return os.path.realpath(location, strict=True) if self.dereference and os.path.islink(location) else location

    def _add(self, real: str, path: str, status: os.stat_result, ancestors: tuple[str, ...]) -> str | None:
        """Add the entry, or return the reason why a pack cannot contain it."""
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFLNK:
            return "a link"
        if not real.startswith(f"{self.root.rstrip('/')}/") and real != self.root:
            return "a link to a target outside the directory"
        if kind == stat.S_IFREG:
            executable = bool(status.st_mode & stat.S_IXUSR)
            self.entries.append(SourceFile(path, real, status.st_size, status.st_mtime_ns, executable))
        elif kind != stat.S_IFDIR:
            return _KINDS.get(kind, "neither a file nor a directory")
        elif real in ancestors:
            return "a link to a directory that contains it"
        else:
            self.entries.append(Directory(path))
            self.enter(real, path, (*ancestors, real))
        return None


def _remedy(walk: _Walk) -> str:
    linked = any(fault.endswith("(a link)") for fault in walk.faults)
    return "remove or rename them" + (", or follow links with --dereference" if linked else "")


_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""Do not follow a link and do not block on a fifo: the entry may have been replaced since the walk."""


def read_slice(file: SourceFile, start: int, size: int) -> bytes:
    """Return `size` bytes of a file from `start`.

    Raises `UsageError`: the file has changed since the walk, or cannot be read.
    """
    try:
        descriptor = os.open(file.real, _READ)
        try:
            data = os.pread(descriptor, size, start)
            status = os.fstat(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise UsageError(f"{file.path} cannot be read: {error.strerror}; make it readable, then build again") from error
    if len(data) != size or (status.st_size, status.st_mtime_ns) != (file.size, file.mtime):
        raise UsageError(f"{file.path} changed while it was read: build again when nothing writes to the directory")
    return data
