"""Decide what may be removed from a volume, with reasons; performs no I/O."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from models_init.core.pack_ref import PackRef

YOUNG = 60.0
"""Seconds for which a temporary name is kept: without working locks, another run may be using it."""

STAGED_KEPT = 7 * 24 * 3600.0
"""Seconds for which a staged release is kept. The last ones, one more than are kept for rollback, are kept longer."""

ROLLED_BACK = "was rolled back; kept so that --activate can return to it"


@dataclass(frozen=True, slots=True)
class VolumeInventory:
    """The content of a volume.

    `releases` maps the id of each complete release to its packs, in rollback order; `rolled_back_from` is the release
    that the operator rolled back from; `unfinished` are incomplete releases; `in_use` are releases, and `packs_in_use`
    packs, on which readers hold a lease; `wanted` are the packs that the environment names, or None if it names none;
    `leftovers` are temporary files with their ages in seconds. `not_activated` maps the releases that were staged and
    not activated since to the seconds since staging, the last staged one at the end.
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
    packs_in_use: Collection[PackRef] = ()
    not_activated: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RetentionDecision:
    """The decision about one item: `kind` is release, pack, manifest, staging or leftover; `name` is for messages."""

    kind: str
    name: str
    stays: bool
    why: str
    subject: str | PackRef | Path


def decide(inventory: VolumeInventory, keep: int) -> list[RetentionDecision]:
    """Return the decision about each item, in the order in which items must be removed.

    `keep` is the number of releases to keep for rollback.
    """
    releases = list(_releases(inventory, keep))
    kept = {verdict.name for verdict in releases if verdict.stays}
    packs = list(_packs(inventory, kept))
    staged = list(_staged(inventory))
    useful = {verdict.name for verdict in packs + staged if verdict.stays}
    manifests = [
        RetentionDecision("manifest", str(ref), str(ref) in useful, _manifest_reason(str(ref) in useful), ref)
        for ref in inventory.manifests
    ]
    return [*releases, *packs, *manifests, *staged, *_leftovers(inventory)]


def _releases(inventory: VolumeInventory, keep: int) -> Iterator[RetentionDecision]:
    order = list(inventory.releases)
    at = order.index(inventory.current) if inventory.current in order else len(order)
    for_rollback = set([*order[at + 1 :], *order[:at]][-keep:] if keep else ())
    staged = set(_kept_staged(inventory, keep))
    for name in inventory.releases:
        if name == inventory.current:
            yield RetentionDecision("release", name, True, "is current", name)
        elif name in inventory.in_use:
            yield RetentionDecision("release", name, True, "is in use by a reader", name)
        elif name in staged:
            yield RetentionDecision("release", name, True, "was staged and is not activated yet", name)
        elif name == inventory.rolled_back_from:
            yield RetentionDecision("release", name, True, ROLLED_BACK, name)
        elif name in for_rollback:
            yield RetentionDecision("release", name, True, "is kept for rollback", name)
        else:
            yield RetentionDecision("release", name, False, _not_kept_reason(keep), name)
    for name in inventory.unfinished:
        in_use = name in inventory.in_use
        yield RetentionDecision(
            "release", name, in_use, "is in use by a reader" if in_use else "has no record or lacks a pack", name
        )


def _kept_staged(inventory: VolumeInventory, keep: int) -> Iterator[str]:
    """Yield the staged releases to keep.

    If readers use packs instead of `current`, no release is ever activated, and the target of a rollback is the
    second-to-last staged release.
    """
    yield from [*inventory.not_activated][-keep - 1 :]
    yield from (name for name, age in inventory.not_activated.items() if age < STAGED_KEPT)


def _packs(inventory: VolumeInventory, kept: Collection[str]) -> Iterator[RetentionDecision]:
    users: dict[PackRef, str] = {}
    for name, refs in inventory.releases.items():
        if name in kept:
            users |= dict.fromkeys(refs, name)
    for ref in inventory.packs:
        if ref in users:
            yield RetentionDecision("pack", str(ref), True, f"belongs to release {users[ref]}", ref)
        elif ref in inventory.packs_in_use:
            yield RetentionDecision("pack", str(ref), True, "is in use by a reader", ref)
        elif inventory.wanted and ref in inventory.wanted:
            yield RetentionDecision("pack", str(ref), True, "is named by the environment", ref)
        else:
            yield RetentionDecision("pack", str(ref), False, "belongs to no kept release", ref)


def _staged(inventory: VolumeInventory) -> Iterator[RetentionDecision]:
    for ref, path in inventory.staged:
        if inventory.wanted is None:
            yield RetentionDecision("staging", str(ref), True, "the environment names no packs", path)
        elif ref in inventory.wanted and ref not in inventory.packs:
            yield RetentionDecision("staging", str(ref), True, "is named by the environment", path)
        else:
            yield RetentionDecision("staging", str(ref), False, "is not named by the environment", path)


def _leftovers(inventory: VolumeInventory) -> Iterator[RetentionDecision]:
    for path, age in inventory.leftovers:
        young = age < YOUNG
        why = "is younger than a minute: another run may be using it" if young else "was left by a killed run"
        yield RetentionDecision("leftover", path.name, young, why, path)


def _not_kept_reason(keep: int) -> str:
    kept = f"not among the {keep} kept for rollback" if keep else "--keep 0 keeps none for rollback"
    return f"is not current, and {kept}"


def _manifest_reason(useful: bool) -> str:  # noqa: FBT001 - the reason expresses the flag in words
    return "belongs to a kept pack" if useful else "belongs to no kept pack"
