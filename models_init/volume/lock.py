"""Who works on the volume: saves bandwidth; correctness never rests on it, for some file systems grant it to all."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from models_init.core.errors import NoSuchReleaseError
from models_init.fs.os_errors import volume_errors

if TYPE_CHECKING:
    from pathlib import Path

_NOTE_LIMIT = 500  # bytes of a holder's note that are shown


def flock(descriptor: int, operation: int) -> bool:
    """Lock an open file; False where another holds it. A file system that has no locks grants them all. `OSError`."""
    try:
        fcntl.flock(descriptor, operation)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in {errno.ENOSYS, errno.EOPNOTSUPP}:
            raise
    return True


def lease(record: Path) -> int:
    """Share the lock on a release's record, waiting for a prune that is about to remove the release.

    Returns a descriptor, which the lease lasts as long as. Raises `NoSuchReleaseError`.
    """
    try:
        descriptor = os.open(record, os.O_RDONLY | os.O_CLOEXEC)
        flock(descriptor, fcntl.LOCK_SH)
        if os.path.samestat(os.fstat(descriptor), record.stat()):
            return descriptor
    except FileNotFoundError:
        pass
    except OSError as error:
        raise NoSuchReleaseError(f"{record} cannot be opened and locked: {error.strerror}") from error
    raise NoSuchReleaseError(f"release {record.parent.name} was pruned just now; choose another one")


def locking_works(path: Path) -> bool:
    """Tell whether the file system refuses a second lock on a file, made here; some grant it to all. `OSError`."""
    descriptors = [os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600) for _ in range(2)]
    try:
        return [flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB) for descriptor in descriptors] == [True, False]
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def is_exclusive(path: Path) -> bool:
    """Tell whether the lock on `path`, which this run holds, keeps others out: where locks lie, it is granted again."""
    with volume_errors(path):
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            return not flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(descriptor)


class Lock:
    """The file `path`, locked by the process that works, with a note in it that says which.

    The kernel lets it go with the process, however that ends.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def take(self, doing: str) -> bool:
        """Lock it, without waiting; False where another holds it. Raises `VolumeError`."""
        with volume_errors(self._path):
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
            if not flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB):
                os.close(descriptor)
                return False
            self._descriptor = descriptor
            note = (
                f"{doing} by process {os.getpid()} on {socket.gethostname()} since {datetime.now(UTC):%H:%M:%S} UTC\n"
            )
            with suppress(OSError):  # on a full disk the lock is worth more than the note
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, note.encode(), 0)
            return True

    def is_held(self) -> bool:
        """Tell whether another has it now; nothing is made, and who looks for it this very moment looks again."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            return not flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        finally:
            os.close(descriptor)

    def holder(self) -> str:
        """What the holder wrote about itself, for people."""
        with suppress(OSError):
            note = self._path.read_bytes()[:_NOTE_LIMIT].decode("utf-8", "replace").strip()
            if note.isprintable() and note:
                return note
        return "another run"

    def release(self) -> None:
        """Let it go."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
