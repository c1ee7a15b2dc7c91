"""Link and copy chunks from the volume to staging after hashing their bytes."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from models_init.formats.manifest import placements
from models_init.fs.os_errors import volume_errors
from models_init.transfer import chunk_io
from models_init.transfer.ranges import portions
from models_init.transfer.reuse import Copy

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from models_init.formats.manifest import Placement
    from models_init.runtime.workers import Workers
    from models_init.transfer.plan import PackPlan
    from models_init.transfer.reuse import Link
    from models_init.volume.staging import Staging

T = TypeVar("T")

_LINKS, _COPIES = 500, 16  # links and copies that a worker handles in one call


class ReuseResult(NamedTuple):
    """The chunks that did not verify, in archive order, and the number of decompressed bytes that were copied."""

    lost: list[Placement]
    copied: int


async def reuse_local(staging: Staging, pack: PackPlan, workers: Workers) -> ReuseResult:
    """Link and copy as planned. Files whose link fails are copied chunk by chunk."""
    unlinked = await _link(staging, pack.links, workers)
    copies = [*pack.copies, *(copy for link in unlinked for copy in _as_copies(link))]
    parts = await workers.each(staging.copy, _groups(copies, _COPIES))
    lost = sorted((placement for part in parts for placement in part), key=lambda placement: placement.chunk.offset)
    tried = sum(copy.placement.chunk.size for copy in copies)
    return ReuseResult(lost, tried - sum(placement.chunk.size for placement in lost))


async def _link(staging: Staging, links: Sequence[Link], workers: Workers) -> list[Link]:
    """Link the files that verify; return the links that were not made."""
    sound = await _sound(links, workers)
    unsound = [link for link in links if _key(link) not in sound]
    good = [link for link in links if _key(link) in sound]
    refused = await workers.each(
        lambda group: [link for link in group if not staging.link(link)], _groups(good, _LINKS)
    )
    return unsound + [link for group in refused for link in group]


_Key = tuple[str, str, tuple[str, ...]]


def _key(link: Link) -> _Key:
    """Return the key of a check: a file of a tree, with the digests of the wanted chunks.

    The digests are those of the wanted manifest. The tree's own manifest is not trusted: nothing else confirms the
    digest that it states for a file of several chunks.
    """
    return link.root, link.origin.path, tuple(chunk.digest for chunk in link.file.chunks)


async def _sound(links: Sequence[Link], workers: Workers) -> set[_Key]:
    """Return the links whose source file verifies chunk by chunk."""
    whole = set()
    for root, group in groupby(links, key=lambda link: link.root):
        sought = {_key(link): replace(link.file, path=link.origin.path) for link in group}
        wanted = portions(placement for file in sought.values() for placement in placements(file))
        with volume_errors(root, reading=True):
            found = await workers.each(partial(chunk_io.sound, root), wanted)
        counts = Counter(id(placement.file) for part in found for placement in part)
        whole |= {key for key, file in sought.items() if counts[id(file)] == len(file.chunks)}
    return whole


def _as_copies(link: Link) -> Iterator[Copy]:
    for placement in placements(link.file):
        yield Copy(placement, link.root, link.origin.path, placement.start)


def _groups(items: Iterable[T], size: int) -> Iterator[list[T]]:
    group: list[T] = []
    for item in items:
        group.append(item)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group
