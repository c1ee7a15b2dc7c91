"""Assemble trees in staging, taking each chunk from the nearest place: staging, another pack, or the source."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from models_init.core.errors import ManifestError, NoSpaceError, NotFoundError, VolumeError, WrongBytesError
from models_init.core.units import human_size
from models_init.formats import manifest
from models_init.install.reuse_local import reuse_local
from models_init.runtime.workers import each, unwrap_group
from models_init.transfer.plan import PackSurvey
from models_init.transfer.ranges import portions, spans
from models_init.transfer.reuse import ReuseSearch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from models_init.archive.unpack import ArchiveInstall
    from models_init.formats.manifest import Manifest, Placement, Resolved
    from models_init.install.context import InstallContext
    from models_init.sources.source import Source
    from models_init.transfer.fetcher import Fetcher
    from models_init.transfer.plan import PackPlan, Plan
    from models_init.volume.layout import SeedTree
    from models_init.volume.staging import Staging


async def survey(context: InstallContext, packs: Sequence[Resolved]) -> list[PackSurvey]:
    """Determine which content of each pack is already on the volume.

    Hashes the chunks in staging, in all worker threads. Looks up chunks in other trees, but does not hash them yet. The
    bytes in staging are reported to the observer as restored, so that progress continues from there.
    """
    sound = await each(lambda pack: _sound_chunks(context, pack), packs)
    searches = [ReuseSearch(pack.manifest, found) for pack, found in zip(packs, sound, strict=True)]
    await _search_volume(context, packs, searches)
    return [await _survey_pack(context, pack, search) for pack, search in zip(packs, searches, strict=True)]


class AssembledPack(NamedTuple):
    """A complete tree in staging; `is_whole` returns True if it is still complete, for `Volume.publish`."""

    resolved: Resolved
    is_whole: Callable[[], bool]


async def assemble_pack(context: InstallContext, pack: PackPlan, fetcher: Fetcher) -> AssembledPack:
    """Complete the tree in staging by linking, copying and fetching; return its manifest.

    The manifest is the planned one, or the derived one for an opaque archive. Raises `WrongBytesError`, `ArchiveError`
    and the errors of the source and the volume.
    """
    if pack.is_opaque:
        return AssembledPack(await _archive_install(context, pack.resolved).fetch_and_unpack(fetcher), lambda: True)
    staging = context.staging(pack.resolved)
    await context.workers.run(staging.prepare, pack.missing, pack.copies)
    with unwrap_group():
        async with asyncio.TaskGroup() as group:  # disk reads and network transfers overlap
            group.create_task(context.workers.run(staging.allocate, pack.missing, pack.copies))
            reusing = group.create_task(reuse_local(staging, pack, context.workers))
            fetching = group.create_task(_fetch(pack, fetcher, staging, pack.missing))
    lost, copied = reusing.result()
    fetcher.traffic.copied += copied
    context.observer.expect(sum(placement.chunk.length for placement in lost), str(pack.manifest.ref))
    for fault in (fetching.result(), await _fetch(pack, fetcher, staging, lost)):
        if fault:
            raise fault
    await context.workers.run(staging.complete)
    return AssembledPack(pack.resolved, staging.is_as_prepared)


async def _fetch(
    pack: PackPlan, fetcher: Fetcher, staging: Staging, missing: Sequence[Placement]
) -> WrongBytesError | None:
    """Fetch these chunks; return the error for wrong ones instead of raising it, so that all others are completed."""
    if missing and pack.manifest.is_derived:
        raise VolumeError(
            f"{pack.manifest.ref}: the extracted files are already damaged; check the disk, then run again"
        )
    try:
        await fetcher.fetch(staging, missing)
    except WrongBytesError as fault:
        return fault
    return None


def check_space(plan: Plan, free_bytes: int, free_inodes: int) -> None:
    """Raise `NoSpaceError`, before anything is fetched, if the plan does not fit on the volume."""
    if lack := lack_of_space(plan, free_bytes, free_inodes):
        raise NoSpaceError(lack)


def lack_of_space(plan: Plan, free_bytes: int, free_inodes: int) -> str:
    """Return why the plan does not fit on the volume, and what to do; empty if it fits."""
    lacking = plan.needed_bytes - free_bytes
    if plan.needed_bytes and lacking > 0:
        return (
            f"the volume lacks {human_size(lacking)}: {human_size(plan.needed_bytes)} are needed and "
            f"{human_size(free_bytes)} are free; make room or run with --prune, then run again"
        )
    if plan.disk_inodes > free_inodes:
        return (
            f"the volume lacks {plan.disk_inodes - free_inodes} inodes: {plan.disk_inodes} are needed for files and "
            "directories; make room or run with --prune, then run again"
        )
    return ""


def check_available(plan: Plan, source: Source) -> None:
    """Raise `NotFoundError`, before anything is fetched, if the source was made without chunks that are needed."""
    lacking, reason = [], ""
    for pack in plan.packs:
        key, size = pack.manifest.archive_key, 0
        for span in spans(pack.missing) if source.unavailable_reason(key, 0, pack.manifest.archive.size) else ():
            if why := source.unavailable_reason(key, span.start, span.stop):
                size, reason = size + span.stop - span.start, why
        if pack.archive_bytes_missing and (why := source.unavailable_reason(key, 0, pack.manifest.archive.size)):
            size, reason = pack.archive_bytes_missing, why
        if size:
            lacking.append(f"{human_size(size)} of {pack.manifest.ref}")
    if lacking:
        raise NotFoundError(
            f"neither {source.name} nor this volume has {', '.join(lacking)}: {reason}; install that version first, or "
            "ask for a bundle made with this volume's receipt (--receipt), or for a complete bundle"
        )


async def _sound_chunks(context: InstallContext, pack: Resolved) -> list[Placement]:
    staging = context.staging(pack)
    if not staging.exists():
        return []
    content, observer = pack.manifest, context.observer
    expected, restored = sum(placement.chunk.length for placement in content.placements()), 0
    observer.event("checking_staging", pack=content.pack, version=content.version, bytes=content.size)
    observer.expect(expected, str(content.ref))

    async def check(part: list[Placement]) -> list[Placement]:
        nonlocal restored
        sound = await context.workers.run(staging.sound, part)
        count = sum(placement.chunk.length for placement in sound)
        observer.restore(count, str(content.ref))
        restored += count
        return sound

    found = await each(check, portions(content.placements()))
    observer.expect(restored - expected, str(content.ref))
    return [placement for part in found for placement in part]


async def _search_volume(context: InstallContext, packs: Sequence[Resolved], searches: Sequence[ReuseSearch]) -> None:
    """Search the trees in turn, except the packs' own staging directories, which are already hashed."""
    own = {context.staging(pack).root for pack in packs}
    for tree in context.volume.seed_trees({pack.manifest.pack for pack in packs}):
        pending = [search for search in searches if search.wants_more and tree.root not in own]
        if not pending:
            continue
        if content := await context.workers.run(_manifest_of, tree):
            for search in pending:
                search.look(str(tree.root), content, whole=tree.complete and context.volume.hard_links)


