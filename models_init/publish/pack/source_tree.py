"""List the regular files and directories of a directory, and reject every entry that a pack cannot contain."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from models_init.core.errors import UsageError
from models_init.core.units import some
from models_init.formats.paths import check_path
from models_init.publish.pack.name_warnings import junk_pattern

if TYPE_CHECKING:
    from pathlib import Path

_KINDS = {
    stat.S_IFIFO: "a fifo",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


_LINK, _OUTSIDE = "a link", "a link to a target outside the directory"


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
    unused_patterns: tuple[str, ...] = ()  # of `ScanOptions.exclude`

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


@dataclass(frozen=True, slots=True)
class ScanOptions:
    """Options for reading a directory.

    `dereference` replaces links by their targets inside the directory. `exclude` has patterns of entries to omit: they
    are compared with the name of an entry, or with its path if they contain a slash.
    """

    dereference: bool = False
    exclude: tuple[str, ...] = ()


def scan(directory: Path, options: ScanOptions = ScanOptions()) -> SourceTree:
    """Walk the directory.

    Raises `UsageError`: the directory does not exist, some entries cannot be in a pack (the message names them), or
    there is no file, which means a mistyped path or an empty mount.
    """
    if not directory.is_dir():
        problem = (
            f"{directory} is not a directory" if directory.exists() else f"the directory {directory} does not exist"
        )
        raise UsageError(f"{problem}; name the directory with the models")
    walk = _Walk(os.path.realpath(directory), options)
    walk.run()
    if walk.faults:
        faults = [f"{path} ({fault})" if path else fault for path, fault in walk.faults]
        raise UsageError(f"{directory} cannot be a pack: {some(faults)}; {_remedy(directory, walk)}")
    entries = tuple(sorted(walk.entries, key=lambda entry: entry.path))
    tree = SourceTree(entries, tuple(pattern for pattern in options.exclude if pattern not in walk.used_patterns))
    if not tree.files:
        raise UsageError(f"{directory} contains no file: nothing to publish; name the directory with the models")
    return tree


class _Walk:
    """The entries and faults found in one walk; a fault has a path, or '' if its text contains the path."""

    def __init__(self, root: str, options: ScanOptions) -> None:
        self.root = root
        self.options = options
        self.entries: list[SourceFile | Directory] = []
        self.faults: list[tuple[str, str]] = []
        self.used_patterns: set[str] = set()
        self._pending: list[tuple[str, str, tuple[str, ...]]] = [(self.root, "", (self.root,))]

    def run(self) -> None:
        """Add all entries. Not recursive: a path may have more parts than Python allows nested calls."""
        while self._pending:
            self._enter(*self._pending.pop())

    def _enter(self, real: str, path: str, ancestors: tuple[str, ...]) -> None:
        """Add a directory's entries; `ancestors` has the real paths of the directory and of those that led to it."""
        try:
            names = os.listdir(real)
        except OSError as error:
            self.faults.append((path or repr(real), error.strerror or ""))
            return
        for name in names:
            entry_path = f"{path}/{name}" if path else name
            if not self._is_excluded(entry_path):
                self._add_entry(f"{real}/{name}", entry_path, ancestors)

    def _is_excluded(self, path: str) -> bool:
        name = path.rpartition("/")[2]
        matching = {
            pattern for pattern in self.options.exclude if fnmatchcase(path if "/" in pattern else name, pattern)
        }
        self.used_patterns |= matching
        return bool(matching)

    def _add_entry(self, location: str, path: str, ancestors: tuple[str, ...]) -> None:
        try:
            check_path(path)
            real = self._resolved(location)
            status = os.lstat(real)
        except ValueError as error:
            self.faults.append(("", str(error)))
        except OSError as error:
            is_broken = error.errno == errno.ENOENT and os.path.islink(location)
            self.faults.append((path, "a broken link" if is_broken else error.strerror or ""))
        else:
            is_link = real != location and not self.options.dereference
            if fault := _LINK if is_link and self._is_inside(real) else self._add(real, path, status, ancestors):
                self.faults.append((path, fault))

    def _is_inside(self, real: str) -> bool:
        return real.startswith(f"{self.root.rstrip('/')}/") or real == self.root

    def _resolved(self, location: str) -> str:
        """Return the target of a link, or the path itself.

        Raises `OSError`: the link is broken or part of a loop.
        """
        return os.path.realpath(location, strict=True) if os.path.islink(location) else location

    def _add(self, real: str, path: str, status: os.stat_result, ancestors: tuple[str, ...]) -> str | None:
        """Add the entry, or return the reason why a pack cannot contain it."""
        if not self._is_inside(real):
            return _OUTSIDE
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFREG:
            executable = bool(status.st_mode & stat.S_IXUSR)
            self.entries.append(SourceFile(path, real, status.st_size, status.st_mtime_ns, executable))
        elif kind != stat.S_IFDIR:
            return _KINDS.get(kind, "neither a file nor a directory")
        elif real in ancestors:
            return "a link to a directory that contains it"
        else:
            self.entries.append(Directory(path))
            self._pending.append((real, path, (*ancestors, real)))
        return None


def _remedy(directory: Path, walk: _Walk) -> str:
    """Return the advice for the faults, including alternatives to removing or renaming entries."""
    faults = {fault for _, fault in walk.faults}
    junk = sorted({pattern for path, _ in walk.faults if (pattern := junk_pattern(path))})
    advice = "remove or rename them"
    if _OUTSIDE in faults:
        advice += f", or copy the directory with its links resolved (cp -rL {directory} COPY) and build from the copy"
    elif _LINK in faults:
        advice += ", or follow links with --dereference"
    if junk:
        advice += ", or omit them with " + " ".join(f"--exclude '{pattern}'" for pattern in junk)
    return advice


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
