"""Write the manifest of an existing opaque archive, and check that sites would accept the archive."""

from __future__ import annotations

import errno
import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from models_init.archive.scan import limits_of, scan
from models_init.archive.tar_reader import Limits
from models_init.core.digests import digest_text
from models_init.core.errors import ArchiveError, ModelsInitError, UsageError, WrongBytesError
from models_init.formats.manifest import MANIFEST_NAME, MIB, SCHEMA, Archive, Manifest, OpaqueArchive, encode
from models_init.publish.pack.drafts import draft, publish, sync, translate_os_errors
from models_init.publish.pack.name_warnings import name_warnings
from models_init.publish.pack.version_directory import VersionDirectory, new_directory

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
    """A pack that was described; `fresh` is False if the same manifest already existed.

    `warnings` concern names in the archive.
    """

    directory: Path
    manifest: Manifest
    fresh: bool
    warnings: tuple[str, ...]


def describe(
    file: Path, ref: PackRef, requires: Sequence[Requirement], out: Path, observer: Observer
) -> DescribeResult:
    """Write `<out>/<name>/<version>/` with the archive, as a hard link or else a copy, and its manifest.

    Raises `ArchiveError`: no site would accept the archive.
    Raises `UsageError`: the archive cannot be read, or the version already exists with other content.
    Raises `VolumeError` or a subclass: the disk is full or cannot be written.
    """
    archive, scanned, status = _scan_archive(file, observer)
    if scanned.fault:
        raise ArchiveError(
            f"{file} cannot be a pack: {scanned.fault}; create the archive again, or extract it and use `build`"
        )
    plain = OpaqueArchive(scanned.builder.size, scanned.builder.entries)
    manifest = Manifest(SCHEMA, *ref, archive, (), requires=tuple(requires), plain=plain)
    directory, document = VersionDirectory(out / ref.name / ref.version), encode(manifest)
    with new_directory(directory.path), draft(directory.manifest) as manifest_draft:
        fresh = not directory.has_manifest(document)
        _place_archive(file, directory.path / archive.file, archive, status)
        with translate_os_errors(directory.manifest):
            manifest_draft.write(document)
        sync(manifest_draft, directory.manifest)
        publish(directory.manifest)
    warnings = name_warnings(scanned.builder.paths(), remedy="create the archive without them, or use `build` with {}")
    return DescribeResult(directory.path, manifest, fresh, warnings)


def archive_faults(
    path: Path, archive: Archive, expected: OpaqueArchive, observer: Observer
) -> tuple[tuple[str, ...], type[ModelsInitError] | None]:
    """Return the differences between an opaque archive and its manifest, and their error class, or () and None."""
    try:
        with path.open("rb") as file:
            observed = _ObservedFile(file, observer)
            scanned = scan(observed, limits_of(archive, expected), expected)
    except OSError as error:
        return (f"the archive {path.name} cannot be read: {error.strerror}",), WrongBytesError
    if observed.size != archive.size:
        return (f"the archive has {observed.size} bytes, {archive.size} by the manifest",), WrongBytesError
    if scanned.digest != archive.digest:
        return ("the archive's SHA-256 differs",), WrongBytesError
    return ((f"the archive cannot be used: {scanned.fault}",), ArchiveError) if scanned.fault else ((), None)


def _scan_archive(path: Path, observer: Observer) -> tuple[Archive, ScanResult, os.stat_result]:
    """Read the archive; return also the status that its file had before."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            observer.expect(status.st_size)
            observed = _ObservedFile(file, observer)
            scanned = scan(observed, _UNLIMITED, OpaqueArchive())
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}; name a .tar, .tar.gz or .tar.zst file") from error
    try:
        return Archive(path.name, observed.size, scanned.digest), scanned, status
    except ValueError as error:
        raise UsageError(
            f"{path.name!r} cannot be the name of an archive; rename it: letters, digits, '.', '_', '-', not beginning "
            f"with {MANIFEST_NAME}"
        ) from error


def _place_archive(file: Path, target: Path, archive: Archive, before: os.stat_result) -> None:
    """Link or copy the archive into the version directory; an archive that already exists there must be the same.

    Raises `UsageError`: another archive exists there, or the file has changed since it had the status `before`.
    """
    if target.exists():
        if _digest(target) != archive.digest:
            raise UsageError(f"{target} is a different archive; remove it if it was never published")
        return
    try:
        os.link(os.path.realpath(file), target)
    except OSError as error:
        if error.errno not in _CANNOT_LINK:
            with translate_os_errors(target):
                raise
        _copy(file, target, archive)
        return
    now = target.stat()
    if (now.st_ino, now.st_size, now.st_mtime_ns) != (before.st_ino, before.st_size, before.st_mtime_ns):
        target.unlink()
        raise _changed(file)


def _copy(file: Path, target: Path, archive: Archive) -> None:
    digest = hashlib.sha256()
    with draft(target) as part:
        with translate_os_errors(target), file.open("rb") as origin:
            while data := origin.read(MIB):
                digest.update(data)
                part.write(data)
        if digest_text(digest) != archive.digest:
            raise _changed(file)
        sync(part, target)
        publish(target)


def _changed(file: Path) -> UsageError:
    return UsageError(f"{file} changed while it was read: describe it again when nothing writes to it")


def _digest(path: Path) -> str:
    with translate_os_errors(path), path.open("rb") as file:
        return digest_text(hashlib.file_digest(file, "sha256"))


class _ObservedFile:
    """A file that counts its bytes and reports them to an observer as they are read."""

    def __init__(self, file: BinaryIO, observer: Observer) -> None:
        self._file = file
        self._observer = observer
        self.size = 0

    def read(self, size: int, /) -> bytes:
        data = self._file.read(size)
        self.size += len(data)
        self._observer.advance(len(data))
        return data