def _manifest_of(tree: SeedTree) -> Manifest | None:
    """Return the manifest of the tree, or None if it is unreadable."""
    try:
        return manifest.parse(tree.manifest.read_bytes(), tree.ref)
    except (OSError, ManifestError):
        return None


def _archive_install(context: InstallContext, pack: Resolved) -> ArchiveInstall:
    from models_init.archive.unpack import ArchiveInstall  # noqa: PLC0415 - few packs are opaque archives

    return ArchiveInstall(context.volume, context.pages, pack)


async def _survey_pack(context: InstallContext, pack: Resolved, search: ReuseSearch) -> PackSurvey:
    if pack.manifest.plain and not pack.manifest.is_derived:
        staged = await context.workers.run(_archive_install(context, pack).staged)
        context.observer.expect(staged.spooled_bytes, str(pack.manifest.ref))
        context.observer.restore(staged.spooled_bytes, str(pack.manifest.ref))
        return PackSurvey(
            pack,
            installed=False,
            staged_bytes=staged.disk_bytes,
            staged_inodes=staged.disk_inodes,
            spooled_bytes=staged.spooled_bytes,
            installed_bytes=staged.installed_bytes,
            linked_bytes=staged.installed_bytes if context.volume.hard_links else 0,
        )
    staged_bytes, staged_inodes = await context.workers.run(context.staging(pack).allocated)
    return PackSurvey(
        pack, installed=False, reuse=search.found(), staged_bytes=staged_bytes, staged_inodes=staged_inodes
    )
