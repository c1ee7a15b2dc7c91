"""Write a bundle: fetch missing archive ranges, verify data of an earlier run, write the table of contents last.

No state is kept besides the content: after a killed run, the next one verifies the chunks in the `.part` files and
fetches the missing ones. An incomplete file has no table of contents, so it cannot be mistaken for a bundle.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING

from models_init.core.errors import SourceError, UnavailableError, UsageError, WrongBytesError
from models_init.formats import bundle_index
from models_init.formats.manifest import MIB
from models_init.publish.bundle.member import BundleMember, member_digest, wrong_chunks
from models_init.publish.bundle.part_files import PartFiles, check_no_other_parts, part_paths
from models_init.sources.bundle import Bundle
from models_init.transfer.ranges import BATCH_SIZE, GAP, joined

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from models_init.formats.bundle_index import Contents, Member
    from models_init.formats.manifest import Manifest
    from models_init.publish.bundle.contents import BundlePlan
    from models_init.runtime.workers import Workers
    from models_init.transfer.context import Context
    from models_init.transfer.fetcher import Fetcher
    from models_init.transfer.ranges import Batch, WrongChunk


@dataclass(frozen=True, slots=True)
class BundleResult:
    """A complete bundle: its files, its table of contents, and the bytes fetched and found in existing files.

    `fresh` is False if the same bundle already existed.
    """

    paths: list[Path]
    contents: Contents
    fresh: bool
    fetched: int = 0
    found: int = 0


async def write_bundle(plan: BundlePlan, out: Path, context: Context) -> BundleResult:
    """Write the bundle to `out`, or to its numbered parts.

    Data that was verified before an error is kept in the `….part` files.

    Raises `UsageError`: a different bundle, or a part of one, exists there.
    Raises `WrongBytesError`: the source returns bytes that do not verify.
    Raises `VolumeError` or a subclass: the disk is full or cannot be written.
    Raises the errors of the source.
    """
    contents = plan.layout.contents
    paths = part_paths(out, contents)
    if existing := _existing_bundle(paths, contents):
        return BundleResult(paths, existing, fresh=False)
    if contents.part_size:
        check_no_other_parts(paths, out)
    with PartFiles(paths, contents.part_sizes()).opened() as files:
        await context.workers.run(_write_small, plan, files)
        fetched, found = await _ArchiveFetch(plan, files, context).run()
        complete = await _with_digests(contents, files, context.workers)
        await context.workers.run(_finish, plan, files, complete)
    return BundleResult(paths, complete, fresh=True, fetched=fetched, found=found)


def _existing_bundle(paths: list[Path], contents: Contents) -> Contents | None:
    """Return the table of contents of an existing bundle that equals this one, or None if there is none.

    Raises `UsageError`: a different bundle, an incomplete one or another file exists there.
    """
    if not paths[0].exists():
        return None
    try:
        opened = Bundle.open(paths[0])
    except UnavailableError:  # it cannot be read
        raise
    except (SourceError, UsageError) as error:
        raise UsageError(
            f"{paths[0]} exists, and is not a complete bundle: choose another --out, or remove it with all its parts"
        ) from error
    opened.files.close()
    if _without_digests(opened.contents) == _without_digests(contents):
        return opened.contents
    raise UsageError(f"{paths[0]} is a different bundle: choose another --out, or remove it with all its parts")


def _without_digests(contents: Contents) -> Contents:
    """Return the table without the digests that are known only at the end; the manifests' digests determine them."""
    members = tuple(
        replace(member, digest=bundle_index.UNKNOWN_DIGEST) if _is_piece(member) else member
        for member in contents.members
    )
    return replace(contents, members=members, parts=(bundle_index.UNKNOWN_DIGEST,) * len(contents.parts))


def _is_piece(member: Member) -> bool:
    return bool(member.key) and member.name not in (member.key, bundle_index.DOCUMENT_COPIES + member.key)


def _write_small(plan: BundlePlan, files: PartFiles) -> None:
    """Write everything except archives and the table of contents."""
    for filler in plan.layout.fillers():
        files.write(filler.offset, filler.data)
    places = {member.name: member.offset for member in plan.layout.contents.members}
    for document in plan.documents:
        files.write(places[document.name], document.data)
    for image in plan.images:
        offset = places[image.name]
        with image.path.open("rb") as file:
            while data := file.read(MIB):
                files.write(offset, data)
                offset += len(data)


