"""Build one pack in its staging directory; the content of the directory is the only record of progress."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import weakref
from contextlib import suppress
from typing import TYPE_CHECKING

from models_init.core.errors import ManifestError, VolumeError
from models_init.core.file_modes import DIRECTORY_MODE
from models_init.formats import manifest
from models_init.fs.capabilities import NO_HARD_LINKS
from models_init.fs.files import disk_usage, make_directory, removed_on_error, stored_bytes, temp_path
from models_init.fs.os_errors import volume_errors
from models_init.fs.page_cache import SMALL, NoPageCachePolicy
from models_init.transfer import chunk_io
from models_init.transfer.ranges import WrongChunk
from models_init.volume.layout import manifest_path_of, spool_path_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

    from models_init.core.pack_ref import PackRef
    from models_init.formats.manifest import Chunk, File, Manifest, Placement
    from models_init.fs.page_cache import PageCachePolicy
    from models_init.transfer.ranges import Batch
    from models_init.transfer.reuse import Copy, Link


_NO_LINK = {
    *NO_HARD_LINKS,
    *(errno.EMLINK, errno.EXDEV),  # too many names for one file, or another file system
    *(errno.ENOENT, errno.ENOTDIR),  # a file that no longer exists
}


class Staging:
    """The directory `root`, which becomes the tree described by `manifest`.

    `pages` is called for all file data. `keeps_modes` returns False if the file system does not store permission bits,
    which are then ignored; it is called only if bits differ from the expected ones. Only verified bytes are written,
    each at its final offset, so that two runs can work on the same directory safely.
    """

    def __init__(
        self,
        root: Path,
        manifest: Manifest,
        pages: PageCachePolicy | None = None,
        keeps_modes: Callable[[], bool | None] = lambda: True,
    ) -> None:
        self.root = root
        self.manifest = manifest
        self._pages = pages or NoPageCachePolicy()
        self._keeps_modes = keeps_modes
        self._root = str(root)
        self._descriptor = -1  # of the directory; kept open so that its inode number is not reused

    def exists(self) -> bool:
        """Return True if an earlier run left a usable tree. A tree with links in place of directories is not usable."""
        if not self.root.is_dir() or _has_directory_symlink(self._root):
            return False
        with volume_errors(self.root), suppress(FileNotFoundError):
            self._open_root()
        return True

    def allocated(self) -> tuple[int, int]:
        """Return the disk usage of the directory in bytes and inodes."""
        return disk_usage(self.root)

    def sound(self, wanted: Sequence[Placement]) -> list[Placement]:
        """Read these chunks from staging and return those that verify. Blocks; call it in a worker thread."""
        with volume_errors(self.root):
            found = chunk_io.sound(self._root, wanted)
            for placement in found:
                self._passed(placement)
            return found

    def prepare(self, missing: Sequence[Placement], copies: Sequence[Copy]) -> None:
        """Remove everything that is not in the manifest; create directories and empty files.

        Blocks; call it in a worker thread.
        """
        with volume_errors(self.root):
            if self.root.is_symlink():
                os.unlink(self.root)
            if self.root.exists():
                self._remove_unexpected(_files_to_write(missing, copies))
            self._make_root()
            self._make_directories()
            for file in self.manifest.files:
                if not file.chunks:
                    chunk_io.allocate(self._root, file)

    def allocate(self, missing: Sequence[Placement], copies: Sequence[Copy]) -> None:
        """Create files with their full size, so that a full disk is detected early; some chunks may already exist.

        A file of one chunk is created when the chunk is written, because that is only one step. Blocks; call it in a
        worker thread.
        """
        with volume_errors(self.root):
            grown = _files_to_write(missing, copies, least=2)
            for file in self.manifest.files:
                if file.path in grown:
                    chunk_io.allocate(self._root, file)

    def link(self, link: Link) -> bool:
        """Hard-link a file to an installed, verified one; return False if that is not possible."""
        with volume_errors(self.root):
            name = temp_path(self.root.parents[1], "link")
            try:
                os.link(f"{link.root}/{link.origin.path}", name, follow_symlinks=False)
            except OSError as error:
                if error.errno in _NO_LINK:
                    return False
                raise
            with removed_on_error(name):
                if not self._is_same(os.lstat(name), link.file):
                    os.unlink(name)  # its size or mode was changed: the chunks are copied instead
                    return False
                os.rename(name, f"{self._root}/{link.file.path}")
            return True

    def copy(self, copies: Sequence[Copy]) -> list[Placement]:
        """Copy chunks from their expected places; return those that do not verify.

        Blocks; call it in a worker thread.
        """
        wrong = []
        with volume_errors(self.root):
            for copy in copies:
                if chunk_io.copy(f"{copy.root}/{copy.path}", copy.start, self._root, copy.placement):
                    self._passed(copy.placement)
                else:
                    wrong.append(copy.placement)
        return wrong

    def write(self, batch: Batch, data: memoryview) -> list[WrongChunk]:
        """Verify and write the chunks of a batch from its bytes `data` of the archive; return the wrong ones.

        Blocks; call it in a worker thread.
        """
        wrong, small = [], 0
        with volume_errors(self.root):
            for placement in batch.placements:
                chunk = placement.chunk
                try:
                    plain = chunk_io.plain(_frame(data, batch, chunk), chunk)
                except chunk_io.WrongChunkError as error:
                    wrong.append(WrongChunk(placement, str(error)))
                else:
                    is_small = chunk.size < SMALL
                    chunk_io.write(self._root, placement, plain, None if is_small else self._pages.passed)
                    small += is_small * chunk.size
            self._pages.passed_small(self._root, small)
        return wrong

    def is_as_prepared(self) -> bool:
        """Return True if the directory is still the one that was inspected and prepared.

        A concurrent run may have removed it with all its content, and another run may have created it again.
        """
        try:
            return os.path.samestat(os.lstat(self._root), os.fstat(self._descriptor))
        except FileNotFoundError:
            return False

    def complete(self) -> None:
        """Finish writing: the tree is complete. Blocks; call it in a worker thread."""
        with volume_errors(self.root):
            self._pages.complete(self._root)

    def _passed(self, placement: Placement) -> None:
        self._pages.passed(f"{self._root}/{placement.file.path}", placement.start, placement.chunk.size)

    def _remove_unexpected(self, grown: Collection[str]) -> None:
        """Remove entries that are not part of the pack; fix the modes and excess sizes of the others.

        Afterwards no file to be written has a second hard link, which could be outside the volume.
        """
        files = {file.path: file for file in self.manifest.files}
        directories = set(self.manifest.all_directories())
        for directory, subdirectories, names in os.walk(self._root):
            inside = os.path.relpath(directory, self._root)
            prefix = "" if inside == "." else f"{inside}/"
            if not self._has_mode(os.lstat(directory), DIRECTORY_MODE):
                os.chmod(directory, DIRECTORY_MODE)
            for name in names:
                self._fix_file(f"{directory}/{name}", files.get(prefix + name), grows=prefix + name in grown)
            for name in list(subdirectories):
                if os.path.islink(f"{directory}/{name}"):
                    os.unlink(f"{directory}/{name}")
                elif prefix + name not in directories:
                    subdirectories.remove(name)
                    shutil.rmtree(f"{directory}/{name}")

    def _fix_file(self, path: str, file: File | None, *, grows: bool) -> None:
        status = os.lstat(path)
        if file is None or not stat.S_ISREG(status.st_mode):
            os.unlink(path)
            return
        has_mode, is_longer = self._has_mode(status, chunk_io.mode(file)), status.st_size > file.size
        if status.st_nlink > 1 and (grows or is_longer or not has_mode):
            name = temp_path(self.root.parents[1], "own")
            with removed_on_error(name):
                shutil.copyfile(path, name)
                os.rename(name, path)
            has_mode = False
        if not has_mode:
            os.chmod(path, chunk_io.mode(file))
        if is_longer:
            os.truncate(path, file.size)

    def _has_mode(self, status: os.stat_result, mode: int) -> bool:
        return chunk_io.permissions(status) == mode or self._keeps_modes() is False

    def _is_same(self, status: os.stat_result, file: File) -> bool:
        """Return True if an entry has the file's type, size and mode; its content is not read."""
        is_right_size = stat.S_ISREG(status.st_mode) and status.st_size == file.size
        return is_right_size and self._has_mode(status, chunk_io.mode(file))

    def _make_root(self) -> None:
        make_directory(self.root.parent)
        with suppress(FileExistsError):
            os.mkdir(self._root, DIRECTORY_MODE)
        if self._descriptor < 0:
            self._open_root()
        elif not self.is_as_prepared():
            raise VolumeError(f"{self.root} was removed by another run; run again")

    def _open_root(self) -> None:
        self._descriptor = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._descriptor)

    def _make_directories(self) -> None:
        for path in self.manifest.all_directories():
            with suppress(FileExistsError):
                os.mkdir(f"{self._root}/{path}", DIRECTORY_MODE)


