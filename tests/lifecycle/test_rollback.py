"""Going back is a matter of one rename, needs nobody else, and lasts until somebody says otherwise."""

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


def test_rollback_needs_neither_source_nor_token(upgraded: LifecycleSite) -> None:
    """The release before becomes current with no source within reach, and nothing is fetched."""
    done = upgraded.offline("--rollback", "--json").json
    assert (done["release"], done["activated"], done["bytes_fetched"]) == (upgraded.release(OLD), True, 0)
    assert upgraded.active == OLD


def test_activation_needs_neither_source_nor_token(rolled_back: LifecycleSite) -> None:
    """Any installed release becomes current with no source within reach."""
    rolled_back.offline("--activate", rolled_back.release(NEW))
    assert rolled_back.active == NEW


def test_a_rolled_back_release_stays_rolled_back(rolled_back: LifecycleSite) -> None:
    """Later starts with the same environment keep the older release, say so loudly, and ask no source."""
    for _ in range(3):
        done = rolled_back.offline()
        assert done.out.startswith("ROLLED BACK")
        assert rolled_back.release(NEW) in done.out
        assert rolled_back.active == OLD


def test_programs_are_told_what_was_rolled_back(rolled_back: LifecycleSite) -> None:
    """The result as JSON names the release that is current and the one that was turned away from."""
    done = rolled_back.offline("--json").json
    assert (done["release"], done["rolled_back_from"]) == (rolled_back.release(OLD), rolled_back.release(NEW))


def test_an_environment_that_names_another_set_ends_a_rollback(rolled_back: LifecycleSite) -> None:
    """A third version is installed, and the one that was turned away from is just another version from then on."""
    rolled_back.done(wanted=NEXT)
    assert rolled_back.active == NEXT
    rolled_back.done(wanted=NEW)
    assert rolled_back.active == NEW


def test_an_environment_that_names_the_older_set_ends_a_rollback(rolled_back: LifecycleSite) -> None:
    """Once the operator has agreed to the older set, naming the newer one means that it is wanted."""
    assert rolled_back.offline(wanted=OLD).out.startswith("nothing to do")
    rolled_back.done(wanted=NEW)
    assert rolled_back.active == NEW


def test_activating_it_ends_a_rollback(rolled_back: LifecycleSite) -> None:
    """The operator who goes forward again is not told of any rollback by later starts."""
    rolled_back.offline("--activate", rolled_back.release(NEW))
    assert rolled_back.offline().out.startswith("nothing to do")
    assert rolled_back.active == NEW


def test_rolling_back_twice_leads_neither_forward_nor_further(site: LifecycleSite) -> None:
    """Asking again, as after a crash, finds it done; whoever wants to go further back names a release."""
    site.install(OLD, NEW, NEXT)
    for _ in range(3):
        site.offline("--rollback", wanted=NEXT)
        assert site.active == NEW
    site.offline("--rollback", site.release(OLD), wanted=NEXT)
    assert site.active == OLD
    site.offline("--rollback", wanted=NEXT)
    assert site.active == OLD


def test_what_was_activated_by_hand_can_be_rolled_back(rolled_back: LifecycleSite) -> None:
    """After going forward by hand, going back leads to where the operator came from."""
    rolled_back.offline("--activate", rolled_back.release(NEW))
    rolled_back.offline("--rollback")
    assert rolled_back.active == OLD


def test_a_release_is_named_by_the_beginning_of_its_id(upgraded: LifecycleSite) -> None:
    """As few digits as tell it from the others are enough."""
    one, other = upgraded.release(OLD), upgraded.release(NEW)
    prefix = next(one[:length] for length in range(1, 13) if not other.startswith(one[:length]))
    upgraded.offline("--activate", prefix)
    assert upgraded.active == OLD


def test_a_beginning_that_several_releases_share_is_told(upgraded: LifecycleSite) -> None:
    """It is refused with the releases that it may mean, and nothing changes."""
    one, other = _releases_with_one_beginning(upgraded)
    upgraded.offline("--activate", upgraded.release(NEW))
    refused = upgraded.run("--activate", one[0])
    assert refused.code == NO_SUCH_RELEASE
    assert one in refused.err
    assert other in refused.err
    assert volume_oracle.active(upgraded.volume, upgraded.samples) == NEW


