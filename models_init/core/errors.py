"""Exception classes for all expected failures, with their exit codes.

    ModelsInitError
    ├── UsageError              2   the command line or the environment            → operator
    ├── ManifestError          10   unreadable, or about another pack              → publisher
    │   ├── UnsupportedError   11   written for another version of this program    → operator upgrades
    │   ├── IncompatibleError  12   versions that do not work together             → operator
    │   ├── SignatureError     13   not signed by a trusted key                    → publisher
    │   └── ArchiveError       10   an opaque archive with invalid content         → publisher
    ├── SourceError            20   the source returned no usable response         → network
    │   ├── UnavailableError   20   the same, but a retry may succeed
    │   └── ArchivedError      21   the blob is in the archive tier                → publisher
    ├── NotFoundError          21   no such pack or version                        → operator
    │   └── HiddenError        22   no such repository, or hidden from this token  → operator
    ├── AccessError            22   the token gives no access to this container    → operator
    ├── LicenseError           23   a license file does not permit what was asked  → operator, vendor
    ├── WrongBytesError        30   bytes that do not match, again after a retry   → publisher
    └── VolumeError            40   the volume                                     → operator
        ├── NoSpaceError       41   full, in bytes or in inodes
        ├── LockedError        42   locked by another run
        ├── NotWritableError   43   not a directory, read-only, or another user's
        ├── NoSuchReleaseError 44   no installed release has this name
        ├── NotInstalledError  44   the packs that the environment names are not installed
        └── DamagedError       45   installed files differ from the published ones

`str(error)` is one line for the operator: what failed, why, what to do. It never contains a token.
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
    """The base class of expected failures, which are reported in one line, never by a traceback."""

    exit_code = EXIT_BUG

    def __init__(self, *faults: str) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults
        """One line per error; each is reported separately."""


class UsageError(ModelsInitError):
    """The command line or the environment is invalid; `faults` has one line per error."""

    exit_code = 2


class ManifestError(ModelsInitError):
    """A manifest cannot be read, contradicts itself, or describes another pack."""

    exit_code = 10


class UnsupportedError(ManifestError):
    """A manifest was written for another version of this program."""

    exit_code = 11


class IncompatibleError(ManifestError):
    """The environment names versions of packs that do not work together."""

    exit_code = 12


class SignatureError(ManifestError):
    """A manifest is not signed, not signed by a trusted key, or signed for another pack or version."""

    exit_code = 13


class ArchiveError(ManifestError):
    """An opaque archive matches its manifest but is not a pack.

    It cannot be read, or it contains entries other than regular files and directories.
    """


class SourceError(ModelsInitError):
    """The source returned an unusable response, and a retry would not help."""

    exit_code = 20


class UnavailableError(SourceError):
    """The source is unavailable; a retry may succeed.

    `retry_after` is the delay in seconds that the service asked for, or None; `overloaded` is True if the service
    reported that it is overloaded.
    """

    def __init__(self, message: str, *, retry_after: float | None = None, overloaded: bool = False) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.overloaded = overloaded


class ArchivedError(SourceError):
    """The object exists but cannot be read for hours, because it is in the archive tier of its storage account."""

    exit_code = 21


class NotFoundError(ModelsInitError):
    """The object does not exist in the source."""

    exit_code = 21


class HiddenError(NotFoundError):
    """The repository does not exist, or the registry hides it from a token that does not include it."""

    exit_code = 22


class AccessError(ModelsInitError):
    """The source denies access: the token is expired, not valid yet, for another scope, or lacks a permission.

    `new_token_helps` is False if a new token of the same kind would also be refused.
    """

    exit_code = 22

    def __init__(self, message: str, *, new_token_helps: bool = True) -> None:
        super().__init__(message)
        self.new_token_helps = new_token_helps


class LicenseError(ModelsInitError):
    """A license file is missing or unusable, has expired, or does not include what the environment names.

    `faults` has one line per error.
    """

    exit_code = 23


class WrongBytesError(ModelsInitError):
    """The source delivered bytes that do not match the manifest, and did so again after a retry."""

    exit_code = 30


class VolumeError(ModelsInitError):
    """The volume failed, and no subclass describes the failure better."""

    exit_code = 40


class NoSpaceError(VolumeError):
    """The volume has too little free space, in bytes or in inodes."""

    exit_code = 41


class LockedError(VolumeError):
    """Another run held the lock of the volume for longer than this run may wait."""

    exit_code = 42


class NotWritableError(VolumeError):
    """The volume does not exist, is not a directory, is read-only, or belongs to another user."""

    exit_code = 43


class NoSuchReleaseError(VolumeError):
    """The release is not installed on the volume."""

    exit_code = 44


class NotInstalledError(VolumeError):
    """The packs that the environment names are not installed on the volume."""

    exit_code = 44


class DamagedError(VolumeError):
    """Installed files differ from the published ones."""

    exit_code = 45


def first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the error of a group to report: the first unexpected error (a bug), else the first expected one."""
    leaves = list(_leaves(group))
    bugs = [leaf for leaf in leaves if not isinstance(leaf, ModelsInitError)]
    return (bugs or leaves)[0]


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
