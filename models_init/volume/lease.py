"""Take a reader's lease: a shared lock on `release.json` that pruning respects and that ends with the process.

Any program can take a lease itself, even on a volume that is mounted read-only: open `current/release.json` and call
`flock(LOCK_SH)`, or run under `flock -s /models/current/release.json PROGRAM`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from models_init.core.errors import UsageError
from models_init.volume.lock import lease

if TYPE_CHECKING:
    from typing import NoReturn

    from models_init.formats.release import Release
    from models_init.volume.layout import Volume


def exec_with_lease(volume: Volume, release: Release, program: tuple[str, ...]) -> NoReturn:
    """Take the lease and exec the program, which inherits it. Raises `NoSuchReleaseError`, `UsageError`."""
    os.set_inheritable(lease(volume.record_path(release.id)), True)
    try:
        os.execvp(program[0], program)  # noqa: S606 - no shell is the point
    except OSError as error:
        raise UsageError(f"{program[0]} cannot be run: {error.strerror}") from error
