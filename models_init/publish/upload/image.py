"""Describe a version directory as a container image of two layers: the manifest with its signature, and the archive.

The archive is a layer byte for byte, so that a site can fetch ranges of it, and other programs can mount the image.
Equal directories give equal images, with the same digests.
"""

from __future__ import annotations

import hashlib
import io
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from models_init.archive.decompress import PIECE, opened
from models_init.archive.errors import BadArchiveError
from models_init.core.digests import digest_of, digest_text
from models_init.core.errors import UsageError
from models_init.core.file_modes import DIRECTORY_MODE
from models_init.formats import oci
from models_init.formats.manifest import MANIFEST_NAME, SIGNATURE_NAME, published
from models_init.publish.upload.published_version import check_size, unreadable_archive, wrong_archive

if TYPE_CHECKING:
    from pathlib import Path

    from models_init.archive.decompress import Readable
    from models_init.core.pack_ref import PackRef
    from models_init.formats.manifest import Archive
    from models_init.publish.pack.version_directory import VersionDirectory

_MEDIA_TYPES = {b"\x28\xb5\x2f\xfd": oci.LAYER_TAR_ZSTD, b"\x1f\x8b": f"{oci.LAYER_TAR}+gzip"}


@dataclass(frozen=True, slots=True)
class PackImage:
    """The parts of an image. `documents` are the pack's manifest and signature; the archive stays in its file."""

    ref: PackRef
    documents: dict[str, bytes]
    metadata: bytes
    config: bytes
    manifest: bytes
    archive: Archive
    archive_path: Path

    @property
    def digest(self) -> str:
        """The digest of the image manifest."""
        return digest_of(self.manifest)


def check_names(ref: PackRef, prefix: str) -> None:
    """Raise `UsageError` unless a registry accepts the pack's name as a repository and its version as a tag."""
    repository = f"{prefix}/{ref.name}" if prefix else ref.name
    if not oci.is_repository(repository):
        raise UsageError(
            f"a registry cannot have the repository {repository}: its name must consist of lower-case letters and "
            "digits, with single . _ - between them; build the pack under another name"
        )
    if not oci.is_tag(ref.version):
        raise UsageError(
            f"a registry cannot have the tag {ref.version} for {ref}: a tag consists of letters, digits and . _ -; "
            "build the pack under another --version"
        )


def make_image(directory: VersionDirectory) -> PackImage:
    """Read a version directory; the archive is read once, to compute both digests. Blocks; call it in a worker thread.

    Raises `WrongBytesError`: the archive does not match its manifest. Raises `ManifestError`: the manifest is unusable.
    Raises `SignatureError`: the signature cannot be read.
    """
    document = directory.document()
    content = published(document, directory.ref()).manifest
    documents = {MANIFEST_NAME: document}
    if (signature := directory.signature_document()) is not None:
        documents[SIGNATURE_NAME] = signature
    path = directory.path / content.archive.file
    check_size(path, content.archive)
    diff_id, media_type = _read_archive(path, content.archive)
    metadata = _metadata_layer(documents)
    config = oci.encode_config(content.ref, (digest_of(metadata), diff_id))
    manifest = oci.encode_manifest(
        content.ref,
        oci.Descriptor(digest_of(config), len(config)),
        oci.Descriptor(digest_of(metadata), len(metadata)),
        oci.Descriptor(content.archive.digest, content.archive.size, media_type),
    )
    return PackImage(content.ref, documents, metadata, config, manifest, content.archive, path)


def _metadata_layer(documents: dict[str, bytes]) -> bytes:
    """Return a tar file with the documents; owners and times are zero, so that it is reproducible."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        directory = tarfile.TarInfo(oci.METADATA_DIRECTORY)
        directory.type, directory.mode = tarfile.DIRTYPE, DIRECTORY_MODE
        tar.addfile(directory)
        for name, data in sorted(documents.items()):
            member = tarfile.TarInfo(f"{oci.METADATA_DIRECTORY}/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return stream.getvalue()


class _LayerReader:
    """Hashes the bytes that are read from `inner`."""

    def __init__(self, inner: Readable) -> None:
        self._inner = inner
        self.hash = hashlib.sha256()

    def read(self, size: int, /) -> bytes:
        data = self._inner.read(size)
        self.hash.update(data)
        return data


def _read_archive(path: Path, archive: Archive) -> tuple[str, str]:
    """Return the digest of the uncompressed archive, and the media type of the layer."""
    plain = hashlib.sha256()
    try:
        with path.open("rb") as file:
            head = file.read(4)
            file.seek(0)
            packed = _LayerReader(file)
            stream = opened(packed)
            while piece := stream.read(PIECE):
                plain.update(piece)
            while packed.read(PIECE):
                pass
    except OSError as error:
        raise unreadable_archive(str(path), error) from error
    except BadArchiveError as error:
        raise wrong_archive(str(path)) from error
    if digest_text(packed.hash) != archive.digest:
        raise wrong_archive(str(path))
    media_type = next((kind for magic, kind in _MEDIA_TYPES.items() if head.startswith(magic)), oci.LAYER_TAR)
    return digest_text(plain), media_type
