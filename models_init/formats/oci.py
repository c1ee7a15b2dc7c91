"""Documents of container registries: image manifests, indexes and configurations, and the names of repositories.

Only the fields that this program uses are parsed; others are ignored, as the OCI image specification requires. A pack
is published as an image of two layers: `manifest.tar` with the pack's manifest and signature, and the pack's archive.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter
from pydantic.dataclasses import dataclass

from models_init.core.errors import ManifestError, UnsupportedError
from models_init.core.pack_ref import DIGEST_PATTERN, PackRef
from models_init.formats.documents import flaw, load, shortened

IMAGE_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
IMAGE_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
IMAGE_CONFIG = "application/vnd.oci.image.config.v1+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER_TAR = "application/vnd.oci.image.layer.v1.tar"
LAYER_TAR_ZSTD = f"{LAYER_TAR}+zstd"
ARTIFACT_TYPE = "application/vnd.models-init.pack.v1"

ACCEPT = f"{IMAGE_MANIFEST}, {IMAGE_INDEX}, {DOCKER_MANIFEST}, {DOCKER_LIST}"
"""The `Accept` header of a request for a manifest; one line, because some registries read only the first one."""

DOCUMENT_LIMIT = 4 << 20
"""Maximum size in bytes of a manifest, index or configuration; registries should accept this much."""

METADATA_DIRECTORY = ".models-init"
"""The directory in `manifest.tar` that contains the pack's manifest and its signature."""

METADATA_LAYER, ARCHIVE_LAYER = "manifest.tar", "pack.tar.zst"
"""Titles of the two layers of a published pack."""

PACK_LABEL, VERSION_LABEL = "dev.models-init.pack", "dev.models-init.version"
"""Labels of a published pack. They are part of the configuration, which tools keep when they push an image again."""

_TITLE = "org.opencontainers.image.title"
_VERSION = "org.opencontainers.image.version"

_NAME_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_NAME_PART}(?:/{_NAME_PART})*\Z")
_REPOSITORY_LENGTH = 255
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}\Z")

_IGNORE_UNKNOWN = ConfigDict(extra="ignore", defer_build=True)
_SIZE_LIMIT = 2**53 - 1

_LAYER_TYPES = {
    *(f"{LAYER_TAR}{suffix}" for suffix in ("", "+gzip", "+zstd")),
    *(f"application/vnd.docker.image.rootfs.diff.tar{suffix}" for suffix in ("", ".gzip", ".zstd")),
}
_FOREIGN_LAYER = ("application/vnd.oci.image.layer.nondistributable.", "application/vnd.docker.image.rootfs.foreign.")
_OTHER_CONTENT = re.compile(r"helm|cncf\.model|kitops|docker\.ai|ollama|gguf|cosign|in-toto", re.IGNORECASE)


def is_repository(name: str) -> bool:
    """Return True if registries accept the name of a repository."""
    return bool(_REPOSITORY.match(name)) and len(name) <= _REPOSITORY_LENGTH


def is_tag(text: str) -> bool:
    """Return True if registries accept the tag."""
    return bool(_TAG.match(text))


@dataclass(frozen=True, slots=True, config=_IGNORE_UNKNOWN)
class Platform:
    """The platform of one image of an index."""

    architecture: str = ""
    os: str = ""

    def __str__(self) -> str:
        return f"{self.os}/{self.architecture}"


@dataclass(frozen=True, slots=True, config=_IGNORE_UNKNOWN)
class Descriptor:
    """A reference to a blob or a manifest by its digest."""

    digest: Annotated[str, Field(strict=True, pattern=DIGEST_PATTERN)]
    size: Annotated[int, Field(strict=True, ge=0, le=_SIZE_LIMIT)]
    mediaType: str = ""  # noqa: N815 - the name in the document
    annotations: dict[str, str] = Field(default_factory=dict)
    platform: Platform = Platform()

    @property
    def title(self) -> str:
        """The file name in the annotations, or an empty string; tools that push an image again may drop it."""
        return self.annotations.get(_TITLE, "")


@dataclass(frozen=True, slots=True, config=_IGNORE_UNKNOWN)
class ImageManifest:
    """An image: its configuration and its layers, the lowest first."""

    schemaVersion: Annotated[int, Field(strict=True, ge=2, le=2)]  # noqa: N815 - the name in the document
    config: Descriptor
    layers: Annotated[tuple[Descriptor, ...], Field(min_length=1, max_length=512)]


@dataclass(frozen=True, slots=True, config=_IGNORE_UNKNOWN)
class ImageIndex:
    """Several images under one name, one for each platform."""

    schemaVersion: Annotated[int, Field(strict=True, ge=2, le=2)]  # noqa: N815 - the name in the document
    manifests: Annotated[tuple[Descriptor, ...], Field(min_length=1, max_length=512)]


@dataclass(frozen=True, slots=True, config=_IGNORE_UNKNOWN)
class ContainerSettings:
    """The part of a configuration that contains the labels."""

    Labels: dict[str, str] | None = None


@dataclass(frozen=True, slots=True, config=_IGNORE_UNKNOWN)
class RootFs:
    """The SHA-256 of each uncompressed layer, the lowest first; recompression does not change them."""

    diff_ids: tuple[Annotated[str, Field(strict=True, pattern=DIGEST_PATTERN)], ...] = ()


@dataclass(frozen=True, slots=True, config=_IGNORE_UNKNOWN)
class ImageConfig:
    """The configuration of an image."""

    rootfs: RootFs
    config: ContainerSettings | None = None

    @property
    def labels(self) -> dict[str, str]:
        """The labels."""
        return (self.config and self.config.Labels) or {}

    def is_pack(self) -> bool:
        """Return True if the image was published by `models-pack upload`."""
        return PACK_LABEL in self.labels


