"""Write the manifest of an existing opaque archive, and check that sites would accept the archive."""

from __future__ import annotations

import errno
import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from models_init.archive.scan import limits_of, scan
from models_init.archive.tar_reader import Limits
from models_init.core.errors import ArchiveError, ModelsInitError, UsageError, WrongBytesError
from models_init.formats.manifest import MANIFEST_NAME, MIB, SCHEMA, Archive, Manifest, OpaqueArchive, encode
from models_init.publish.pack.version_directory import (
    VersionDirectory,
    draft,
    new_directory,
    publish,
    sync,
    translate_os_errors,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from models_init.archive.scan import ScanResult
    from models_init.core.events import Observer
    from models_init.core.pack_ref import PackRef
    from models_init.formats.manifest import Requirement

_UNLIMITED = Limits(2**53 - 1)
"""The publisher's own archive may expand to any size; its manifest will state that size."""

_CANNOT_LINK = {errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS}


@dataclass(frozen=True, slots=True)
class DescribeResult:
    """A pack that was described; `fresh` is False if the same manifest already existed."""

    directory: Path
    manifest: Manifest
    fresh: bool


def describe(
    file: Path, ref: PackRef, requires: Sequence[Requirement], out: Path, observer: Observer
) -> DescribeResult:
    """Write `<out>/<name>/<version>/` with the archive, as a hard link or else a copy, and its manifest.

    Raises `ArchiveError`: no site would accept the archive.
    Raises `UsageError`: the archive cannot be read, or the version already exists with other content.
    Raises `VolumeError` or a subclass: the disk is full or cannot be written.
    """
    archive, outcome = _studied(file, observer)
    if outcome.fault:
        raise ArchiveError(f"{file} cannot be a pack: {outcome.fault}; pack it anew, or unpack it and use `build`")
    plain = OpaqueArchive(outcome.builder.size, outcome.builder.entries)
    manifest = Manifest(SCHEMA, *ref, archive, (), requires=tuple(requires), plain=plain)
    directory, document = VersionDirectory(out / ref.name / ref.version), encode(manifest)
    with new_directory(directory.path), draft(directory.manifest) as text:
        fresh = not directory.stands(document)
        _place_archive(file, directory.path / archive.file, archive)
        with translate_os_errors(directory.manifest):
            text.write(document)
        sync(text, directory.manifest)
        publish(directory.manifest)
    return DescribeResult(directory.path, manifest, fresh)


def archive_faults(
    path: Path, archive: Archive, promised: OpaqueArchive, observer: Observer
) -> tuple[tuple[str, ...], type[ModelsInitError] | None]:
    """Return the differences between an opaque archive and its manifest, and their error class, or () and None."""
    try:
        with path.open("rb") as file:
            watched = _ObservedFile(file, observer)
            outcome = scan(watched, limits_of(archive, promised), promised)
    except OSError as error:
        return (f"the archive {path.name} cannot be read: {error.strerror}",), WrongBytesError
    if watched.size != archive.size:
        return (f"the archive has {watched.size} bytes, {archive.size} by the manifest",), WrongBytesError
    if outcome.digest != archive.digest:
        return ("the archive's SHA-256 differs",), WrongBytesError
    return ((f"the archive cannot be used: {outcome.fault}",), ArchiveError) if outcome.fault else ((), None)


def _studied(path: Path, observer: Observer) -> tuple[Archive, ScanResult]:
    try:
        with path.open("rb") as file:
            watched = _ObservedFile(file, observer)
            outcome = scan(watched, _UNLIMITED, OpaqueArchive())
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}; name an archive") from error
    try:
        return Archive(path.name, watched.size, outcome.digest), outcome
    except ValueError as error:
        raise UsageError(
            f"{path.name!r} is not a name for an archive; give it one of letters, digits, '.', '_', '-' that does not "
            f"begin with {MANIFEST_NAME}"
        ) from error


def _place_archive(file: Path, place_to: Path, archive: Archive) -> None:
    """Link or copy the archive into the version directory; an archive that already exists there must be the same."""
    if place_to.exists():
        if _digest(place_to) != archive.digest:
            raise UsageError(f"{place_to} is another archive; remove it if it was never published")
        return
    try:
        os.link(file.resolve(), place_to)
    except OSError as error:
        if error.errno not in _CANNOT_LINK:
            with translate_os_errors(place_to):
                raise
        _copy(file, place_to, archive)


def _copy(file: Path, place_to: Path, archive: Archive) -> None:
    digest = hashlib.sha256()
    with draft(place_to) as part:
        with translate_os_errors(place_to), file.open("rb") as origin:
            while data := origin.read(MIB):
                digest.update(data)
                part.write(data)
        if f"sha256:{digest.hexdigest()}" != archive.digest:
            raise UsageError(f"{file} changed while it was read: describe it again when nobody writes to it")
        sync(part, place_to)
        publish(place_to)


def _digest(path: Path) -> str:
    with translate_os_errors(path), path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


class _ObservedFile:
    """A file that counts its bytes and reports them to an observer as they are read."""

    def __init__(self, file: BinaryIO, observer: Observer) -> None:
        self._file = file
        self._observer = observer
        self.size = 0
        observer.expect(os.fstat(file.fileno()).st_size)

    def read(self, size: int, /) -> bytes:
        data = self._file.read(size)
        self.size += len(data)
        self._observer.advance(len(data))
        return data
