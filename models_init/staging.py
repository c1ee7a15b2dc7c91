"""One pack on its way in: a folder whose content is its only record."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models_init import chunks
from models_init.faults import volume_faults
from models_init.files import aside, disk_usage

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from models_init.manifest import Chunk, File, Manifest, Placement
    from models_init.plan import Batch
    from models_init.reuse import Copy, Link

_DIRECTORY_MODE = 0o755

_NO_LINK = {
    *(errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL),  # a file system without hard links
    *(errno.EMLINK, errno.EXDEV),  # too many names for one file, or another file system
    *(errno.ENOENT, errno.ENOTDIR),  # a file that is there no more
}


@dataclass(frozen=True, slots=True)
class WrongChunk:
    """A chunk that did not verify, and why; nothing of it was written."""

    placement: Placement
    reason: str


class Staging:
    """The folder `root`, which is to become the tree that `manifest` describes.

    Only verified bytes are ever written, each at its place: two runs may work on one folder and cannot harm each other.
    """

    def __init__(self, root: Path, manifest: Manifest) -> None:
        self.root = root
        self.manifest = manifest
        self._root = str(root)

    def exists(self) -> bool:
        """Tell whether an earlier run left something to take up."""
        return self.root.is_dir()

    def allocated(self) -> tuple[int, int]:
        """How much the folder takes on the disk already, in bytes and in inodes."""
        return disk_usage(self.root)

    def sound(self, wanted: Sequence[Placement]) -> list[Placement]:
        """Read what lies there of these chunks and return those that are right. Blocks: for worker threads."""
        with volume_faults(self.root):
            return chunks.sound(self._root, wanted)

    def prepare(self, missing: Sequence[Placement], copies: Sequence[Copy]) -> None:
        """Take out what the manifest does not name, make the folders, and give files their full size.

        A file of one chunk is made when its chunk comes: writing it is one step anyway.
        """
        grown = {placement.file.path for placement in missing} | {copy.placement.file.path for copy in copies}
        with volume_faults(self.root):
            self._take_out_strays()
            self._make_folders()
            for file in self.manifest.files:
                if not file.chunks or (len(file.chunks) > 1 and file.path in grown):
                    chunks.allocate(self._root, file)

    def link(self, link: Link) -> bool:
        """Make a file the same as one that is installed and was verified; False where that cannot be."""
        with volume_faults(self.root):
            name = aside(self.root.parents[1], "link")
            try:
                os.link(f"{link.root}/{link.origin.path}", name, follow_symlinks=False)
            except OSError as error:
                if error.errno in _NO_LINK:
                    return False
                raise
            if not chunks.is_same(os.lstat(name), link.file):  # somebody changed its size or mode: a copy is right
                os.unlink(name)
                return False
            os.rename(name, f"{self._root}/{link.file.path}")
            return True

    def copy(self, copies: Sequence[Copy]) -> list[Placement]:
        """Copy chunks from where they ought to lie; return those that were not there. Blocks: for worker threads."""
        with volume_faults(self.root):
            return [
                copy.placement
                for copy in copies
                if not chunks.copy(f"{copy.root}/{copy.path}", copy.start, self._root, copy.placement)
            ]

    def write(self, batch: Batch, data: memoryview) -> list[WrongChunk]:
        """Verify and write the chunks of a batch, whose bytes of the archive are `data`; return the wrong ones.

        Blocks: for worker threads.
        """
        wrong = []
        for placement in batch.placements:
            chunk = placement.chunk
            try:
                plain = chunks.plain(_frame(data, batch, chunk), chunk)
            except chunks.WrongChunkError as error:
                wrong.append(WrongChunk(placement, str(error)))
                continue
            with volume_faults(self.root):
                chunks.write(self._root, placement, plain)
        return wrong

    def _take_out_strays(self) -> None:
        """Remove what is not part of the pack; what is gets its mode, and no more than its size."""
        files = {file.path: file for file in self.manifest.files}
        folders = set(self.manifest.folders())
        for folder, subfolders, names in os.walk(self._root):
            inside = os.path.relpath(folder, self._root)
            prefix = "" if inside == "." else f"{inside}/"
            if chunks.permissions(os.lstat(folder)) != _DIRECTORY_MODE:
                os.chmod(folder, _DIRECTORY_MODE)
            for name in names:
                _settle(f"{folder}/{name}", files.get(prefix + name))
            for name in list(subfolders):
                if os.path.islink(f"{folder}/{name}"):
                    os.unlink(f"{folder}/{name}")
                elif prefix + name not in folders:
                    subfolders.remove(name)
                    shutil.rmtree(f"{folder}/{name}")

    def _make_folders(self) -> None:
        self.root.parent.mkdir(mode=_DIRECTORY_MODE, exist_ok=True)
        for folder in (self._root, *(f"{self._root}/{path}" for path in self.manifest.folders())):
            with suppress(FileExistsError):
                os.mkdir(folder, _DIRECTORY_MODE)


def _settle(path: str, file: File | None) -> None:
    status = os.lstat(path)
    if file is None or not stat.S_ISREG(status.st_mode):
        os.unlink(path)
        return
    if chunks.permissions(status) != chunks.mode(file):
        os.chmod(path, chunks.mode(file))
    if status.st_size > file.size:
        os.truncate(path, file.size)


def _frame(data: memoryview, batch: Batch, chunk: Chunk) -> memoryview:
    begin = chunk.offset - batch.start
    return data[begin : begin + chunk.length]