_MANIFEST, _INDEX, _CONFIG = TypeAdapter(ImageManifest), TypeAdapter(ImageIndex), TypeAdapter(ImageConfig)


def parse_manifest(document: bytes, what: str) -> ImageManifest | ImageIndex:
    """Parse an image manifest or an index; `what` names it in messages.

    Raises `UnsupportedError`: it is of an unsupported kind. Raises `ManifestError`: it is invalid.
    """
    try:
        content = load(document)
        if not isinstance(content, dict):
            raise ValueError("it is not an object")  # noqa: TRY301, TRY004 - one message for all flaws
        if content.get("schemaVersion") == 1:
            raise _unsupported(what, "a manifest of schema 1, which registries no longer support")
        if "layers" in content and "manifests" in content:
            raise ValueError("it has both layers and manifests, so that readers would disagree")  # noqa: TRY301
        if "manifests" in content:
            return _INDEX.validate_python(content)
        _check_kinds(content, what)
        return _MANIFEST.validate_python(content)
    except ValueError as error:
        raise ManifestError(f"{what} cannot be used: {flaw(error)}; the publisher must push it again") from error


def parse_config(document: bytes, image: ImageManifest, what: str) -> ImageConfig:
    """Parse the configuration of an image. Raises `ManifestError`: it is invalid or describes other layers."""
    try:
        config = _CONFIG.validate_python(load(document))
        count = len(config.rootfs.diff_ids)
        if count != len(image.layers):
            raise ValueError(f"its configuration names {count} layers, its manifest {len(image.layers)}")  # noqa: TRY301
        return config
    except ValueError as error:
        raise ManifestError(f"{what} cannot be used: {flaw(error)}; the publisher must push it again") from error


def check_layers(image: ImageManifest, what: str) -> None:
    """Raise `UnsupportedError` if the layers of an ordinary image are not tar archives.

    The media types of published packs are not checked, because tools change them.
    """
    for layer in image.layers:
        if layer.mediaType not in _LAYER_TYPES:
            kind = shortened(layer.mediaType, 80) or "none"
            raise _unsupported(what, f"an image with a layer of an unknown media type ({kind})")


def select_platform(index: ImageIndex, architecture: str, what: str) -> Descriptor:
    """Return the image for Linux on `architecture`, or else the only image that has a known platform.

    Raises `UnsupportedError`: there is no image for this platform, or there are several.
    """
    known = [entry for entry in index.manifests if "unknown" not in str(entry.platform)]
    fitting = [entry for entry in known if str(entry.platform) == f"linux/{architecture}"]
    if fitting or len(known) == 1:
        return (fitting or known)[0]
    platforms = shortened(", ".join(str(entry.platform) for entry in known) or "none")
    raise _unsupported(what, f"an index without an image for linux/{architecture}; its platforms are: {platforms}")


def _check_kinds(content: dict[str, Any], what: str) -> None:
    """Raise `UnsupportedError` if the document describes something that is not an image with plain layers."""
    layers = content.get("layers")
    if layers == []:
        raise ValueError("it has no layers")
    parts = [content.get("config"), *(layers if isinstance(layers, list) else ())]
    kinds = [str(content.get("artifactType", "")), *(str(p.get("mediaType", "")) for p in parts if isinstance(p, dict))]
    for kind in kinds:
        if kind.endswith("+encrypted"):
            raise _unsupported(what, f"an image with an encrypted layer ({shortened(kind, 80)})")
        if kind.startswith(_FOREIGN_LAYER):
            raise _unsupported(
                what, f"an image with a layer that the registry does not contain ({shortened(kind, 80)})"
            )
        if _OTHER_CONTENT.search(kind):
            raise _unsupported(what, f"not a container image ({shortened(kind, 80)})")
    config = parts[0].get("mediaType", "") if isinstance(parts[0], dict) else ""
    if config not in (IMAGE_CONFIG, DOCKER_CONFIG):
        kind = shortened(str(content.get("artifactType", "") or config), 80) or "without a media type"
        raise _unsupported(what, f"not a container image ({kind})")
    for digest in (str(part.get("digest", "")) for part in parts if isinstance(part, dict)):
        if ":" in digest and not digest.startswith("sha256:"):
            raise _unsupported(what, f"an image with a digest other than sha256 ({shortened(digest, 40)})")


def _unsupported(what: str, kind: str) -> UnsupportedError:
    return UnsupportedError(f"{what} is {kind}; ask the publisher for a pack that `models-pack upload` has published")


def encode_config(ref: PackRef, diff_ids: tuple[str, ...]) -> bytes:
    """Return the configuration of a pack. The platform has no meaning, but some tools require one."""
    return _encode(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Labels": {PACK_LABEL: ref.name, VERSION_LABEL: ref.version}},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        }
    )


def encode_manifest(ref: PackRef, config: Descriptor, metadata: Descriptor, archive: Descriptor) -> bytes:
    """Return the image manifest of a pack. Equal content gives equal bytes, and so the same digest."""

    def entry(blob: Descriptor, media_type: str, title: str = "") -> dict[str, object]:
        named = {"annotations": {_TITLE: title}} if title else {}
        return {"mediaType": media_type, "digest": blob.digest, "size": blob.size, **named}

    return _encode(
        {
            "schemaVersion": 2,
            "mediaType": IMAGE_MANIFEST,
            "artifactType": ARTIFACT_TYPE,
            "config": entry(config, IMAGE_CONFIG),
            "layers": [entry(metadata, LAYER_TAR, METADATA_LAYER), entry(archive, archive.mediaType, ARCHIVE_LAYER)],
            "annotations": {_VERSION: ref.version},
        }
    )


def _encode(document: dict[str, object]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