@pytest.mark.parametrize("action", ["--activate", "--rollback"])
def test_a_release_that_is_not_there_is_told(upgraded: LifecycleSite, action: str) -> None:
    """It is refused with those that are there, and nothing changes."""
    refused = upgraded.run(action, "ffffffffffff")
    assert refused.code == NO_SUCH_RELEASE
    assert upgraded.release(OLD) in refused.err
    assert upgraded.active == NEW


def test_a_release_that_lacks_a_pack_cannot_be_activated(upgraded: LifecycleSite) -> None:
    """A release becomes current as a set or not at all."""
    shutil.rmtree(upgraded.volume / "packs/nl-nl/1")
    assert upgraded.run("--activate", upgraded.release(OLD)).code == NO_SUCH_RELEASE
    assert upgraded.run("--rollback").code == NO_SUCH_RELEASE
    assert upgraded.active == NEW


def test_the_first_release_has_none_before_it(site: LifecycleSite) -> None:
    """There is nothing to go back to, on a volume with one release as on one with none."""
    assert site.run("--rollback").code == NO_SUCH_RELEASE
    site.install(OLD)
    assert site.run("--rollback", wanted=OLD).code == NO_SUCH_RELEASE
    assert site.active == OLD


def test_a_damaged_release_can_be_rolled_back_for_good(upgraded: LifecycleSite) -> None:
    """One goes back because something is broken, and starts that follow do not go forward to it again."""
    (upgraded.volume / "manifests/nl-nl/2.json").unlink()
    upgraded.offline("--rollback")
    assert volume_oracle.active(upgraded.volume, upgraded.samples) == OLD
    assert upgraded.offline().out.startswith("ROLLED BACK")


def test_rollback_needs_no_notes(upgraded: LifecycleSite) -> None:
    """Where the notes on what was current are lost or torn, the release before is still found."""
    history = upgraded.volume / "releases/.history"
    history.write_bytes(b"torn\0\xff\n" + history.read_bytes()[:-5])
    upgraded.offline("--rollback")
    assert upgraded.active == OLD
    upgraded.offline("--activate", upgraded.release(NEW))
    history.unlink()
    upgraded.offline("--rollback")
    assert upgraded.active == OLD


def test_rollback_needs_no_staging(upgraded: LifecycleSite) -> None:
    """An operator who made room by removing staging can still go back."""
    shutil.rmtree(upgraded.volume / "staging")
    upgraded.offline("--rollback")
    assert upgraded.active == OLD


def test_what_a_rollback_needs_survives_pruning(rolled_back: LifecycleSite) -> None:
    """The release that was turned away from stays, for starts say how to go forward to it."""
    rolled_back.offline("--prune", "--keep", "0")
    assert rolled_back.offline().out.startswith("ROLLED BACK")
    rolled_back.offline("--activate", rolled_back.release(NEW))
    assert rolled_back.active == NEW


def test_a_server_that_runs_keeps_its_files(upgraded: LifecycleSite) -> None:
    """What was opened through `current` before stays whole where it is: nothing is changed in place."""
    before = (upgraded.volume / "current/nl-nl").resolve()
    with (upgraded.volume / "current/nl-nl/am/final.mdl").open("rb") as model:
        upgraded.offline("--rollback")
        assert os.path.samestat(os.fstat(model.fileno()), (before / "am/final.mdl").stat())
    volume_oracle.assert_pack_is_whole(upgraded.volume, TWO, upgraded.samples)


def _releases_with_one_beginning(site: LifecycleSite) -> tuple[str, str]:
    """Make so many releases that two begin with the same digit."""
    switch = Switch(Volume(site.volume))
    for number in range(17):
        switch.install(release_of({COMMON: f"sha256:{number:064}"}, "2026-01-01", "here", "test"))
    names = volume_oracle.releases(site.volume)
    return next((one, other) for one, other in combinations(names, 2) if one[0] == other[0])
