"""Read the first layer of a published pack, a small tar file with the pack's manifest and its signature.

Tools that push an image again may compress the layer, so its compression is detected from its first bytes.
"""

from __future__ import annotations

import io
import json
import tarfile
import zlib
from contextlib import suppress
from typing import NamedTuple

from models_init.core.digests import digest_of
from models_init.core.errors import ManifestError
from models_init.formats.manifest import MANIFEST_LIMIT, MANIFEST_NAME
from models_init.formats.oci import ARCHIVE_LAYER, METADATA_DIRECTORY

LAYER_LIMIT = MANIFEST_LIMIT + (1 << 20)
"""Maximum size in bytes, compressed or not: the manifest, and room for the signature and tar headers."""

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_GZIP_ONLY = 16 + zlib.MAX_WBITS  # zlib's number for a gzip header and trailer


class DeclaredArchive(NamedTuple):
    """The archive's name and digest in the pack's manifest; the digest is empty if the manifest names none."""

    file: str
    digest: str


def read_metadata(layer: bytes, diff_id: str, what: str) -> dict[str, bytes]:
    """Return the files in `METADATA_DIRECTORY` by name. `diff_id` is the digest of the uncompressed layer.

    Raises `ManifestError`: the layer cannot be read.
    """
    try:
        plain = _decompressed(layer)
        if digest_of(plain) != diff_id:
            raise ValueError("its content differs from the digest in the configuration")  # noqa: TRY301
        return _files(plain)
    except (ValueError, EOFError, zlib.error, tarfile.TarError) as error:
        raise ManifestError(
            f"the first layer of {what} cannot be used: {error}; the publisher must push it again"
        ) from None


def declared_archive(documents: dict[str, bytes]) -> DeclaredArchive:
    """Return the archive that the pack's manifest names; the manifest is validated later, when it is installed."""
    with suppress(ValueError, RecursionError, LookupError, TypeError):
        archive = json.loads(documents[MANIFEST_NAME])["archive"]
        if isinstance(archive["file"], str) and isinstance(archive["digest"], str):
            return DeclaredArchive(archive["file"], archive["digest"])
    return DeclaredArchive(ARCHIVE_LAYER, "")


def _decompressed(layer: bytes) -> bytes:
    """Decompress a layer. Raises `ValueError`: it is larger than `LAYER_LIMIT`, damaged or truncated."""
    if layer.startswith(_GZIP):
        stream = zlib.decompressobj(_GZIP_ONLY)
        plain = stream.decompress(layer, LAYER_LIMIT + 1)
        if not stream.eof and len(plain) <= LAYER_LIMIT:
            raise ValueError("its gzip stream ends too early")
    elif layer.startswith(_ZSTD):
        import zstandard  # noqa: PLC0415 - few images have been compressed again

        try:
            with zstandard.ZstdDecompressor().stream_reader(layer, read_across_frames=True) as reader:
                plain = reader.read(LAYER_LIMIT + 1)
        except zstandard.ZstdError as error:
            raise ValueError(f"its zstd stream is damaged: {error}") from error
    else:
        plain = layer
    if len(plain) > LAYER_LIMIT:
        raise ValueError(f"it has more than {LAYER_LIMIT} bytes")
    return plain


def _files(plain: bytes) -> dict[str, bytes]:
    found = {}
    with tarfile.open(fileobj=io.BytesIO(plain), mode="r:") as tar:
        for member in tar:
            if member.issparse():  # its content may be far larger than the layer
                raise ValueError("it has a sparse file")
            directory, _, name = member.name.removeprefix("./").rpartition("/")
            if directory == METADATA_DIRECTORY and member.isreg() and (content := tar.extractfile(member)):
                found[name] = content.read()
    return found
