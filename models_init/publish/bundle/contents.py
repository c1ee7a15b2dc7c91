"""Plan the contents of a bundle: published manifests, archives or pieces of them, images and site files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from models_init.core.digests import digest_of
from models_init.core.errors import NotFoundError, UsageError
from models_init.formats import bundle_index, manifest
from models_init.formats.bundle_index import BundledPack, Contents, ReceiptPacks
from models_init.formats.documents import flaw
from models_init.formats.manifest import MANIFEST_LIMIT, MANIFEST_NAME, SIGNATURE_NAME
from models_init.install.resolve import fetch_document
from models_init.publish.bundle.delta import ByteRange, missing_ranges
from models_init.publish.bundle.layout import Layout, PlannedMember, lay_out
from models_init.runtime.workers import each
from models_init.transfer.plan import check_compatibility

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from models_init.core.pack_ref import PackRef
    from models_init.formats.manifest import Manifest
    from models_init.formats.receipt import Receipt
    from models_init.install.trust import SignaturePolicy
    from models_init.sources.source import Source

_SIGNATURE_LIMIT = 64 << 10


@dataclass(frozen=True, slots=True)
class BundleDocument:
    """A small file: its name in the bundle and its bytes; `key` is the key of the object in the source, or ''."""

    name: str
    data: bytes
    key: str = ""

    def entry(self) -> PlannedMember:
        """Return the member for the layout, which has no offset yet."""
        return PlannedMember(self.name, len(self.data), digest_of(self.data), self.key)


@dataclass(frozen=True, slots=True)
class ContainerImage:
    """A container image in a file of the docker-archive format."""

    name: str
    reference: str
    path: Path
    size: int
    digest: str


@dataclass(frozen=True, slots=True)
class BundleRequest:
    """A request for a bundle: the packs, the recipient, the site's `receipt` if any, and the other files."""

    packs: tuple[PackRef, ...]
    recipient: str
    environment: Mapping[str, str]
    part_size: int
    receipt: Receipt | None
    documents: tuple[BundleDocument, ...]
    images: tuple[ContainerImage, ...]


@dataclass(frozen=True, slots=True)
class BundlePack:
    """A pack of the source, and the byte ranges of its archive that go into the bundle."""

    document: bytes
    signature: bytes
    manifest: Manifest
    pieces: tuple[ByteRange, ...]

    @property
    def directory(self) -> str:
        """The pack's directory in a source, with a trailing slash."""
        return f"{self.manifest.pack}/{self.manifest.version}/"

    @property
    def whole(self) -> bool:
        """True if the bundle contains the whole archive."""
        return self.pieces == (ByteRange(0, self.manifest.archive.size),)

    def documents(self) -> list[BundleDocument]:
        """Return the manifest and its signature, if there is one, both unchanged."""
        found = [(MANIFEST_NAME, self.document), (SIGNATURE_NAME, self.signature)]
        keys = [(self.directory + name, data) for name, data in found if data]
        return [BundleDocument(key, data, key) for key, data in keys]

    def archives(self) -> list[PlannedMember]:
        """Return the members for the whole archive or for its pieces."""
        archive, key = self.manifest.archive, self.manifest.archive_key
        if self.whole:
            return [PlannedMember(key, archive.size, archive.digest, key)]
        return [
            PlannedMember(f"{key}.{piece.start}-{piece.stop}", piece.stop - piece.start, key=key, start=piece.start)
            for piece in self.pieces
        ]


@dataclass(frozen=True, slots=True)
class BundlePlan:
    """The layout of a bundle, and the data of its members."""

    layout: Layout
    packs: tuple[BundlePack, ...]
    documents: tuple[BundleDocument, ...]
    images: tuple[ContainerImage, ...]
    unknown: tuple[str, ...]  # packs of the receipt that the source lacks or has with another manifest


