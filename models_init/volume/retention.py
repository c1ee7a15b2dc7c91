"""Decide what may be removed from a volume, with reasons; performs no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from models_init.core.pack_ref import PackRef

YOUNG = 60.0
"""Seconds for which a temporary name is kept: without working locks, another run may be using it."""


@dataclass(frozen=True, slots=True)
class VolumeInventory:
    """The content of a volume.

    `releases` maps the id of each complete release to its packs, in rollback order; `rolled_back_from` is the release
    that the operator rolled back from; `unfinished` are incomplete releases; `in_use` are releases held by readers;
    `wanted` are the packs that the environment names, None if it names none; `leftovers` are temporary files with their
    ages in seconds.
    """

    current: str | None
    releases: Mapping[str, Collection[PackRef]]
    unfinished: Sequence[str]
    in_use: Collection[str]
    wanted: Collection[PackRef] | None
    packs: Sequence[PackRef]
    manifests: Sequence[PackRef]
    staged: Sequence[tuple[PackRef, Path]]
    leftovers: Sequence[tuple[Path, float]]
    rolled_back_from: str | None = None


@dataclass(frozen=True, slots=True)
class RetentionDecision:
    """The decision about one item: `kind` is release, pack, manifest, staging or debris; `name` is for messages."""

    kind: str
    name: str
    stays: bool
    why: str
    subject: str | PackRef | Path


def decide(held: VolumeInventory, keep: int) -> list[RetentionDecision]:
    """Decide about every item, in the order in which items must be removed.

    `keep` is the number of releases to keep for rollback.
    """
    releases = list(_releases(held, keep))
    kept = {verdict.name for verdict in releases if verdict.stays}
    packs = list(_packs(held, kept))
    staged = list(_staged(held))
    useful = {verdict.name for verdict in packs + staged if verdict.stays}
    manifests = [
        RetentionDecision("manifest", str(ref), str(ref) in useful, _manifest_reason(str(ref) in useful), ref)
        for ref in held.manifests
    ]
    return [*releases, *packs, *manifests, *staged, *_leftovers(held)]


def _releases(held: VolumeInventory, keep: int) -> Iterator[RetentionDecision]:
    order = list(held.releases)
    at = order.index(held.current) if held.current in order else len(order)
    for_rollback = set([*order[at + 1 :], *order[:at]][-keep:] if keep else ())
    for name in held.releases:
        if name == held.current:
            yield RetentionDecision("release", name, True, "is current", name)
        elif name in held.in_use:
            yield RetentionDecision("release", name, True, "is held by a reader", name)
        elif name == held.rolled_back_from:
            yield RetentionDecision("release", name, True, "was rolled back, and can be gone forward to", name)
        elif name in for_rollback:
            yield RetentionDecision("release", name, True, "is kept for rollback", name)
        else:
            yield RetentionDecision("release", name, False, f"is older than the {keep} kept for rollback", name)
    for name in held.unfinished:
        in_use = name in held.in_use
        yield RetentionDecision(
            "release", name, in_use, "is held by a reader" if in_use else "lacks a pack or its record", name
        )


def _packs(held: VolumeInventory, kept: Collection[str]) -> Iterator[RetentionDecision]:
    users: dict[PackRef, str] = {}
    for name, refs in held.releases.items():
        if name in kept:
            users |= dict.fromkeys(refs, name)
    for ref in held.packs:
        if ref in users:
            yield RetentionDecision("pack", str(ref), True, f"belongs to release {users[ref]}", ref)
        elif held.wanted and ref in held.wanted:
            yield RetentionDecision("pack", str(ref), True, "is wanted by the environment", ref)
        else:
            yield RetentionDecision("pack", str(ref), False, "belongs to no release that is kept", ref)


def _staged(held: VolumeInventory) -> Iterator[RetentionDecision]:
    for ref, path in held.staged:
        if held.wanted is None:
            yield RetentionDecision(
                "staging", str(ref), True, "the environment does not say whether it is wanted", path
            )
        elif ref in held.wanted and ref not in held.packs:
            yield RetentionDecision("staging", str(ref), True, "is wanted by the environment", path)
        else:
            yield RetentionDecision("staging", str(ref), False, "is not wanted by the environment", path)


def _leftovers(held: VolumeInventory) -> Iterator[RetentionDecision]:
    for path, age in held.leftovers:
        young = age < YOUNG
        why = "is so young that another run may be using it" if young else "was left by a run that was killed"
        yield RetentionDecision("debris", path.name, young, why, path)


def _manifest_reason(useful: bool) -> str:  # noqa: FBT001 - the reason expresses the flag in words
    return "belongs to a pack that stays" if useful else "belongs to no pack that stays"
