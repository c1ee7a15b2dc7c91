"""`--stage`: install without activating; a later install uses the staged release, and a prune keeps it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from models_init.volume.activation import Switch
from models_init.volume.history import STAGED
from models_init.volume.layout import Volume
from tests import license_files
from tests.kubernetes.pods import copy_volume, names_of
from tests.site import NEWER, NOWHERE, Site

if TYPE_CHECKING:
    from pathlib import Path

    from tests.site import Done, Packs

NOT_WRITABLE, NO_SUCH_RELEASE = 43, 44


@pytest.fixture(scope="module")
def prepared(packs: Packs, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install a set, then stage a newer one."""
    site = Site(tmp_path_factory.mktemp("staged") / "models", packs.environment)
    assert site.run().code == 0
    done = site.run("--stage", "--json", REALTIME_LANGUAGE_VERSION=NEWER.version)
    assert (done.code, done.json["activated"]) == (0, False)
    return site.volume


@pytest.fixture
def staged(site: Site, prepared: Path) -> Site:
    """A site where the newer set is staged; the environment still names the other one, which is current."""
    copy_volume(prepared, site.volume)
    return site


def newer(site: Site, *arguments: str) -> Done:
    """Run the program with an environment that names the newer set, and without a source."""
    return site.run(*arguments, REALTIME_LANGUAGE_VERSION=NEWER.version, MODELS_URL=NOWHERE)


def versions(site: Site) -> list[str]:
    return names_of(site.volume / "packs/nl-nl")


def test_stage_does_not_change_current(staged: Site, packs: Packs) -> None:
    assert os.readlink(staged.volume / "current/nl-nl") == "../../packs/nl-nl/2026.04"
    assert versions(staged) == ["2026.04", "2026.07"]
    assert packs.differences(staged, *(ref for ref in packs.trees if ref != NEWER)) == []


def test_status_shows_which_release_is_staged(staged: Site) -> None:
    shown = staged.run("--status").out
    old, new = _release(staged, "2026.04"), _release(staged, "2026.07")
    assert f"\n*       {old} " in shown
    assert f"\nstaged  {new} " in shown
    releases = staged.run("--status", "--json").json["releases"]
    assert {item["release"]: item["staged"] for item in releases} == {old: False, new: True}


def test_stage_on_an_empty_volume_activates_nothing(site: Site) -> None:
    done = site.run("--stage")
    assert done.code == 0
    assert done.steps[-1] == "staged"
    assert done.out.endswith("run without an action to activate it\n")
    assert not (site.volume / "current").exists()
    assert site.run("--verify").code == NO_SUCH_RELEASE


def test_install_of_a_staged_set_transfers_nothing(staged: Site) -> None:
    """The install needs no network and no token; the release is the staged one."""
    release = newer(staged, "--stage", "--json").json["release"]
    done = newer(staged, "--json")
    assert (done.code, done.json["bytes_fetched"], done.json["activated"]) == (0, 0, True)
    assert done.json["release"] == release


def test_staged_release_can_be_verified_and_activated_by_name(staged: Site) -> None:
    release = newer(staged, "--stage", "--json").json["release"]
    assert staged.run("--verify", release).code == 0
    assert staged.run("--activate", release).code == 0
    assert os.readlink(staged.volume / "current") == f"releases/{release}"


def test_stage_with_nothing_to_do_changes_nothing(staged: Site) -> None:
    """The run opens no socket, needs no token, and writes no log to the volume."""
    before = {path: path.lstat().st_mtime_ns for path in staged.volume.rglob("*")}
    done = newer(staged, "--stage")
    assert done.out == f"nothing to do: common 2026.04, nl-nl 2026.07 are installed on {staged.volume}\n"
    assert (done.code, done.err) == (0, "")
    assert {path: path.lstat().st_mtime_ns for path in staged.volume.rglob("*")} == before


def test_stage_fetches_only_the_difference_to_installed_versions(site: Site) -> None:
    whole = site.run("--json").json["bytes_fetched"]
    done = site.run("--stage", "--json", REALTIME_LANGUAGE_VERSION=NEWER.version)
    assert 0 < done.json["bytes_fetched"] < whole / 4


