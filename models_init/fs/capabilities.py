"""Test which operations a file system supports, by means of temporary files in one of its directories."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from models_init.core.errors import NotWritableError
from models_init.fs.files import make_link, removed_on_error, sync_path, temp_path, write_file

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

_REFUSED = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS}
NO_HARD_LINKS = _REFUSED | {errno.EACCES, errno.EINVAL}
"""Errors of a file system without hard links, or of a profile that forbids them (AppArmor: EACCES)."""

_FULL = {errno.ENOSPC, errno.EDQUOT}


class NameRules(NamedTuple):
    """Properties of a file system: it ignores case, it ignores the Unicode normal form, it keeps names as created."""

    ignores_case: bool
    ignores_form: bool
    keeps_names: bool


def require_symbolic_links(directory: Path, volume: Path) -> None:
    """Check that the file system of `directory` supports symbolic links, on which activation is based.

    Some network and USB file systems do not. `volume` is the path to name in the message.
    Raises `NotWritableError`: symbolic links are not supported. Raises `OSError`: the test failed for another reason.
    """
    link = temp_path(directory, "probe")
    if not _is_supported(lambda: make_link("target", link)):
        raise NotWritableError(
            f"{volume} refuses symbolic links, as SMB, exFAT and some FUSE mounts do; use a local file "
            "system or NFS for MODELS_DIR"
        )
    link.unlink(missing_ok=True)


def has_hard_links(directory: Path) -> bool:
    """Return True if the file system supports hard links, or is too full to test it. Raises `OSError`."""
    file, other = temp_path(directory, "probe"), temp_path(directory, "probe")
    try:
        _is_supported(lambda: _create(file))
        return not file.exists() or _is_supported(lambda: os.link(file, other), NO_HARD_LINKS)
    finally:
        file.unlink(missing_ok=True)
        other.unlink(missing_ok=True)


def keeps_modes(directory: Path) -> bool:
    """Return True if the file system stores the permission bits of files.

    SMB, blobfuse, exFAT and NTFS are usually mounted with the same bits for all files. Raises `OSError`.
    """
    with _temporary_file(directory) as file:
        return all(_keeps_mode(file, mode) for mode in (0o755, 0o644))


def _keeps_mode(file: Path, mode: int) -> bool:
    if not _is_supported(lambda: file.chmod(mode)):
        return False
    return stat.S_IMODE(file.stat().st_mode) == mode


def can_create_files(directory: Path) -> bool:
    """Return False if the file system has no inode left, otherwise True, even if the directory is not writable."""
    try:
        with _temporary_file(directory):
            return True
    except OSError as error:
        return error.errno not in _FULL


def name_rules(directory: Path) -> NameRules:
    """Return how the file system treats names that differ only in case or Unicode normal form. Raises `OSError`."""
    probes = temp_path(directory, "probe")
    probes.mkdir()
    try:
        ignores_case = _is_same_name(probes / "Case", probes / "cASE")
        ignores_form = _is_same_name(probes / "\u00e9", probes / "e\u0301")
        return NameRules(ignores_case, ignores_form, {*os.listdir(probes)} <= {"Case", "\u00e9"})
    finally:
        for file in probes.iterdir():
            file.unlink()
        probes.rmdir()


def _is_same_name(name: Path, other: Path) -> bool:
    with suppress(OSError):  # a file system that refuses the name does not confuse it with another
        _create(name)
        return other.exists()
    return False


def change(directory: Path) -> None:
    """Create, sync, rename and replace files, as an install does. Raises `OSError` if a step fails."""
    one, other = temp_path(directory, "probe"), temp_path(directory, "probe")
    with removed_on_error(one), removed_on_error(other):
        write_file(one, b"a file\n")
        write_file(other, b"another\n")
        os.rename(one, other)
        sync_path(directory)
        other.unlink()


def _create(file: Path) -> None:
    os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


@contextmanager
def _temporary_file(directory: Path) -> Iterator[Path]:
    file = temp_path(directory, "probe")
    _create(file)
    try:
        yield file
    finally:
        file.unlink(missing_ok=True)


def _is_supported(step: Callable[[], object], refused: Collection[int] = _REFUSED) -> bool:
    """Return True if the file system supports the operation; a full file system counts as supporting it.

    `refused` are the errors of one that does not. Raises `OSError`: the operation failed for another reason.
    """
    try:
        step()
    except OSError as error:
        if error.errno not in {*refused, *_FULL}:
            raise
        return error.errno in _FULL
    return True
