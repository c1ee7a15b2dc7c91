"""Verify every byte of a bundle (tables, members, chunks, headers, padding) and locate each damage."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from models_init.core.errors import ManifestError, ModelsInitError, SourceError, UsageError
from models_init.core.pack_ref import PackRef
from models_init.formats import bundle_index, manifest
from models_init.formats.manifest import MANIFEST_LIMIT, MANIFEST_NAME, SIGNATURE_NAME
from models_init.formats.minisign import SIGNATURE_LIMIT, Signature
from models_init.publish.bundle.layout import layout_of
from models_init.publish.bundle.member import BundleMember, member_digest
from models_init.publish.pack.tar_stream import padded
from models_init.runtime.workers import each
from models_init.sources.bundle import Bundle

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from models_init.core.events import Observer
    from models_init.formats.bundle_index import BundledPack, Contents, Member
    from models_init.formats.manifest import Manifest
    from models_init.publish.bundle.layout import Layout
    from models_init.runtime.workers import Workers
    from models_init.transfer.ranges import Batch


@dataclass(frozen=True, slots=True)
class BundleDamage:
    """A damage: the member, a description, and its position as file path and offset in bytes."""

    member: str
    what: str
    path: str
    offset: int


@dataclass(frozen=True, slots=True)
class CarriedPack:
    """A pack of the bundle: `carried` bytes of its archive, and the id of the key that signed it, or ''."""

    ref: PackRef
    archive_size: int
    carried: int
    signed_by: str


@dataclass(frozen=True, slots=True)
class BundleInspection:
    """The contents of a bundle, and its damages."""

    contents: Contents
    files: tuple[Path, ...]
    packs: tuple[CarriedPack, ...]
    damages: tuple[BundleDamage, ...]


async def inspect(path: Path, workers: Workers, observer: Observer) -> BundleInspection:
    """Read and verify the whole bundle; `observer` counts the bytes of members.

    Raises the errors of `Bundle.open`.
    """
    opened = await workers.run(Bundle.open, path)
    try:
        inspector = _BundleInspector(opened)
        observer.expect(sum(member.size for member in opened.contents.members))
        damages = [*await workers.run(inspector.frame)]
        for found in await each(lambda member: inspector.member(member, workers, observer), opened.contents.members):
            damages += found
        packs = await workers.run(inspector.packs)
    finally:
        opened.files.close()
    damages.sort(key=lambda damage: (damage.path, damage.offset))
    return BundleInspection(opened.contents, tuple(opened.files.paths), tuple(packs), tuple(damages))


class _BundleInspector:
    """Verify the parts of one bundle."""

    def __init__(self, opened: Bundle) -> None:
        self._bundle = opened
        self._contents = opened.contents
        self._medium = opened.files
        self._layout = _layout(opened)
        self._manifests: dict[str, Manifest] = dict(self._read_manifests())

    def frame(self) -> list[BundleDamage]:
        """Verify everything that is not a member: the two tables, headers, padding."""
        text = self._layout.text(self._contents)
        tables = {
            bundle_index.CONTENTS_NAME: bundle_index.CONTENTS_START,
            bundle_index.COPY_NAME: self._layout.copy_offset,
        }
        found = [
            self._damage(name, "differs from its copy", at + _differs(text, self._medium.read(at, len(text))))
            for name, at in tables.items()
            if self._medium.read(at, len(text)) != text
        ]
        for filler in self._layout.fillers():
            data = self._medium.read(filler.offset, len(filler.data))
            if data != filler.data:
                at = filler.offset + _differs(filler.data, data)
                what = "the tar header or padding is wrong; the content is not affected"
                found.append(self._damage(self._before(at), what, at))
        return found

    async def member(self, member: Member, workers: Workers, observer: Observer) -> list[BundleDamage]:
        """Verify the digest of one member, and each chunk if it is an archive or a piece of one."""
        found: list[BundleDamage] = []
        if parsed := self._manifests.get(member.key):
            archive = BundleMember(parsed, member, self._medium)
            for wrong in await workers.each(lambda batch: self._chunks(archive, batch), archive.batches()):
                found += wrong
        digest = await workers.run(member_digest, self._medium, member)
        expected = self._expected_digest(member)
        if not found and digest != expected:
            what = "its SHA-256 differs" if member.key not in self._manifests else "bytes between chunks are wrong"
            found = [self._damage(member.name, what, member.offset)]
        observer.advance(member.size)
        return found

    def packs(self) -> list[CarriedPack]:
        """Return the carried size and signer of each pack."""
        return [self._pack(PackRef(name, packed.version), packed) for name, packed in self._contents.packs.items()]

    def _pack(self, ref: PackRef, packed: BundledPack) -> CarriedPack:
        pieces = self._bundle.objects.get(f"{ref.name}/{ref.version}/{packed.archive}", ())
        return CarriedPack(ref, packed.archive_size, sum(piece.size for piece in pieces), self._signer(ref))

    def _expected_digest(self, member: Member) -> str:
        """Return the expected digest of a member; for a whole archive, the manifest's."""
        parsed = self._manifests.get(member.key)
        return parsed.archive.digest if parsed and parsed.archive.size == member.size else member.digest

    def _chunks(self, archive: BundleMember, batch: Batch) -> list[BundleDamage]:
        return [
            self._damage(
                archive.member.name,
                f"the chunk of {placement.file.path} at byte {placement.start} is wrong: {wrong.reason}",
                archive.offset(placement.chunk.offset),
            )
            for wrong in archive.wrong(batch)
            for placement in [wrong.placement]
        ]

    def _read_manifests(self) -> Iterator[tuple[str, Manifest]]:
        """Yield (archive key, manifest) of each pack that has a usable copy of its manifest."""
        for name, packed in self._contents.packs.items():
            document = self._document(f"{name}/{packed.version}/{MANIFEST_NAME}", MANIFEST_LIMIT)
            try:
                parsed = manifest.parse(document, PackRef(name, packed.version))
            except ManifestError:
                continue
            yield parsed.archive_key, parsed

    def _signer(self, ref: PackRef) -> str:
        try:
            document = self._document(f"{ref.name}/{ref.version}/{SIGNATURE_NAME}", SIGNATURE_LIMIT)
            return Signature.parse(document).key_id
        except ValueError:
            return ""

    def _document(self, key: str, limit: int) -> bytes:
        """Return the first copy whose digest matches, or empty bytes."""
        try:
            return self._bundle.document(key, limit)
        except ModelsInitError:
            return b""

    def _before(self, offset: int) -> str:
        """Return the name of the member to which the header or padding at `offset` belongs."""
        if offset < bundle_index.CONTENTS_START:
            return bundle_index.CONTENTS_NAME
        ends = ((member.offset + padded(member.size), member.name) for member in self._contents.members)
        return next((name for end, name in ends if offset < end), bundle_index.COPY_NAME)

    def _damage(self, member: str, what: str, offset: int) -> BundleDamage:
        place = self._medium.place(offset)
        return BundleDamage(member, what, str(place.path), place.offset)


def _layout(opened: Bundle) -> Layout:
    """Return the layout of a bundle. Raises `SourceError`: its table has members where `models-pack` writes none."""
    contents = opened.contents
    with suppress(LookupError, ValueError, UsageError):
        layout = layout_of(contents)
        if replace(layout.contents, parts=contents.parts) == contents and layout.text(contents):
            return layout
    raise SourceError(
        f"the table of contents of {opened.files.paths[0]} is not one that `models-pack bundle` writes; ask for a new "
        "bundle"
    )


def _differs(one: bytes, other: bytes) -> int:
    """Return the index at which two texts begin to differ."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
