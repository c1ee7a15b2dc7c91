"""Retention: select the entries that stay on a volume, without I/O."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_init.core.pack_ref import PackRef
from models_init.volume.retention import STAGED_KEPT, YOUNG, VolumeInventory, decide


def ref(version: str, name: str = "nl-nl") -> PackRef:
    return PackRef.make(name, version)


COMMON = ref("1", "common")
VOLUME = VolumeInventory(
    current="c",
    releases={"a": {ref("1"), COMMON}, "b": {ref("2"), COMMON}, "c": {ref("3"), COMMON}},
    unfinished=(),
    in_use=(),
    wanted=frozenset({ref("3"), COMMON}),
    packs=(COMMON, ref("1"), ref("2"), ref("3")),
    manifests=(COMMON, ref("1"), ref("2"), ref("3")),
    staged=(),
    leftovers=(),
)


def going(held: VolumeInventory, keep: int = 1) -> set[tuple[str, str]]:
    return {(verdict.kind, verdict.name) for verdict in decide(held, keep) if not verdict.stays}


def test_previous_release_stays() -> None:
    assert going(VOLUME) == {("release", "a"), ("pack", "nl-nl 1"), ("manifest", "nl-nl 1")}


def test_keep_zero_keeps_only_current() -> None:
    assert {name for kind, name in going(VOLUME, keep=0) if kind == "release"} == {"a", "b"}
    assert ("pack", "nl-nl 2") in going(VOLUME, keep=0)


def test_keep_more_than_installed_keeps_all() -> None:
    assert going(VOLUME, keep=9) == set()


def test_leased_release_stays_with_its_packs() -> None:
    assert going(replace(VOLUME, in_use={"a"})) == set()


def test_leased_pack_stays_without_its_release() -> None:
    """The manifest of the pack stays as well."""
    assert going(replace(VOLUME, packs_in_use={ref("1")})) == {("release", "a")}


@pytest.mark.parametrize(
    ("ages", "keep", "removed"),
    [
        ({"a": STAGED_KEPT + 3, "b": STAGED_KEPT + 2}, 0, {"a"}),
        ({"a": STAGED_KEPT + 3, "b": STAGED_KEPT + 2}, 1, set()),
        ({"b": STAGED_KEPT + 3, "a": STAGED_KEPT + 2}, 0, {"b"}),
        ({"a": STAGED_KEPT - 1, "b": 0.0}, 0, set()),
        ({"a": -60.0, "b": 0.0}, 0, set()),
        ({}, 0, {"a", "b"}),
    ],
    ids=["last", "one more", "order", "a week", "clock set back", "none"],
)
def test_staged_release_stays_for_a_week_or_as_one_of_the_last(
    ages: dict[str, float], keep: int, removed: set[str]
) -> None:
    """The last `keep` + 1 staged releases stay: if nothing is ever activated, the last one is in use."""
    found = going(replace(VOLUME, not_activated=ages), keep)
    assert {name for kind, name in found if kind == "release"} == removed


def test_pack_named_by_environment_stays_without_release() -> None:
    killed = replace(VOLUME, packs=(*VOLUME.packs, ref("4")), wanted={ref("4"), COMMON})
    assert ("pack", "nl-nl 4") not in going(killed)
    assert ("pack", "nl-nl 4") in going(replace(killed, wanted={ref("3"), COMMON}))


def test_staging_stays_if_environment_names_pack_or_nothing() -> None:
    path = Path("/v/staging/nl-nl/4@0")
    staged = replace(VOLUME, staged=((ref("4"), path),))
    assert ("staging", "nl-nl 4") in going(staged)
    assert ("staging", "nl-nl 4") not in going(replace(staged, wanted={ref("4")}))
    assert ("staging", "nl-nl 4") not in going(replace(staged, wanted=None))


def test_young_leftover_stays() -> None:
    leftovers = ((Path("/v/staging/.old"), YOUNG + 1), (Path("/v/staging/.young"), YOUNG - 1))
    assert {name for kind, name in going(replace(VOLUME, leftovers=leftovers)) if kind == "leftover"} == {".old"}


def test_incomplete_release_is_removed() -> None:
    assert ("release", "x") in going(replace(VOLUME, unfinished=("x",)))


def test_releases_are_removed_before_packs() -> None:
    """A killed prune leaves no release without its packs."""
    kinds = [verdict.kind for verdict in decide(VOLUME, 0)]
    assert kinds == sorted(kinds, key=["release", "pack", "manifest", "staging", "leftover"].index)


names = st.sampled_from("abcdef")
versions = st.sampled_from("123456")


@given(
    st.dictionaries(names, st.sets(versions.map(ref), min_size=1), min_size=1),
    st.data(),
    st.sets(versions.map(ref)),
    st.sets(names),
    st.integers(0, 5),
)
def test_needed_items_always_stay(
    releases: dict[str, set[PackRef]], data: st.DataObject, wanted: set[PackRef], in_use: set[str], keep: int
) -> None:
    current = data.draw(st.sampled_from(sorted(releases)))
    packs = sorted({pack for refs in releases.values() for pack in refs} | wanted)
    held = VolumeInventory(current, releases, (), in_use, wanted, packs, packs, (), ())
    verdicts = decide(held, keep)
    staying = {(verdict.kind, verdict.name) for verdict in verdicts if verdict.stays}

    kept = {name for name in releases if ("release", name) in staying}
    assert kept >= {current} | (in_use & set(releases))
    assert len(kept) >= min(len(releases), keep + 1)
    for name in kept:
        assert staying >= {(kind, str(pack)) for pack in releases[name] for kind in ("pack", "manifest")}
    assert len(verdicts) == len(releases) + 2 * len(packs)
