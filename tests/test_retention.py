"""What stays on a volume and what goes is a matter of facts, decided without touching anything."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from models_init.core.pack_ref import PackRef
from models_init.volume.retention import YOUNG, VolumeInventory, decide


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


def test_the_release_before_the_current_stays() -> None:
    """By default one release is kept for rollback, with its packs and their manifests."""
    assert going(VOLUME) == {("release", "a"), ("pack", "nl-nl 1"), ("manifest", "nl-nl 1")}


def test_nothing_is_kept_for_rollback_when_none_is_asked_for() -> None:
    """With 0 releases to keep, only the current one and its packs stay."""
    assert {name for kind, name in going(VOLUME, keep=0) if kind == "release"} == {"a", "b"}
    assert ("pack", "nl-nl 2") in going(VOLUME, keep=0)


def test_all_stay_when_more_are_asked_for_than_there_are() -> None:
    """A number larger than the releases there are keeps all."""
    assert going(VOLUME, keep=9) == set()


def test_a_held_release_stays_with_its_packs() -> None:
    """A reader's lease keeps a release that is too old for rollback."""
    assert going(replace(VOLUME, in_use={"a"})) == set()


def test_a_pack_that_the_environment_names_stays_without_a_release() -> None:
    """An install that was killed before the switch has not fetched its packs in vain."""
    killed = replace(VOLUME, packs=(*VOLUME.packs, ref("4")), wanted={ref("4"), COMMON})
    assert ("pack", "nl-nl 4") not in going(killed)
    assert ("pack", "nl-nl 4") in going(replace(killed, wanted={ref("3"), COMMON}))


def test_staging_stays_if_it_is_wanted() -> None:
    """What the environment wants and is not installed stays; where it names nothing, nobody can tell."""
    path = Path("/v/staging/nl-nl/4@0")
    staged = replace(VOLUME, staged=((ref("4"), path),))
    assert ("staging", "nl-nl 4") in going(staged)
    assert ("staging", "nl-nl 4") not in going(replace(staged, wanted={ref("4")}))
    assert ("staging", "nl-nl 4") not in going(replace(staged, wanted=None))


def test_debris_stays_while_it_is_young() -> None:
    """Where locks do not hold, a temporary name of the last minute may be in use."""
    leftovers = ((Path("/v/staging/.old"), YOUNG + 1), (Path("/v/staging/.young"), YOUNG - 1))
    assert {name for kind, name in going(replace(VOLUME, leftovers=leftovers)) if kind == "leftover"} == {".old"}


def test_an_unfinished_release_goes() -> None:
    """A release whose pack is gone can never be activated."""
    assert ("release", "x") in going(replace(VOLUME, unfinished=("x",)))


def test_releases_go_before_the_packs_that_they_link_to() -> None:
    """A prune that is killed leaves no release whose pack is gone."""
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
def test_what_is_needed_never_goes(
    releases: dict[str, set[PackRef]], data: st.DataObject, wanted: set[PackRef], in_use: set[str], keep: int
) -> None:
    """Current, held and as many others as asked for stay, each with all its packs and their manifests."""
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
