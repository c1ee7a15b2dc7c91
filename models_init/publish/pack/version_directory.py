"""Find, read and create version directories (`<name>/<version>/`)."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from models_init.core.errors import ManifestError, SignatureError, UsageError
from models_init.core.pack_ref import PackRef
from models_init.core.units import human_size
from models_init.formats.manifest import MANIFEST_LIMIT, MANIFEST_NAME, SIGNATURE_NAME, Manifest, published
from models_init.formats.minisign import SIGNATURE_LIMIT
from models_init.fs.files import sync_path
from models_init.publish.pack.drafts import translate_os_errors

if TYPE_CHECKING:
    from collections.abc import Iterator

ARCHIVE_NAME = "pack.tar.zst"


@dataclass(frozen=True, slots=True)
class VersionDirectory:
    """The directory of one version of a pack; its path ends in the pack's name and version."""

    path: Path

    @property
    def manifest(self) -> Path:
        """The manifest's path; the file need not exist."""
        return self.path / MANIFEST_NAME

    @property
    def signature(self) -> Path:
        """The path of the manifest's signature; the file need not exist."""
        return self.path / SIGNATURE_NAME

    def ref(self) -> PackRef:
        """Return the pack's name and version from the path.

        Raises `ManifestError`: the path does not end in a valid name and version.
        """
        try:
            return PackRef.make(self.path.parent.name, self.path.name)
        except ValueError as error:
            raise ManifestError(f"{self.path} is not <name>/<version>: {error}; rename the directories") from error

    def document(self) -> bytes:
        """Return the manifest's bytes.

        Raises `ManifestError`: the manifest is missing, unreadable or too large.
        """
        try:
            if self.manifest.stat().st_size > MANIFEST_LIMIT:
                raise ManifestError(
                    f"{self.manifest} is larger than {human_size(MANIFEST_LIMIT)}: it is not a manifest; build it again"
                )
            return self.manifest.read_bytes()
        except OSError as error:
            raise ManifestError(f"{self.manifest} cannot be read: {error.strerror}; build the pack again") from error

    def signature_document(self) -> bytes | None:
        """Return the bytes of the signature, or None if there is none.

        Raises `SignatureError`: the file cannot be read or is too large.
        """
        try:
            with self.signature.open("rb") as file:
                data = file.read(SIGNATURE_LIMIT + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SignatureError(f"{self.signature} cannot be read: {error.strerror}; sign the pack again") from error
        if len(data) > SIGNATURE_LIMIT:
            raise SignatureError(f"{self.signature} is too large for a signature; sign the pack again with --force")
        return data

    def parsed(self) -> Manifest:
        """Read and parse the manifest.

        Raises `ManifestError` or a subclass: the manifest cannot be read or used.
        """
        return published(self.document(), self.ref()).manifest

    def has_manifest(self, document: bytes) -> bool:
        """Return True if the directory has exactly this manifest, False if it has none.

        Raises `UsageError`: the directory has a different manifest.
        """
        if not self.manifest.exists():
            return False
        if self.document() != document:
            raise UsageError(
                f"{self.path} contains a different pack with the same name and version, and a version never changes: "
                "choose another --version, or remove that directory if it was never published"
            )
        return True


def find(directory: Path) -> list[VersionDirectory]:
    """List the version directories in a tree, which may be the directory itself.

    Raises `UsageError`: there are none.
    """
    top = Path(os.path.realpath(directory))  # `resolve` raises RuntimeError for a loop of links
    if not top.is_dir():
        raise UsageError(f"{directory} is not a directory: name one that `models-pack build` wrote")
    found = [
        VersionDirectory(path)
        for path in sorted({file.parent for name in (MANIFEST_NAME, ARCHIVE_NAME) for file in top.rglob(name)})
    ]
    if not found:
        raise UsageError(f"{directory} contains no {MANIFEST_NAME}: name a directory that `models-pack build` wrote")
    return found


@contextmanager
def new_directory(directory: Path) -> Iterator[None]:
    """Create a directory and its parents; if the block fails, remove those that were created and are empty."""
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    with translate_os_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        for path in missing:
            with suppress(OSError):
                path.rmdir()
        raise
    with translate_os_errors(directory):
        for path in missing:
            sync_path(path.parent)
