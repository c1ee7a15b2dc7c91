"""Every fault that a user can meet, with its exit code.

    ModelsInitError
    ├── UsageError              2   the command line or the environment            → operator
    ├── ManifestError          10   unreadable, or about another pack              → publisher
    │   ├── UnsupportedError   11   written for another version of this program    → operator upgrades
    │   ├── IncompatibleError  12   versions that do not work together             → operator
    │   ├── SignatureError     13   not signed by a key that is trusted here       → publisher
    │   └── ArchiveError       10   a plain archive that breaks the rules          → publisher
    ├── SourceError            20   the source gave no usable answer               → network
    │   └── UnavailableError   20   … and may give one later: worth another try
    ├── NotFoundError          21   no such pack or version                        → operator
    ├── AccessError            22   the token does not open this container         → operator
    ├── WrongBytesError        30   bytes that do not match, again after a retry   → publisher
    └── VolumeError            40   the volume                                     → operator
        ├── NoSpaceError       41   full, in bytes or in inodes
        ├── LockedError        42   another run works on it
        ├── NotWritableError   43   not a folder, read-only, or another user's
        ├── NoSuchReleaseError 44   nothing of that name is installed
        └── DamagedError       45   what is installed is not what was published

`str(error)` is one line for the operator: what failed, why, what to do. It never holds a token.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

EXIT_OK = 0
EXIT_BUG = 1
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


class ModelsInitError(Exception):
    """The root: an expected fault, told in one line and never by a traceback."""

    exit_code = EXIT_BUG


class UsageError(ModelsInitError):
    """The command line or the environment is wrong; `faults` has a line for each fault."""

    exit_code = 2

    def __init__(self, *faults: str) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


class ManifestError(ModelsInitError):
    """A manifest cannot be read, contradicts itself, or is about another pack."""

    exit_code = 10


class UnsupportedError(ManifestError):
    """A manifest is written for another version of this program."""

    exit_code = 11


class IncompatibleError(ManifestError):
    """The environment names versions of packs that do not work together."""

    exit_code = 12


class SignatureError(ManifestError):
    """A manifest is not signed, or not by a key that is trusted here, or not as that of this pack and version."""

    exit_code = 13


class ArchiveError(ManifestError):
    """A plain archive is what its manifest says, and no pack: not to be read, or more than regular files in folders."""


class SourceError(ModelsInitError):
    """The source answered in a way that cannot be used, and will do so again."""

    exit_code = 20


class UnavailableError(SourceError):
    """The source gave no answer now and may give one later.

    `retry_after` is how long the service asked to be left alone, in seconds, if it did; `overloaded` is whether it
    said that it is asked too much.
    """

    def __init__(self, message: str, *, retry_after: float | None = None, overloaded: bool = False) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.overloaded = overloaded


class NotFoundError(ModelsInitError):
    """The source has no such object."""

    exit_code = 21


class AccessError(ModelsInitError):
    """The source refuses: the token is expired, not valid yet, of another scope, or lacks a permission."""

    exit_code = 22


class WrongBytesError(ModelsInitError):
    """The source delivered bytes that do not match the manifest, and did so again when asked anew."""

    exit_code = 30


class VolumeError(ModelsInitError):
    """The volume failed in a way that has no class of its own."""

    exit_code = 40


class NoSpaceError(VolumeError):
    """The volume has too little room, in bytes or in inodes."""

    exit_code = 41


class LockedError(VolumeError):
    """Another run worked on the volume for longer than this one was willing to wait."""

    exit_code = 42


class NotWritableError(VolumeError):
    """The volume is missing, is no folder, is read-only, or belongs to somebody else."""

    exit_code = 43


class NoSuchReleaseError(VolumeError):
    """The volume holds no such release."""

    exit_code = 44


class DamagedError(VolumeError):
    """What is installed is not what was published."""

    exit_code = 45


def first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one error of a group that is told: a bug before an expected fault, the earliest among equals."""
    leaves = list(_leaves(group))
    bugs = [leaf for leaf in leaves if not isinstance(leaf, ModelsInitError)]
    return (bugs or leaves)[0]


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
