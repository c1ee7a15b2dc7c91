"""Who works on the volume: saves bandwidth; correctness never rests on it, for some file systems grant it to all."""

from __future__ import annotations

import fcntl
import os
import socket
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from models_init.faults import volume_faults

if TYPE_CHECKING:
    from pathlib import Path

_NOTE_LIMIT = 500  # bytes of a holder's note that are shown


class Lock:
    """The file `path`, locked by the process that works, with a note in it that says which.

    The kernel lets it go with the process, however that ends.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = -1

    def take(self, doing: str) -> bool:
        """Lock it, without waiting; False where another holds it. Raises `VolumeError`."""
        with volume_faults(self._path):
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                return False
            self._descriptor = descriptor
            note = (
                f"{doing} by process {os.getpid()} on {socket.gethostname()} since {datetime.now(UTC):%H:%M:%S} UTC\n"
            )
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, note.encode(), 0)
            return True

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