def test_stage_checks_licenses_as_an_install_does(site: Site, tmp_path: Path) -> None:
    license_file = tmp_path / "license.json"
    license_file.write_bytes(license_files.document(languages=["en-us"]))
    refused = site.run("--stage", PLATFORM_LICENSE_FILE=str(license_file))
    assert refused.code == 23
    assert not site.volume.exists()


# -- rollback


def test_rollback_ignores_a_set_that_was_only_staged(staged: Site) -> None:
    refused = staged.run("--rollback")
    assert refused.code == NO_SUCH_RELEASE
    assert refused.fault.startswith("there is no release to roll back to")
    assert newer(staged).code == 0
    assert staged.run("--rollback").code == 0
    assert os.readlink(staged.volume / "current/nl-nl") == "../../packs/nl-nl/2026.04"


# -- retention


@pytest.mark.parametrize("keep", ["0", "1"])
def test_prune_keeps_a_staged_set(staged: Site, keep: str) -> None:
    """The environment of the prune still names the set in use."""
    report = staged.run("--prune", "--keep", keep, "--json").json
    (item,) = (item for item in report["items"] if item["why"] == "was staged and is not activated yet")
    assert item["kind"] == "release"
    assert versions(staged) == ["2026.04", "2026.07"]
    assert newer(staged).code == 0


def test_activated_set_is_an_ordinary_release_again(staged: Site) -> None:
    assert newer(staged).code == 0
    assert newer(staged, "--prune", "--keep", "0").code == 0
    assert versions(staged) == ["2026.07"]


def test_old_staged_sets_are_pruned_if_nothing_is_ever_activated(site: Site) -> None:
    """`--keep 0` keeps the last one; all are older than the week for which they are protected."""
    for version in ("2026.04", "2026.07"):
        assert site.run("--stage", REALTIME_LANGUAGE_VERSION=version).code == 0
    history = site.volume / "releases/.history"
    history.write_text(history.read_text().replace("2026-", "2025-"))
    assert newer(site, "--prune").code == 0
    assert versions(site) == ["2026.04", "2026.07"]
    assert newer(site, "--prune", "--keep", "0").code == 0
    assert versions(site) == ["2026.07"]


def test_set_that_is_staged_again_counts_as_the_last_one(site: Site) -> None:
    """A rollback runs `--stage` of the older set again, without anything to install."""
    for version in ("2026.04", "2026.07", "2026.04", "2026.04"):
        assert site.run("--stage", REALTIME_LANGUAGE_VERSION=version).code == 0
    old, new = _release(site, "2026.04"), _release(site, "2026.07")
    assert list(Switch(Volume(site.volume)).staged()) == [new, old]
    assert (site.volume / "releases/.history").read_text().count(STAGED) == 3


def test_history_of_many_starts_stays_short(staged: Site) -> None:
    """Each start of a pod stages a set; a staged set needs only its last line in the history."""
    history = staged.volume / "releases/.history"
    activation, staging = history.read_text().splitlines(keepends=True)
    older = staging.replace(staging.split()[-1], "0123456789ab")
    history.write_text(activation + (staging + older) * 600)
    assert newer(staged, "--stage").code == 0
    lines = history.read_text().splitlines(keepends=True)
    assert lines[:3] == [activation, staging, older]
    assert [line.split()[1:] for line in lines[3:]] == [staging.split()[1:]]
    assert list(Switch(Volume(staged.volume)).staged()) == ["0123456789ab", staging.split()[-1]]


def test_lost_history_affects_only_the_retention(staged: Site) -> None:
    (staged.volume / "releases/.history").unlink()
    assert staged.run("--wait", "0").code == 0
    assert newer(staged, "--wait", "0").code == 0
    assert newer(staged, "--stage").code == 0
    assert newer(staged).code == 0


def _release(site: Site, version: str) -> str:
    releases = Volume(site.volume).releases()
    (found,) = (release.id for release in releases if release.versions["nl-nl"] == version)
    return found
