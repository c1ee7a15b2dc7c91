"""A container registry as a source: the pack `nl-nl 2026.04` is the image `PREFIX/nl-nl:2026.04`.

A tag is resolved once; everything else is requested by digest, so that all ranges belong to the same content.
"""

from __future__ import annotations

import asyncio
import platform
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from models_init.core.digests import digest_of
from models_init.core.errors import (
    AccessError,
    HiddenError,
    NotFoundError,
    SourceError,
    UnavailableError,
    UnsupportedError,
    WrongBytesError,
)
from models_init.core.pack_ref import PackRef
from models_init.formats import oci
from models_init.formats.manifest import MANIFEST_NAME, Archive
from models_init.formats.oci import Descriptor
from models_init.sources.http.ranges import check_range
from models_init.sources.oci.lists import RegistryLists
from models_init.sources.oci.metadata_layer import LAYER_LIMIT, DeclaredArchive, declared_archive, read_metadata
from models_init.sources.oci.ordinary_image import (
    ResolvedImage,
    archive_name,
    blob_ranges,
    describe,
    image_digest,
)
from models_init.sources.oci.registry import Registry, RegistryAccess, Request
from models_init.sources.oci.tokens import Scope
from models_init.sources.probe import Credential, ProbeResult

if TYPE_CHECKING:
    from models_init.formats.oci import ImageConfig, ImageManifest
    from models_init.sources.oci.ordinary_image import BlobRange
    from models_init.sources.source import Sink

_RECOMPRESSED = "recompressed-pack.tar"
"""The key's last part for an archive that another tool has compressed again."""

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


class _Image(NamedTuple):
    """A published pack: its manifest and signature by file name, and the layer with its archive.

    `is_exact` is False if the layer is not the archive that the manifest names, but has been compressed again.
    """

    documents: dict[str, bytes]
    declared: DeclaredArchive
    archive: Descriptor | None
    is_exact: bool