class _GrowingMember(BundleMember):
    """A member of a bundle that is being written; the fetcher's destination."""

    def __init__(self, manifest: Manifest, member: Member, files: PartFiles) -> None:
        super().__init__(manifest, member, files)
        self._files = files

    def write(self, batch: Batch, data: memoryview) -> list[WrongChunk]:
        """Write the batch and return the chunks that do not verify; they are overwritten, or the run fails."""
        self._files.write(self.offset(batch.start), data)
        return wrong_chunks(batch, data)


class _ArchiveFetch:
    """Fetch the missing ranges of all archives of a bundle."""

    def __init__(self, plan: BundlePlan, files: PartFiles, context: Context) -> None:
        self._plan = plan
        self._files = files
        self._context = context

    async def run(self) -> tuple[int, int]:
        """Fetch all missing batches; return the number of bytes fetched and the number found in existing files."""
        fetcher = self._fetcher()
        members = {member.name: member for member in self._plan.layout.contents.members}
        archives = [
            _GrowingMember(pack.manifest, members[entry.name], self._files)
            for pack in self._plan.packs
            for entry in pack.archives()
        ]
        missing = [await self._missing(archive) for archive in archives]
        self._context.observer.expect(sum(map(_chunk_bytes, chain.from_iterable(missing))))
        for archive, batches in zip(archives, missing, strict=True):
            await self._fetch_archive(fetcher, archive, batches)
        size = sum(archive.member.size for archive in archives)
        return fetcher.traffic.fetched, size - sum(batch.stop - batch.start for batch in chain.from_iterable(missing))

    def _fetcher(self) -> Fetcher:
        lengths = (placement.chunk.length for pack in self._plan.packs for placement in pack.manifest.placements())
        size = max(BATCH_SIZE, max(lengths, default=0)) + GAP
        return self._context.fetcher(size)

    async def _missing(self, member: _GrowingMember) -> list[Batch]:
        batches = list(member.batches())
        if not self._files.resumed:
            return batches
        if not any(batch.placements for batch in batches) and await self._context.workers.run(member.is_whole):
            return []
        sound = await self._context.workers.each(member.is_sound, batches)
        return [batch for batch, is_sound in zip(batches, sound, strict=True) if not is_sound]

    async def _fetch_archive(self, fetcher: Fetcher, member: _GrowingMember, missing: Sequence[Batch]) -> None:
        """Fetch the missing batches, then verify the whole archive.

        Bytes between chunks are covered only by the archive's digest.

        Raises `WrongBytesError`: the digest differs although all chunks verify.
        """
        workers = self._context.workers
        await fetcher.fetch_spans(member, joined(missing))
        is_whole = await workers.run(member.is_whole)
        if not is_whole and self._files.resumed:  # bytes between chunks were lost, e.g. in a power failure
            await fetcher.fetch_spans(member, joined(member.batches()))
            is_whole = await workers.run(member.is_whole)
        if not is_whole:
            raise WrongBytesError(
                f"{member.manifest.ref}: the archive's SHA-256 differs from the manifest although every chunk is "
                "correct; the publisher must upload the pack again"
            )


def _chunk_bytes(batch: Batch) -> int:
    """Return the size of the chunks of a batch in the archive, in bytes."""
    return sum(placement.chunk.length for placement in batch.placements)


async def _with_digests(contents: Contents, files: PartFiles, workers: Workers) -> Contents:
    """Return the table with the digests of archive pieces and the fingerprints of parts."""

    def with_digest(member: Member) -> Member:
        return replace(member, digest=member_digest(files, member)) if _is_piece(member) else member

    members = await workers.each(with_digest, contents.members)
    complete = replace(contents, members=tuple(members))
    return replace(complete, parts=tuple(bundle_index.fingerprints(complete, files.bounds(), files.read)))


def _finish(plan: BundlePlan, files: PartFiles, complete: Contents) -> None:
    text = plan.layout.text(complete)
    files.write(plan.layout.copy_offset, text)
    files.sync()
    files.write(bundle_index.CONTENTS_START, text)
    files.sync()
    files.publish()
