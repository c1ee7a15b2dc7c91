"""Lock the volume and its releases.

Locks only save bandwidth. Correctness does not depend on them, because some file systems grant a lock to every process.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from models_init.core.errors import NoSuchReleaseError
from models_init.fs.os_errors import volume_errors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_NOTE_LIMIT = 500  # bytes of a holder's note that are read


def flock(descriptor: int, operation: int) -> bool:
    """Lock an open file; return False if another process holds the lock.

    Returns True on a file system without locks. Raises `OSError`.
    """
    try:
        fcntl.flock(descriptor, operation)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in {errno.ENOSYS, errno.EOPNOTSUPP}:
            raise
    return True


def flock_if_possible(descriptor: int, operation: int) -> bool:
    """Lock as `flock` does; also return True if the lock server of a network file system does not answer (ENOLCK).

    Do not use it to test for leases: they are locks of other processes, which may exist on that server. Raises
    `OSError`.
    """
    try:
        return flock(descriptor, operation)
    except OSError as error:
        if error.errno != errno.ENOLCK:
            raise
        return True


def lease(record: Path, subject: str, lock: Callable[[int, int], bool] = flock) -> int:
    """Take a shared lock on the record of a release, or on the manifest of an installed pack.

    Waits for a prune that is about to remove the subject. With `flock_if_possible` as `lock`, the lease does not exist
    while the lock server does not answer. Returns a descriptor; the lease ends when it is closed. Raises
    `NoSuchReleaseError`: the file is missing or cannot be locked.
    """
    try:
        with ExitStack() as stack:
            descriptor = os.open(record, os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, descriptor)
            lock(descriptor, fcntl.LOCK_SH)
            if os.path.samestat(os.fstat(descriptor), record.stat()):
                stack.pop_all()
                return descriptor
    except FileNotFoundError:
        pass
    except OSError as error:
        raise NoSuchReleaseError(f"{record} cannot be opened and locked: {error.strerror}") from error
    raise NoSuchReleaseError(f"{subject} was pruned just now; install it again, or choose another one")


def locking_works(path: Path) -> bool:
    """Return True if the file system refuses a second lock on the file `path`, which is created.

    Some file systems grant every lock. Raises `OSError`.
    """
    descriptors = [os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600) for _ in range(2)]
    try:
        return [flock_if_possible(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB) for descriptor in descriptors] == [
            True,
            False,
        ]
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def is_exclusive(path: Path) -> bool:
    """Return True if the lock on `path`, held by this run, excludes others.

    On a file system without working locks a second lock is granted.
    """
    with volume_errors(path):
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            return not flock_if_possible(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(descriptor)


class Lock:
    """A lock on the file `path`, which contains a note about its holder.

    The kernel releases the lock when the process ends, even if it is killed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def take(self, doing: str) -> bool:
        """Take the lock without waiting; return False if another process holds it. Raises `VolumeError`."""
        with volume_errors(self._path):
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
            if not flock_if_possible(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB):
                os.close(descriptor)
                return False
            self._descriptor = descriptor
            note = (
                f"{doing} by process {os.getpid()} on {socket.gethostname()} since {datetime.now(UTC):%H:%M:%S} UTC\n"
            )
            with suppress(OSError):  # on a full disk the lock works without the note
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, note.encode(), 0)
            return True

    def is_held(self) -> bool:
        """Return True if another process holds the lock.

        Never creates the file. A concurrent `take` may fail because of this check and must then be repeated.
        """
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            return not flock_if_possible(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        finally:
            os.close(descriptor)

    def holder(self) -> str:
        """Return the holder's note, for messages."""
        with suppress(OSError):
            note = self._path.read_bytes()[:_NOTE_LIMIT].decode("utf-8", "replace").strip()
            if note.isprintable() and note:
                return note
        return "another run"

    def release(self) -> None:
        """Release the lock."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