class OciSource:
    """The packs of the registry and prefix of `access`; keys are `<pack>/<version>/<file>`, as in a container."""

    def __init__(self, access: RegistryAccess) -> None:
        self._access = access
        self._registry = Registry(access)
        self._lists = RegistryLists(access, self._registry)
        self._manifests: dict[PackRef, ResolvedImage] = {}
        self._by_digest: dict[str, ImageManifest] = {}
        self._images: dict[PackRef, _Image] = {}
        self._uncached: set[str] = set()
        self._opening: defaultdict[PackRef, asyncio.Lock] = defaultdict(asyncio.Lock)

    @property
    def name(self) -> str:
        """The URL of the registry with the prefix."""
        return f"oci://{self._access.host}/{self._access.prefix}".rstrip("/")

    async def read(self, key: str, limit: int) -> bytes:
        """See `Source.read`. Raises `HiddenError`: the registry has no such repository, or hides it."""
        ref, file = _parts(key)
        image = await self._image(ref)
        if file in image.documents:
            return _limited(image.documents[file], limit, key)
        layer = self._layer(image, file, key)
        if layer.size > limit:
            raise SourceError(f"{key} has {layer.size} bytes, more than {limit}: it cannot be right")
        return await self._blob(ref, layer)

    async def get_range(self, key: str, start: int, stop: int, sink: Sink) -> None:
        """See `Source.get_range`."""
        blobs = await self._blobs(key)
        size = sum(blob.size for blob in blobs)
        if not 0 <= start < stop <= size:
            raise SourceError(f"{key} has {size} bytes, {start} to {stop} are not a range of it")
        for wanted in blob_ranges(blobs, start, stop):
            await self._get_blob_range(key, wanted, sink)

    async def _get_blob_range(self, key: str, wanted: BlobRange, sink: Sink) -> None:
        (ref, file), (blob, start, stop) = _parts(key), wanted
        name = f"layer {blob.digest} of {self._shown(ref)}" if image_digest(file) else key
        headers = {"Range": f"bytes={start}-{stop - 1}"}
        if key in self._uncached:
            headers["Cache-Control"] = "no-cache"
        async with self._registry.blob(self._access.repository(ref.name), blob.digest, headers) as response:
            check_range(response, name, start, stop)
            if await response.read_into(sink, stop - start) < stop - start:
                raise UnavailableError(f"{response.host} ended its answer for {name} too early")

    async def names(self, directory: str) -> list[str]:
        """See `Source.names`. Listing all packs raises `AccessError` with a pull token, which lacks that permission."""
        parts = directory.rstrip("/").split("/") if directory else []
        match parts:
            case []:
                return await self._lists.packs()
            case [pack]:
                return await self._lists.versions(pack) or [] if oci.is_repository(pack) else []
            case [pack, version]:
                return await self._files(pack, version)
            case _:
                return []

    def report_wrong(self, key: str, _start: int, _stop: int, _reason: str) -> bool:
        """See `Source.report_wrong`."""
        self._uncached.add(key)
        return False

    def recompressed(self, key: str) -> Archive | None:
        """See `Source.recompressed`: tools that push an image again may compress its layers again."""
        ref, file = _parts(key)
        image = self._images.get(ref)
        if not image or not image.archive or image.is_exact or file != image.declared.file:
            return None
        return Archive(_RECOMPRESSED, image.archive.size, image.archive.digest)

    def unavailable_reason(self, _key: str, _start: int, _stop: int) -> str:
        """See `Source.unavailable_reason`: a registry never omits parts of a layer on purpose."""
        return ""

    def repair_hint(self, _key: str, _start: int) -> str:
        """See `Source.repair_hint`."""
        return "the publisher must push the image again"

    async def close(self) -> None:
        """Close all connections."""
        await self._registry.close()

    async def _image(self, ref: PackRef) -> _Image:
        """Return the image of a pack; it is read only once, even by concurrent calls."""
        async with self._opening[ref]:
            if ref not in self._images:
                self._images[ref] = await self._open(ref)
            return self._images[ref]

    async def _open(self, ref: PackRef) -> _Image:
        if ref not in self._manifests:
            self._manifests[ref] = await self._resolve(ref)
        image, what = self._manifests[ref].content, self._shown(ref)
        config = oci.parse_config(await self._blob(ref, image.config, oci.DOCUMENT_LIMIT), image, what)
        if not config.is_pack():
            oci.check_layers(image, what)
            return self._ordinary_image(ref, self._manifests[ref], config)
        documents = read_metadata(await self._blob(ref, image.layers[0], LAYER_LIMIT), config.rootfs.diff_ids[0], what)
        declared = declared_archive(documents)
        others = image.layers[1:]
        exact = next((layer for layer in others if layer.digest == declared.digest), None)
        is_exact = exact is not None or not declared.digest
        return _Image(documents, declared, exact or next(iter(others), None), is_exact)

    def _ordinary_image(self, ref: PackRef, image: ResolvedImage, config: ImageConfig) -> _Image:
        """Return an image that `models-pack upload` has not published, with a manifest that describes its layers."""
        self._by_digest[image.digest] = image.content
        archive = Descriptor(image.digest, image.size)
        documents = {MANIFEST_NAME: describe(ref, image, config, self._access.image_paths(ref.name))}
        return _Image(documents, DeclaredArchive(archive_name(image), image.digest), archive, is_exact=True)

    async def _blobs(self, key: str) -> tuple[Descriptor, ...]:
        """Return the blobs of which the archive consists: one, or all layers of an ordinary image."""
        ref, file = _parts(key)
        digest = image_digest(file)
        if not digest:
            return (self._layer(await self._image(ref), file, key),)
        async with self._opening[ref]:
            if digest not in self._by_digest:
                parsed = oci.parse_manifest(await self._installed_image(ref, digest), self._shown(ref))
                if isinstance(parsed, oci.ImageIndex):
                    raise NotFoundError(f"{self.name} has no {key}")
                self._by_digest[digest] = parsed
        return self._by_digest[digest].layers

    async def _resolve(self, ref: PackRef) -> ResolvedImage:
        """Return the image manifest of a tag; if the tag names an index, that of the image for this platform."""
        document = await self._manifest(ref, ref.version)
        parsed = oci.parse_manifest(document, self._shown(ref))
        if isinstance(parsed, oci.ImageIndex):
            machine = platform.machine()
            chosen = oci.select_platform(parsed, _ARCHITECTURES.get(machine, machine), self._shown(ref))
            document = await self._manifest_by_digest(ref, chosen.digest)
            parsed = oci.parse_manifest(document, self._shown(ref))
        if isinstance(parsed, oci.ImageIndex):
            raise UnsupportedError(f"{self._shown(ref)} is an index of indexes; ask the publisher for an image")
        return ResolvedImage(parsed, digest_of(document))

    async def _installed_image(self, ref: PackRef, digest: str) -> bytes:
        """Return the manifest of an image that was installed, although its tag may name another image now."""
        try:
            return await self._manifest_by_digest(ref, digest)
        except HiddenError:
            raise
        except NotFoundError:
            raise NotFoundError(
                f"{self._registry.host} no longer has the image {digest} of {ref}; install another version, or ask the "
                "publisher to push that image again"
            ) from None

    async def _manifest_by_digest(self, ref: PackRef, digest: str) -> bytes:
        document = await self._manifest(ref, digest)
        if digest_of(document) != digest:
            raise WrongBytesError(
                f"the manifest {digest} of {self._shown(ref)} has other bytes than its digest says; the publisher must "
                "push the image again"
            )
        return document

    async def _manifest(self, ref: PackRef, reference: str) -> bytes:
        repository = self._access.repository(ref.name)
        if not oci.is_repository(repository) or not (oci.is_tag(reference) or reference.startswith("sha256:")):
            raise NotFoundError(f"{self._shown(ref)} is not a name that a registry can have")
        path = f"/v2/{repository}/manifests/{reference}"
        request = Request("GET", path, Scope(repository), {"Accept": oci.ACCEPT})
        try:
            async with self._registry.send(request) as response:
                if response.header("Content-Type").startswith("text/html"):
                    raise UnavailableError(
                        f"{response.host} answered with a web page instead of a manifest, as networks do that want a "
                        "login; check the network and the proxy"
                    )
                return await response.body(oci.DOCUMENT_LIMIT, "a manifest")
        except NotFoundError as error:
            raise await self._not_found_error(repository, ref, error) from None

    async def _not_found_error(self, repository: str, ref: PackRef, error: NotFoundError) -> NotFoundError:
        """Return a `HiddenError` if the registry does not know the repository, else `error`."""
        try:
            if await self._lists.versions(ref.name) is not None:
                return error
        except AccessError:
            return error
        return HiddenError(
            f"{self._registry.host} has no repository {repository}, or hides it from this token, so {ref.name} cannot "
            "be installed; check the language and the license, and ask the vendor for a pull token that includes "
            f"{repository}"
        )

    async def _blob(self, ref: PackRef, blob: Descriptor, limit: int | None = None) -> bytes:
        """Return a whole blob. Raises `WrongBytesError`: its digest is wrong, again after a retry."""
        if limit is not None and blob.size > limit:
            raise SourceError(
                f"a blob of {self._shown(ref)} has {blob.size} bytes, more than {limit}: it cannot be right"
            )
        for _ in range(2):
            async with self._registry.blob(self._access.repository(ref.name), blob.digest) as response:
                data = await response.body(blob.size, f"a blob of {self._shown(ref)}")
            if digest_of(data) == blob.digest:
                return data
        raise WrongBytesError(
            f"{blob.digest} of {self._shown(ref)} has other bytes than its digest says, again after a retry; the "
            "publisher must push the image again"
        )

    def _layer(self, image: _Image, file: str, key: str) -> Descriptor:
        if not image.archive or file not in (_RECOMPRESSED, image.declared.file):
            raise NotFoundError(f"{self.name} has no {key}")
        if file != _RECOMPRESSED and not image.is_exact:
            raise NotFoundError(
                f"{self.name} has {key} only compressed again, so that parts of it cannot be fetched; copy the "
                "published image with a tool that keeps its layers, such as skopeo or oras"
            )
        return image.archive

    async def _files(self, pack: str, version: str) -> list[str]:
        try:
            image = await self._image(PackRef(pack, version))
        except NotFoundError:
            return []
        return sorted([*image.documents, *([image.declared.file] if image.archive else [])])

    def _shown(self, ref: PackRef) -> str:
        return f"{self._access.host}/{self._access.repository(ref.name)}:{ref.version}"


class OciProbe:
    """See `EndpointProbe`. It requests the API's base without a token; a response that requires one is also success."""

    def __init__(self, access: RegistryAccess) -> None:
        self._access = access

    async def ping(self) -> ProbeResult:
        """See `EndpointProbe.ping`."""
        return await Registry(self._access).ping()

    def credential(self) -> Credential | None:
        """See `EndpointProbe.credential`."""
        found = self._access.read_credentials(self._access.prefix)
        if not found:
            return None
        scope = f"for {self._access.host}, user {found.user or 'of an identity token'}, from {found.origin}"
        return Credential(scope, "", None, lambda _now: "")


def _parts(key: str) -> tuple[PackRef, str]:
    """Split a key. Raises `NotFoundError`: it is not `<pack>/<version>/<file>`."""
    parts = key.split("/")
    if len(parts) != 3:
        raise NotFoundError(f"{key} is not the key of a file of a pack")
    return PackRef(parts[0], parts[1]), parts[2]


def _limited(data: bytes, limit: int, key: str) -> bytes:
    if len(data) > limit:
        raise SourceError(f"{key} has {len(data)} bytes, more than {limit}: it cannot be right")
    return data
