"""Check a volume independently: this module shares no code with the program."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from models_init.core.pack_ref import PackRef
from tests.lifecycle.sample_packs import tree_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.lifecycle.sample_packs import SamplePacks

_WORKING_NAMES = (".history", ".rolled-back.json")


def active(volume: Path, samples: SamplePacks) -> frozenset[PackRef] | None:
    """Return the packs of `current`, after checking that each is complete; None if `current` is absent."""
    link = volume / "current"
    if not os.path.lexists(link):
        return None
    target = os.readlink(link)
    directory, _, name = target.partition("/")
    assert directory == "releases", f"current leads to {target}"
    assert "/" not in name, f"current leads to {target}"
    return _release(volume, name, samples)


def recorded_active(volume: Path) -> frozenset[PackRef] | None:
    """Return the packs in the record of `current`, complete or not."""
    link = volume / "current"
    return _recorded(volume, os.path.basename(os.readlink(link))) if os.path.lexists(link) else None


def assert_public_is_complete(volume: Path, samples: SamplePacks) -> None:
    """Check that each release, pack and manifest with a public name is complete."""
    for name in _names(volume / "releases"):
        if name not in _WORKING_NAMES:
            assert not name.startswith("."), f"{name} lies among the releases"
    for ref in public_packs(volume):
        assert_pack_is_complete(volume, ref, samples)
    for ref in _manifests(volume):
        _assert_manifest(volume, ref, samples)


def assert_pack_is_complete(volume: Path, ref: PackRef, samples: SamplePacks) -> None:
    """Check that a pack and its manifest are as published, including modes."""
    found = tree_of(volume / "packs" / ref.name / ref.version)
    wrong = differences(found, samples.trees[ref])
    assert not wrong, f"{ref}: {wrong}"
    _assert_manifest(volume, ref, samples)


def differences(found: Mapping[str, Any], expected: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return the found and the expected value of each difference."""
    both = {name: (found.get(name), expected.get(name)) for name in found.keys() | expected.keys()}
    return {name: pair for name, pair in both.items() if pair[0] != pair[1]}


def public_packs(volume: Path) -> list[PackRef]:
    """Return the packs that have a public name."""
    return [PackRef(name, version) for name in _names(volume / "packs") for version in _names(volume / "packs" / name)]


def releases(volume: Path) -> list[str]:
    """Return the releases that have a public name."""
    return [name for name in _names(volume / "releases") if not name.startswith(".")]


def release_of(volume: Path, refs: frozenset[PackRef]) -> str:
    """Return the id of the release that consists of these packs."""
    (name,) = (name for name in releases(volume) if _recorded(volume, name) == refs)
    return name


def public_state(volume: Path) -> dict[str, Any]:
    """Return the state that must be the same with and without interruption: not times, history and leftovers."""
    state: dict[str, Any] = {"current": os.readlink(volume / "current") if (volume / "current").is_symlink() else None}
    for part in ("packs", "manifests", "releases", "staging"):
        for path, entry in tree_of(volume / part).items():
            name = f"{part}/{path}"
            if name.startswith("staging/.") or name == "releases/.history" or _is_empty_name(volume / name, part):
                continue
            state[name] = _timeless(volume / name) if path.endswith(("release.json", ".rolled-back.json")) else entry
    return state


def leftovers(volume: Path) -> list[str]:
    """Return the temporary names in staging."""
    return [name for name in _names(volume / "staging") if name.startswith(".")]


def _recorded(volume: Path, name: str) -> frozenset[PackRef]:
    record = json.loads((volume / "releases" / name / "release.json").read_bytes())
    assert record["release"] == name, f"{name} is recorded as {record['release']}"
    return frozenset(PackRef(pack, described["version"]) for pack, described in record["packs"].items())


def _release(volume: Path, name: str, samples: SamplePacks) -> frozenset[PackRef]:
    directory, refs = volume / "releases" / name, _recorded(volume, name)
    assert set(_names(directory)) == {"release.json", *(ref.name for ref in refs)}, f"{name} holds {_names(directory)}"
    for ref in refs:
        leads = os.readlink(directory / ref.name)
        assert leads == f"../../packs/{ref.name}/{ref.version}", f"{name}/{ref.name} leads to {leads}"
        assert_pack_is_complete(volume, ref, samples)
    return refs


def _assert_manifest(volume: Path, ref: PackRef, samples: SamplePacks) -> None:
    found = (volume / "manifests" / ref.name / f"{ref.version}.json").read_bytes()
    assert found == samples.document(ref), f"the manifest of {ref} is not what was published"


def _is_empty_name(path: Path, part: str) -> bool:
    """Return True for the empty directory of a pack's name."""
    return part != "releases" and path.parent.name == part and path.is_dir() and not any(path.iterdir())


def _timeless(path: Path) -> Any:
    content = json.loads(path.read_bytes())
    return {name: value for name, value in content.items() if name != "created"}


def _manifests(volume: Path) -> Iterator[PackRef]:
    for name in _names(volume / "manifests"):
        for file in _names(volume / "manifests" / name):
            assert file.endswith(".json"), f"manifests/{name}/{file}"
            yield PackRef(name, file.removesuffix(".json"))


def _names(directory: Path) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except FileNotFoundError:
        return []
