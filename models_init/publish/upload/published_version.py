"""The result of publishing a version, and the check of its archive, for every kind of destination."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from models_init.core.errors import WrongBytesError

if TYPE_CHECKING:
    from pathlib import Path

    from models_init.core.pack_ref import PackRef
    from models_init.formats.manifest import Archive


@dataclass(frozen=True, slots=True)
class UploadResult:
    """A published version: `sent` bytes of the archive were uploaded, `found` bytes were already there.

    `fresh` is False if the version was already published.
    """

    ref: PackRef
    url: str
    fresh: bool
    sent: int
    found: int


def check_size(path: Path, archive: Archive) -> None:
    """Raise `WrongBytesError` if the file of the archive is missing or its size differs from the manifest."""
    try:
        if path.stat().st_size != archive.size:
            raise wrong_archive(str(path))
    except OSError as error:
        raise unreadable_archive(str(path), error) from error


def unreadable_archive(path: str, error: OSError) -> WrongBytesError:
    """Return the exception for an archive that cannot be read."""
    return WrongBytesError(f"{path} cannot be read: {error.strerror}; build the pack again")


def wrong_archive(path: str) -> WrongBytesError:
    """Return the exception for an archive that does not match its manifest."""
    return WrongBytesError(
        f"{path} is not the archive that its manifest describes: run `models-pack check`, or build the pack again"
    )
