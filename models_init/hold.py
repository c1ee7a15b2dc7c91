"""A reader's lease: a shared lock on `release.json`, which pruning respects and the kernel ends with the process.

Any program may take it by itself, even on a volume that is mounted read-only: open `current/release.json` and
`flock(LOCK_SH)` it, or run under `flock -s /models/current/release.json PROGRAM`.
"""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from models_init.errors import NoSuchReleaseError, UsageError

if TYPE_CHECKING:
    from typing import NoReturn

    from models_init.release import Release
    from models_init.volume import Volume


def become(volume: Volume, release: Release, program: tuple[str, ...]) -> NoReturn:
    """Take the lease and become the program, which inherits it. Raises `NoSuchReleaseError`, `UsageError`."""
    path = volume.release_path(release.id) / "release.json"
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise NoSuchReleaseError(f"{path} cannot be opened: {error.strerror}") from error
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    os.set_inheritable(descriptor, True)
    if not path.exists():  # pruned while this waited for the lock
        raise NoSuchReleaseError(f"release {release.id} was pruned just now; hold another one")
    try:
        os.execvp(program[0], program)  # noqa: S606 - no shell is the point
    except OSError as error:
        raise UsageError(f"{program[0]} cannot be run: {error.strerror}") from error
