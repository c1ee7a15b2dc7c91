"""A rollback is one rename, needs no network, and lasts until the operator or the environment changes it."""

from __future__ import annotations

import os
import shutil
from itertools import combinations
from typing import TYPE_CHECKING

import pytest

from models_init.formats.release import release_of
from models_init.volume.activation import Switch
from models_init.volume.layout import Volume
from tests.lifecycle import volume_oracle
from tests.lifecycle.sample_packs import COMMON, TWO
from tests.lifecycle.scenarios import NEW, NEXT, OLD

if TYPE_CHECKING:
    from tests.lifecycle.site import LifecycleSite

NO_SUCH_RELEASE = 44


@pytest.fixture
def upgraded(site: LifecycleSite) -> LifecycleSite:
    """Install NEW after OLD."""
    site.install(OLD, NEW)
    return site


@pytest.fixture
def rolled_back(upgraded: LifecycleSite) -> LifecycleSite:
    """Roll back to OLD."""
    upgraded.offline("--rollback")
    return upgraded


def test_rollback_needs_no_source_and_no_token(upgraded: LifecycleSite) -> None:
    done = upgraded.offline("--rollback", "--json").json
    assert (done["release"], done["activated"], done["bytes_fetched"]) == (upgraded.release(OLD), True, 0)
    assert upgraded.active == OLD


def test_activation_needs_no_source_and_no_token(rolled_back: LifecycleSite) -> None:
    rolled_back.offline("--activate", rolled_back.release(NEW))
    assert rolled_back.active == NEW


def test_later_runs_keep_rollback_and_report_it(rolled_back: LifecycleSite) -> None:
    for _ in range(3):
        done = rolled_back.offline()
        assert done.out.startswith("ROLLED BACK")
        assert rolled_back.release(NEW) in done.out
        assert rolled_back.active == OLD


def test_json_names_current_and_rolled_back_release(rolled_back: LifecycleSite) -> None:
    done = rolled_back.offline("--json").json
    assert (done["release"], done["rolled_back_from"]) == (rolled_back.release(OLD), rolled_back.release(NEW))


def test_other_versions_in_environment_end_rollback(rolled_back: LifecycleSite) -> None:
    rolled_back.done(wanted=NEXT)
    assert rolled_back.active == NEXT
    rolled_back.done(wanted=NEW)
    assert rolled_back.active == NEW


def test_older_versions_in_environment_end_rollback(rolled_back: LifecycleSite) -> None:
    assert rolled_back.offline(wanted=OLD).out.startswith("nothing to do")
    rolled_back.done(wanted=NEW)
    assert rolled_back.active == NEW


def test_activation_of_newer_release_ends_rollback(rolled_back: LifecycleSite) -> None:
    rolled_back.offline("--activate", rolled_back.release(NEW))
    assert rolled_back.offline().out.startswith("nothing to do")
    assert rolled_back.active == NEW


def test_repeated_rollback_stays_at_same_release(site: LifecycleSite) -> None:
    """An earlier release must be named."""
    site.install(OLD, NEW, NEXT)
    for _ in range(3):
        site.offline("--rollback", wanted=NEXT)
        assert site.active == NEW
    site.offline("--rollback", site.release(OLD), wanted=NEXT)
    assert site.active == OLD
    site.offline("--rollback", wanted=NEXT)
    assert site.active == OLD


def test_second_rollback_reports_that_nothing_changed(upgraded: LifecycleSite) -> None:
    """The result names the release that was rolled back, and the next steps."""
    old, new = upgraded.release(OLD), upgraded.release(NEW)
    first = upgraded.offline("--rollback").out
    assert first.startswith(f"rolled back to release {old} (")
    assert "; restart the engine to use it; later runs keep it until" in first
    second = upgraded.offline("--rollback").out
    assert second.startswith(f"nothing to do: release {old} (")
    assert f" is already current, rolled back from {new} (" in second
    assert f"; --activate {new} returns to it, --rollback RELEASE goes further back" in second
    assert upgraded.offline("--rollback", "--json").json["activated"] is False
    assert upgraded.offline("--activate", old, "--json").json["activated"] is False
    assert upgraded.offline("--activate", new, "--json").json["activated"] is True
    assert upgraded.active == NEW


def test_rollback_without_an_older_release_is_an_error(rolled_back: LifecycleSite) -> None:
    """This is an error even if the release that was rolled back has been pruned since."""
    rolled_back.offline("--prune", "--keep", "0", wanted=OLD)
    refused = rolled_back.run("--rollback", wanted=OLD)
    assert refused.code == NO_SUCH_RELEASE
    assert "there is no release to roll back to; installed releases: " in refused.err
    assert rolled_back.active == OLD


