"""Change the volume by single renames, so that no public name is ever incomplete."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from models_init.core.errors import NotWritableError
from models_init.fs.files import (
    exchange,
    make_link,
    removed_on_error,
    rename_directory,
    sync_path,
    temp_path,
    write_file,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PARTS = ("packs", "manifests", "releases", "staging")
"""The directories of a volume."""

_DONE_ALREADY = {errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST}


class AtomicChanges:
    """Changes below the directory `root`, prepared in `staging`. All methods raise `OSError`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.staging = root / "staging"

    def replace(self, path: Path, content: bytes) -> None:
        """Replace a small file atomically and durably. Raises `OSError`."""
        name = temp_path(self.staging, "file")
        with removed_on_error(name):
            write_file(name, content)
            remove_placeholder(path)
            os.rename(name, path)
        sync_path(path.parent)

    def replace_link(self, path: Path, target: str) -> None:
        """Make `path` a symbolic link to `target` by one rename.

        A directory at `path` is exchanged with the link and then removed. If the file system cannot exchange two names,
        this takes two renames. Raises `NotWritableError` for a directory from a lower layer of overlayfs.
        """
        link = temp_path(self.staging, "link")
        with removed_on_error(link):
            make_link(target, link)
            if not is_directory(path):
                os.rename(link, path)
            elif exchange(link, path):
                remove_tree(link)
            else:
                directory = self._move_directory_to_trash(path)
                os.rename(link, path)
                remove_tree(directory)
        sync_path(path.parent)

    def remove_atomically(self, path: Path) -> None:
        """Rename a file or tree into staging, then remove it; no public name is ever half-removed.

        A directory that cannot be renamed because it comes from a lower layer of overlayfs is removed in place. The
        caller must ensure that it no longer counts as complete. A missing path is not an error. Raises `OSError`.
        """
        try:
            trash = self._move_to_trash(path)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            trash = path
        sync_path(path.parent)
        remove_tree(trash)
        self.remove_empty_directory(path.parent)

    def _move_directory_to_trash(self, path: Path) -> Path:
        try:
            return self._move_to_trash(path)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            raise NotWritableError(
                f"{path} is a directory of a lower layer of overlayfs in the place of a link, and cannot be renamed; "
                f"remove it with `rm -r {path}`, then run again"
            ) from error

    def _move_to_trash(self, path: Path) -> Path:
        trash = temp_path(self.staging, "trash")
        os.rename(path, trash)
        return trash

    def remove_empty_directory(self, directory: Path) -> None:
        """Remove the directory of a pack's name once it contains no version."""
        if directory.parent.name in PARTS:
            with suppress(OSError):  # another version is there
                directory.rmdir()

    def _rename(self, old: Path, new: Path) -> None:
        """Rename a file, unless a concurrent run has already done so."""
        remove_placeholder(new)
        with _unless_done_already():
            os.rename(old, new)
        sync_path(new.parent)

    def _rename_directory(self, old: Path, new: Path) -> None:
        """Rename a directory, unless a concurrent run has already done so."""
        with _unless_done_already():
            rename_directory(old, new, temp_path(self.staging, "copy"))
        sync_path(new.parent)


@contextmanager
def _unless_done_already() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _DONE_ALREADY:
            raise


def remove_placeholder(path: Path) -> None:
    """Remove an empty directory in the place of a file, as Docker creates it for a bind mount of a missing file.

    Anything else stays.
    """
    with suppress(OSError):
        path.rmdir()


def is_directory(path: Path) -> bool:
    """Return True if the path is a directory and not a symbolic link to one."""
    return path.is_dir() and not path.is_symlink()


def remove_tree(path: Path) -> None:
    """Remove a file, a link or a tree. Raises `OSError`.

    NFS and FUSE keep a file that a program has open under a hidden name, so that its directory cannot be removed. The
    rest of such a tree is left for a later prune.
    """
    if not is_directory(path):
        path.unlink(missing_ok=True)
        return
    try:
        shutil.rmtree(path)
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EBUSY}:
            raise
