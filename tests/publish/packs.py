"""Packs to try things on: built of a few files, or forged."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import zstandard

from models_init.core.events import NullObserver
from models_init.core.pack_ref import PackRef
from models_init.formats.manifest import Manifest, encode
from models_init.publish.pack.build import BuildOptions, BuildResult, build
from models_init.publish.pack.source_tree import scan
from models_init.publish.pack.version_folder import ARCHIVE_NAME, VersionFolder
from models_init.transfer.chunk_io import digest_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

REF = PackRef("nl-nl", "2026.04")
KIB = 1 << 10


def write(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Make a folder with these files, and with a directory for each name that ends in a slash."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / name
        if name.endswith("/"):
            path.mkdir(parents=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return folder


def built(folder: Path, out: Path, ref: PackRef = REF, **recipe: Any) -> BuildResult:
    """Build a pack of a folder."""
    return build(scan(folder), BuildOptions(ref, **recipe), out, NullObserver())


def pack(tmp_path: Path, files: Mapping[str, bytes], ref: PackRef = REF, **recipe: Any) -> VersionFolder:
    """Build a pack of a few files below `tmp_path/out`."""
    source = write(tmp_path / f"source-{ref.name}-{ref.version}", files)
    return VersionFolder(built(source, tmp_path / "out", ref, **recipe).folder)


def archive_of(folder: VersionFolder) -> Path:
    """Where the archive lies."""
    return folder.path / ARCHIVE_NAME


def stream_of(folder: VersionFolder) -> bytes:
    """The archive's tar stream."""
    reader = zstandard.ZstdDecompressor().stream_reader(archive_of(folder).read_bytes(), read_across_frames=True)
    return reader.readall()


def describe(folder: VersionFolder, **changes: Any) -> Manifest:
    """Write the manifest again, with changes, and with the archive's size and digest as they are now."""
    data = archive_of(folder).read_bytes()
    manifest = folder.parsed()
    archive = replace(manifest.archive, size=len(data), digest=digest_of(data))
    changed = replace(manifest, archive=archive, **changes)
    folder.manifest.write_bytes(encode(changed))
    return changed


def forge(folder: VersionFolder, stream: bytes) -> None:
    """Replace the archive by one with this tar stream, and let the manifest know its size and digest."""
    empty = zstandard.compress(b"") * 1000  # so that the archive is not shorter than its manifest's chunks need
    archive_of(folder).write_bytes(zstandard.compress(stream) + empty)
    describe(folder)


def sha256(data: bytes) -> str:
    """The digest of some bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"