def test_rollback_after_manual_activation(rolled_back: LifecycleSite) -> None:
    rolled_back.offline("--activate", rolled_back.release(NEW))
    rolled_back.offline("--rollback")
    assert rolled_back.active == OLD


def test_release_is_found_by_prefix_of_its_id(upgraded: LifecycleSite) -> None:
    one, other = upgraded.release(OLD), upgraded.release(NEW)
    prefix = next(one[:length] for length in range(1, 13) if not other.startswith(one[:length]))
    upgraded.offline("--activate", prefix)
    assert upgraded.active == OLD


def test_ambiguous_prefix_is_refused_with_matches(upgraded: LifecycleSite) -> None:
    one, other = _releases_with_one_beginning(upgraded)
    upgraded.offline("--activate", upgraded.release(NEW))
    refused = upgraded.run("--activate", one[0])
    assert refused.code == NO_SUCH_RELEASE
    assert one in refused.err
    assert other in refused.err
    assert volume_oracle.active(upgraded.volume, upgraded.samples) == NEW


@pytest.mark.parametrize("action", ["--activate", "--rollback"])
def test_unknown_release_is_refused_with_installed_ones(upgraded: LifecycleSite, action: str) -> None:
    refused = upgraded.run(action, "ffffffffffff")
    assert refused.code == NO_SUCH_RELEASE
    assert upgraded.release(OLD) in refused.err
    assert upgraded.active == NEW


def test_release_without_one_of_its_packs_cannot_be_activated(upgraded: LifecycleSite) -> None:
    shutil.rmtree(upgraded.volume / "packs/nl-nl/1")
    assert upgraded.run("--activate", upgraded.release(OLD)).code == NO_SUCH_RELEASE
    assert upgraded.run("--rollback").code == NO_SUCH_RELEASE
    assert upgraded.active == NEW


def test_rollback_without_previous_release_is_refused(site: LifecycleSite) -> None:
    assert site.run("--rollback").code == NO_SUCH_RELEASE
    site.install(OLD)
    assert site.run("--rollback", wanted=OLD).code == NO_SUCH_RELEASE
    assert site.active == OLD


def test_rollback_from_damaged_release_lasts(upgraded: LifecycleSite) -> None:
    (upgraded.volume / "manifests/nl-nl/2.json").unlink()
    upgraded.offline("--rollback")
    assert volume_oracle.active(upgraded.volume, upgraded.samples) == OLD
    assert upgraded.offline().out.startswith("ROLLED BACK")


def test_rollback_without_history_finds_previous_release(upgraded: LifecycleSite) -> None:
    history = upgraded.volume / "releases/.history"
    history.write_bytes(b"torn\0\xff\n" + history.read_bytes()[:-5])
    upgraded.offline("--rollback")
    assert upgraded.active == OLD
    upgraded.offline("--activate", upgraded.release(NEW))
    history.unlink()
    upgraded.offline("--rollback")
    assert upgraded.active == OLD


def test_rollback_without_staging_directory(upgraded: LifecycleSite) -> None:
    shutil.rmtree(upgraded.volume / "staging")
    upgraded.offline("--rollback")
    assert upgraded.active == OLD


def test_rolled_back_release_survives_pruning(rolled_back: LifecycleSite) -> None:
    rolled_back.offline("--prune", "--keep", "0")
    assert rolled_back.offline().out.startswith("ROLLED BACK")
    rolled_back.offline("--activate", rolled_back.release(NEW))
    assert rolled_back.active == NEW


def test_open_files_stay_complete_after_rollback(upgraded: LifecycleSite) -> None:
    before = (upgraded.volume / "current/nl-nl").resolve()
    with (upgraded.volume / "current/nl-nl/am/final.mdl").open("rb") as model:
        upgraded.offline("--rollback")
        assert os.path.samestat(os.fstat(model.fileno()), (before / "am/final.mdl").stat())
    volume_oracle.assert_pack_is_complete(upgraded.volume, TWO, upgraded.samples)


def _releases_with_one_beginning(site: LifecycleSite) -> tuple[str, str]:
    """Install releases until two ids begin with the same digit; return these."""
    switch = Switch(Volume(site.volume))
    for number in range(17):
        switch.install(release_of({COMMON: f"sha256:{number:064}"}, "2026-01-01", "here", "test"))
    names = volume_oracle.releases(site.volume)
    return next((one, other) for one, other in combinations(names, 2) if one[0] == other[0])
