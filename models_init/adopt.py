"""Take over into staging what the volume holds already, once its bytes are hashed."""

from __future__ import annotations

from collections import Counter
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from models_init import chunks
from models_init.manifest import placements
from models_init.plan import portions
from models_init.reuse import Copy

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from models_init.manifest import Placement
    from models_init.plan import PackPlan
    from models_init.reuse import Link
    from models_init.staging import Staging
    from models_init.workers import Workers

T = TypeVar("T")

_LINKS, _COPIES = 500, 16  # what one worker does in one go


class Adopted(NamedTuple):
    """The chunks that turned out not to be there, in archive order, and the plain bytes that were copied."""

    lost: list[Placement]
    copied: int


async def adopt(staging: Staging, pack: PackPlan, workers: Workers) -> Adopted:
    """Link and copy what the plan says. Files that were verified but cannot be linked here are copied."""
    unlinked = await _link(staging, pack.links, workers)
    copies = [*pack.copies, *(copy for link in unlinked for copy in _as_copies(link))]
    parts = await workers.each(staging.copy, _groups(copies, _COPIES))
    lost = sorted((placement for part in parts for placement in part), key=lambda placement: placement.chunk.offset)
    tried = sum(copy.placement.chunk.size for copy in copies)
    return Adopted(lost, tried - sum(placement.chunk.size for placement in lost))


async def _link(staging: Staging, links: Sequence[Link], workers: Workers) -> list[Link]:
    """Link what is sound; return the others."""
    sound = await _sound(links, workers)
    unsound = [link for link in links if (link.root, link.origin.path) not in sound]
    good = [link for link in links if (link.root, link.origin.path) in sound]
    refused = await workers.each(
        lambda group: [link for link in group if not staging.link(link)], _groups(good, _LINKS)
    )
    return unsound + [link for group in refused for link in group]


async def _sound(links: Sequence[Link], workers: Workers) -> set[tuple[str, str]]:
    """The origins (tree and path) whose every chunk hashes right."""
    whole = set()
    for root, group in groupby(links, key=lambda link: link.root):
        origins = {link.origin.path: link.origin for link in group}
        wanted = portions(placement for origin in origins.values() for placement in placements(origin))
        found = await workers.each(partial(chunks.sound, root), wanted)
        counts = Counter(placement.file.path for part in found for placement in part)
        whole |= {(root, path) for path, origin in origins.items() if counts[path] == len(origin.chunks)}
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
