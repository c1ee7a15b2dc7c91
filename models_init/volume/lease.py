"""Take a reader's lease: a shared lock on a file that pruning respects and that ends with the process.

A lease on a release locks its `release.json`, a lease on packs locks their manifests. Any program can take a lease
itself, even on a volume that is mounted read-only: open the file and call `flock(LOCK_SH)`, or run under
`flock -s /models/current/release.json PROGRAM`.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from models_init.core.errors import NotInstalledError, UsageError
from models_init.runtime.signals import restore_ignored_signals
from models_init.volume.lock import flock_if_possible, lease

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path
    from typing import NoReturn

    from models_init.core.pack_ref import PackRef
    from models_init.formats.release import Release
    from models_init.volume.layout import Volume


@contextmanager
def leased_release(volume: Volume, release: Release) -> Iterator[list[int]]:
    """Hold a lease on a release; yield the locked descriptors. Raises `NoSuchReleaseError`."""
    with _leased({volume.record_path(release.id): f"release {release.id}"}) as descriptors:
        yield descriptors


@contextmanager
def reading(volume: Volume, release: Release) -> Iterator[None]:
    """Hold a lease on a release, possibly damaged, while this program reads it.

    In two cases no lease is taken, and none is needed, because a prune then removes nothing: the record of the current
    release is missing, or the lock server does not answer.

    Raises `NoSuchReleaseError`: a prune has removed the release meanwhile.
    """
    with ExitStack() as stack:
        if volume.record(release.id) or volume.current_name() != release.id:
            record = volume.record_path(release.id)
            stack.callback(os.close, lease(record, f"release {release.id}", flock_if_possible))
        yield


@contextmanager
def leased_packs(volume: Volume, packs: Sequence[PackRef]) -> Iterator[list[int]]:
    """Hold a lease on each of these packs; yield the locked descriptors.

    Raises `NotInstalledError`: a pack is not installed. Raises `NoSuchReleaseError`: it cannot be locked.
    """
    _require_installed(volume, packs)
    with _leased({volume.manifest_path(ref): str(ref) for ref in packs}) as descriptors:
        _require_installed(volume, packs)  # a prune that was killed may have left only the manifest
        yield descriptors


def exec_with_lease(descriptors: Sequence[int], program: tuple[str, ...]) -> NoReturn:
    """Exec the program, which inherits the lease. Raises `UsageError`."""
    for descriptor in descriptors:
        os.set_inheritable(descriptor, True)
    restore_ignored_signals()
    try:
        os.execvp(program[0], program)  # noqa: S606 - no shell is the point
    except OSError as error:
        raise UsageError(f"{program[0]} cannot be run: {error.strerror}") from error


@contextmanager
def _leased(subjects: dict[Path, str]) -> Iterator[list[int]]:
    """Lock each file of `subjects`, which maps files to descriptions for messages."""
    with ExitStack() as stack:
        descriptors = []
        for path, subject in subjects.items():
            descriptors.append(lease(path, subject))
            stack.callback(os.close, descriptors[-1])
        yield descriptors


def _require_installed(volume: Volume, packs: Sequence[PackRef]) -> None:
    if missing := volume.missing(packs):
        raise NotInstalledError(
            f"{volume.root} lacks {', '.join(map(str, missing))}: no lease is possible on packs that are not "
            "installed; install them with the same settings first (models-init, or models-init --stage)"
        )
