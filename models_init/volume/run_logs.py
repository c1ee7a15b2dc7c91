"""Keep the logs of the last runs on the volume: one file of JSON lines for each run, below `logs/`.

The log of a container is lost when the container is removed, but the volume is kept. The files are advisory only: no
program depends on them.
"""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

KEPT_RUNS = 5

SIZE_LIMIT = 1 << 20
"""Maximum size of one log in bytes."""

_SUFFIX = ".jsonl"
_AHEAD = timedelta(minutes=1)  # tolerated difference between the clocks of machines that share the volume


def create(root: Path) -> int:
    """Create the log of this run, remove all but the newest `KEPT_RUNS`, and return a descriptor.

    Raises `OSError`: the volume does not exist or cannot be written, or `logs` is not a directory.
    """
    with suppress(FileExistsError):
        os.mkdir(root / "logs", 0o755)
    directory = os.open(root / "logs", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        name = f"{_text(datetime.now(UTC))}-{os.getpid()}{_SUFFIX}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(name, flags, 0o644, dir_fd=directory)
        for old in _names(os.listdir(directory))[:-KEPT_RUNS]:
            with suppress(OSError):  # a concurrent run has already removed it
                os.unlink(old, dir_fd=directory)
        return descriptor
    finally:
        os.close(directory)


def recent(root: Path) -> list[Path]:
    """Return the logs of the last runs, oldest first, or none if there is no such directory."""
    directory = root / "logs"
    try:
        return [directory / name for name in _names(os.listdir(directory)) if not (directory / name).is_symlink()]
    except OSError:
        return []


def _names(found: list[str]) -> list[str]:
    """Return the names of logs, oldest first.

    Those with a time in the future count as the oldest: the clock has been set back since.
    """
    future = _text(datetime.now(UTC) + _AHEAD)
    return sorted((name for name in found if name.endswith(_SUFFIX)), key=lambda name: (name < future, name))


def _text(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%S.%fZ}"