def staging_progress(path: Path, ref: PackRef) -> tuple[int, int | None]:
    """Return the bytes in a staging directory, and the bytes of the complete pack, or None if they are unknown.

    For an opaque archive both are bytes of the archive. The bytes are not verified.
    """
    spool = spool_path_of(path)
    try:
        content = manifest.parse(manifest_path_of(path).read_bytes(), ref)
    except (OSError, ManifestError):
        return stored_bytes(path) + stored_bytes(spool), None
    if content.plain and not content.is_derived:
        return sum(os.path.getsize(part) for part in spool.glob("[0-9]*")), content.archive.size
    return stored_bytes(path), content.size


def _files_to_write(missing: Sequence[Placement], copies: Sequence[Copy], least: int = 1) -> set[str]:
    """Return the files with at least `least` chunks that have any chunk still to be written."""
    written = (*missing, *(copy.placement for copy in copies)) if copies else missing
    return {placement.file.path for placement in written if len(placement.file.chunks) >= least}


def _has_directory_symlink(root: str) -> bool:
    """Return True if the tree is or contains a link to a directory; removing the link would lose its target."""
    return os.path.islink(root) or any(
        os.path.islink(f"{directory}/{name}")
        for directory, subdirectories, _ in os.walk(root)
        for name in subdirectories
    )


def _frame(data: memoryview, batch: Batch, chunk: Chunk) -> memoryview:
    begin = chunk.offset - batch.start
    return data[begin : begin + chunk.length]