async def plan_bundle(request: BundleRequest, source: Source, trust: SignaturePolicy) -> BundlePlan:
    """Read the manifests, select the pieces that the site lacks, and lay out the bundle.

    Raises `ManifestError` or a subclass: a manifest cannot be used.
    Raises `UsageError`: the request cannot be fulfilled.
    Raises the errors of the source.
    """
    documents = await each(lambda ref: fetch_document(source, trust, ref), request.packs)
    wanted = [
        manifest.published(document, ref).manifest for document, ref in zip(documents, request.packs, strict=True)
    ]
    check_compatibility(wanted)
    if images := [str(each.ref) for each in wanted if each.image]:
        raise UsageError(
            f"a bundle cannot contain the ordinary image of {', '.join(images)}; build the pack with `models-pack "
            "build` and publish it with `models-pack upload`"
        )
    signatures = await each(lambda ref: _signature(source, ref), request.packs)
    site_manifests, unknown = await _site_manifests(request.receipt, source)
    packs = tuple(
        BundlePack(document, signature, parsed, _pieces(parsed, digest_of(document), request.receipt, site_manifests))
        for document, signature, parsed in zip(documents, signatures, wanted, strict=True)
    )
    site_documents = tuple(request.documents)
    pack_documents = [document for pack in packs for document in pack.documents()]
    copies = tuple(
        BundleDocument(bundle_index.DOCUMENT_COPIES + document.key, document.data, document.key)
        for document in pack_documents
    )
    entries = [document.entry() for document in site_documents]
    entries += [PlannedMember(image.name, image.size, image.digest) for image in request.images]
    for pack in packs:
        entries += [*(document.entry() for document in pack.documents()), *pack.archives()]
    entries += [document.entry() for document in copies]
    try:
        layout = lay_out(_draft(request, source, packs), entries, request.part_size)
    except ValueError as error:
        raise UsageError(
            f"the bundle cannot be described: {flaw(error)}; use a shorter text without special characters"
        ) from error
    return BundlePlan(layout, packs, (*site_documents, *pack_documents, *copies), request.images, unknown)


async def _signature(source: Source, ref: PackRef) -> bytes:
    try:
        return await source.read(f"{ref.name}/{ref.version}/{SIGNATURE_NAME}", _SIGNATURE_LIMIT)
    except NotFoundError:
        return b""


async def _site_manifests(receipt: Receipt | None, source: Source) -> tuple[list[Manifest], tuple[str, ...]]:
    """Return the manifests of the receipt's packs, and the packs that the source lacks or has with another manifest."""
    site_manifests, unknown = [], []
    for ref, digest in receipt.packs.items() if receipt else ():
        try:
            document = await source.read(f"{ref.name}/{ref.version}/{MANIFEST_NAME}", MANIFEST_LIMIT)
            if digest_of(document) == digest:
                site_manifests.append(manifest.parse(document, ref))
                continue
        except NotFoundError:
            pass
        unknown.append(str(ref))
    return site_manifests, tuple(unknown)


def _pieces(
    wanted: Manifest, digest: str, receipt: Receipt | None, site_manifests: Sequence[Manifest]
) -> tuple[ByteRange, ...]:
    whole = (ByteRange(0, wanted.archive.size),)
    installed_digest = receipt.packs.get(wanted.ref) if receipt else None
    if installed_digest and installed_digest != digest:
        raise UsageError(
            f"the site has a different {wanted.ref} installed than the source has, and a version never changes: "
            "choose another version"
        )
    if installed_digest:
        return ()
    chunk_count = sum(len(file.chunks) for file in wanted.files)
    if not site_manifests or not chunk_count:
        return whole
    pieces = tuple(missing_ranges(wanted, site_manifests))
    return whole if sum(piece.stop - piece.start for piece in pieces) >= _chunk_bytes(wanted) else pieces


def _chunk_bytes(wanted: Manifest) -> int:
    """Return the size of all chunks in the archive in bytes."""
    return sum(chunk.length for file in wanted.files for chunk in file.chunks)


def _draft(request: BundleRequest, source: Source, packs: Sequence[BundlePack]) -> Contents:
    """Return the table of contents, without members."""
    since = request.receipt
    return Contents(
        schema=bundle_index.SCHEMA,
        source=source.name,
        recipient=request.recipient,
        environment=dict(sorted(request.environment.items())),
        packs={
            pack.manifest.pack: BundledPack(
                pack.manifest.version, digest_of(pack.document), pack.manifest.archive.file, pack.manifest.archive.size
            )
            for pack in packs
        },
        since=ReceiptPacks({str(ref): since.packs[ref] for ref in sorted(since.packs)}, since.release)
        if since
        else None,
        images={image.name: image.reference for image in request.images},
        size=1 << 52,  # placeholder until the layout is known
        members=(),
    )
