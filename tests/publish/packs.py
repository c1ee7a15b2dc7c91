"""Build packs of a few files, and replace their archives."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import zstandard

from models_init.core.digests import digest_of
from models_init.core.events import NullObserver
from models_init.core.pack_ref import PackRef
from models_init.formats.manifest import Manifest, encode
from models_init.publish.pack.build import BuildOptions, BuildResult, build
from models_init.publish.pack.source_tree import scan
from models_init.publish.pack.version_directory import ARCHIVE_NAME, VersionDirectory

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

REF = PackRef("nl-nl", "2026.04")
KIB = 1 << 10


def write(directory: Path, files: Mapping[str, bytes]) -> Path:
    """Create a directory with these files, and with a directory for each name that ends in a slash."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = directory / name
        if name.endswith("/"):
            path.mkdir(parents=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return directory


def built(directory: Path, out: Path, ref: PackRef = REF, **options: Any) -> BuildResult:
    """Build a pack from a directory."""
    return build(scan(directory), BuildOptions(ref, **options), out, NullObserver())


def pack(tmp_path: Path, files: Mapping[str, bytes], ref: PackRef = REF, **options: Any) -> VersionDirectory:
    """Build a pack from a few files below `tmp_path/out`."""
    source = write(tmp_path / f"source-{ref.name}-{ref.version}", files)
    return VersionDirectory(built(source, tmp_path / "out", ref, **options).directory)


def archive_of(directory: VersionDirectory) -> Path:
    """Return the path of the archive."""
    return directory.path / ARCHIVE_NAME


def stream_of(directory: VersionDirectory) -> bytes:
    """Return the tar stream of the archive."""
    reader = zstandard.ZstdDecompressor().stream_reader(archive_of(directory).read_bytes(), read_across_frames=True)
    return reader.readall()


def describe(directory: VersionDirectory, **changes: Any) -> Manifest:
    """Write the manifest again, with changes and with the current size and digest of the archive."""
    data = archive_of(directory).read_bytes()
    manifest = directory.parsed()
    archive = replace(manifest.archive, size=len(data), digest=digest_of(data))
    changed = replace(manifest, archive=archive, **changes)
    directory.manifest.write_bytes(encode(changed))
    return changed


def forge(directory: VersionDirectory, stream: bytes) -> None:
    """Replace the archive by one with this tar stream, and update its size and digest in the manifest."""
    empty = zstandard.compress(b"") * 1000  # so that the archive is long enough for the chunks of its manifest
    archive_of(directory).write_bytes(zstandard.compress(stream) + empty)
    describe(directory)


def sha256(data: bytes) -> str:
    """Return the digest of some bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
