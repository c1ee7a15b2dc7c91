"""Whether a bundle is whole, byte for byte: tables, members, chunks, headers, padding; every damage has its place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from models_init.core.errors import ManifestError
from models_init.core.pack_ref import PackRef
from models_init.core.workers import each
from models_init.formats import bundle_index, manifest
from models_init.formats.manifest import MANIFEST_NAME, SIGNATURE_NAME
from models_init.formats.minisign import Signature
from models_init.publish.bundle.layout import layout_of
from models_init.publish.bundle.member import BundleMember, digest_of
from models_init.publish.pack.tar_stream import padded
from models_init.sources.bundle import Bundle

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from models_init.core.events import Observer
    from models_init.core.workers import Workers
    from models_init.formats.bundle_index import BundledPack, Contents, Member
    from models_init.formats.manifest import Manifest
    from models_init.transfer.ranges import Batch


@dataclass(frozen=True, slots=True)
class BundleDamage:
    """What is wrong, in which member, and where that lies: the file, and the byte in it."""

    member: str
    what: str
    path: str
    offset: int


@dataclass(frozen=True, slots=True)
class CarriedPack:
    """A pack of the bundle: bytes of its archive that are there, and the id of the key that signed it, if one did."""

    ref: PackRef
    archive_size: int
    carried: int
    signed_by: str


@dataclass(frozen=True, slots=True)
class BundleInspection:
    """What is in the bundle, and what is wrong with it."""

    contents: Contents
    files: tuple[Path, ...]
    packs: tuple[CarriedPack, ...]
    damages: tuple[BundleDamage, ...]


async def inspect(path: Path, workers: Workers, observer: Observer) -> BundleInspection:
    """Read the whole bundle. Raises as `Bundle.open`; watch the bytes of members."""
    opened = await workers.run(Bundle.open, path)
    try:
        judge = _BundleInspector(opened)
        observer.expect(sum(member.size for member in opened.contents.members))
        damages = [*await workers.run(judge.frame)]
        for found in await each(lambda member: judge.member(member, workers, observer), opened.contents.members):
            damages += found
        packs = await workers.run(judge.packs)
    finally:
        opened.medium.close()
    damages.sort(key=lambda damage: (damage.path, damage.offset))
    return BundleInspection(opened.contents, tuple(opened.medium.paths), tuple(packs), tuple(damages))


class _BundleInspector:
    """Looks at one bundle."""

    def __init__(self, opened: Bundle) -> None:
        self._bundle = opened
        self._contents = opened.contents
        self._medium = opened.medium
        self._layout = layout_of(opened.contents)
        self._manifests: dict[str, Manifest] = dict(self._read_manifests())

    def frame(self) -> list[BundleDamage]:
        """Everything that is no member: the two tables, headers, padding."""
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
                what = "tar header or padding is not what it should be; the content is not touched by that"
                found.append(self._damage(self._before(at), what, at))
        return found

    async def member(self, member: Member, workers: Workers, observer: Observer) -> list[BundleDamage]:
        """One member: its digest, and for an archive each chunk."""
        found: list[BundleDamage] = []
        if parsed := self._manifests.get(member.key):
            hold = BundleMember(parsed, member, self._medium)
            for wrong in await workers.each(lambda batch: self._chunks(hold, batch), hold.batches()):
                found += wrong
        digest = await workers.run(digest_of, self._medium, member)
        due = self._due(member)
        if not found and digest != due:
            what = "its SHA-256 differs" if member.key not in self._manifests else "bytes between chunks are wrong"
            found = [self._damage(member.name, what, member.offset)]
        observer.advance(member.size)
        return found

    def packs(self) -> list[CarriedPack]:
        """What is carried of each pack."""
        return [self._pack(PackRef(name, packed.version), packed) for name, packed in self._contents.packs.items()]

    def _pack(self, ref: PackRef, packed: BundledPack) -> CarriedPack:
        pieces = self._bundle.objects.get(f"{ref.name}/{ref.version}/{packed.archive}", ())
        return CarriedPack(ref, packed.archive_size, sum(piece.size for piece in pieces), self._signer(ref))

    def _due(self, member: Member) -> str:
        """The digest that a member ought to have: of a whole archive, the manifest has the word."""
        parsed = self._manifests.get(member.key)
        return parsed.archive.digest if parsed and parsed.archive.size == member.size else member.digest

    def _chunks(self, hold: BundleMember, batch: Batch) -> list[BundleDamage]:
        return [
            self._damage(
                hold.member.name,
                f"the chunk of {placement.file.path} at byte {placement.start} is wrong: {wrong.reason}",
                hold.offset(placement.chunk.offset),
            )
            for wrong in hold.wrong(batch)
            for placement in [wrong.placement]
        ]

    def _read_manifests(self) -> Iterator[tuple[str, Manifest]]:
        """The manifest of each archive, by the archive's key; none where no copy of it can be used."""
        for name, packed in self._contents.packs.items():
            document = self._document(f"{name}/{packed.version}/{MANIFEST_NAME}")
            try:
                parsed = manifest.parse(document, PackRef(name, packed.version))
            except ManifestError:
                continue
            yield parsed.archive_key, parsed

    def _signer(self, ref: PackRef) -> str:
        try:
            return Signature.parse(self._document(f"{ref.name}/{ref.version}/{SIGNATURE_NAME}")).key_id
        except ValueError:
            return ""

    def _document(self, key: str) -> bytes:
        """The first copy whose digest is right, empty where there is none."""
        for member in self._bundle.objects.get(key, ()):
            if digest_of(self._medium, member) == member.digest:
                return self._medium.read(member.offset, member.size)
        return b""

    def _before(self, offset: int) -> str:
        """The member that a header or a padding at `offset` belongs to."""
        if offset < bundle_index.CONTENTS_START:
            return bundle_index.CONTENTS_NAME
        ends = ((member.offset + padded(member.size), member.name) for member in self._contents.members)
        return next((name for end, name in ends if offset < end), bundle_index.COPY_NAME)

    def _damage(self, member: str, what: str, offset: int) -> BundleDamage:
        place = self._medium.place(offset)
        return BundleDamage(member, what, str(place.path), place.offset)


def _differs(one: bytes, other: bytes) -> int:
    """Where two texts begin to differ."""
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
