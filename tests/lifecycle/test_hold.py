"""A reader's lease: as long as a server runs, the release that it reads stays, whatever is installed or pruned."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.lifecycle import volume_oracle
from tests.lifecycle.sample_packs import COMMON, ONE, THREE
from tests.lifecycle.scenarios import NEW, NEXT, OLD
from tests.services import require_tool

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lifecycle.site import LifecycleSite

NO_SUCH_RELEASE, USAGE = 44, 2
_SERVER = "import sys; print('serving', flush=True); sys.stdin.read()"


@pytest.fixture
def grown(site: LifecycleSite) -> LifecycleSite:
    """Install three releases, of which a prune would remove the first."""
    site.install(OLD, NEW, NEXT)
    return site


@contextmanager
def serving(site: LifecycleSite, *command: str) -> Iterator[subprocess.Popen[str]]:
    """Run a server behind a command that takes a lease, until the block is left."""
    with subprocess.Popen(
        [*command, sys.executable, "-c", _SERVER],
        env={**os.environ, "MODELS_DIR": str(site.volume)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdout
        assert server.stdout.readline() == "serving\n"
        yield server


def holding(release: str) -> list[str]:
    return [sys.executable, "-m", "models_init", "--hold", release, "--"]


def test_what_a_server_holds_is_not_pruned(grown: LifecycleSite) -> None:
    """The release stays with its packs while the server runs, and goes with the first prune after its end."""
    with serving(grown, *holding(grown.release(OLD))):
        grown.done("--prune", "--keep", "0", wanted=NEXT)
        assert volume_oracle.public_packs(grown.volume) == [COMMON, ONE, THREE]
        volume_oracle.assert_pack_is_whole(grown.volume, ONE, grown.samples)
    grown.done("--prune", "--keep", "0", wanted=NEXT)
    assert volume_oracle.public_packs(grown.volume) == [COMMON, THREE]


def test_a_lock_of_the_servers_own_is_a_lease(grown: LifecycleSite) -> None:
    """Whoever locks the release's record with flock(1) or flock(2) needs no program of ours."""
    record = grown.volume / "releases" / grown.release(OLD) / "release.json"
    with serving(grown, require_tool("flock"), "--shared", str(record)):
        report = grown.done("--prune", "--keep", "0", "--json", wanted=NEXT).json
    (held,) = (item for item in report["items"] if item["name"] == grown.release(OLD))
    assert (held["stays"], held["why"]) == (True, "is in use by a reader")
    assert volume_oracle.public_packs(grown.volume) == [COMMON, ONE, THREE]


def test_a_lease_on_current_stays_with_its_release(grown: LifecycleSite) -> None:
    """A server that took what was current keeps it, although something else is current by now."""
    grown.offline("--activate", grown.release(OLD), wanted=NEXT)
    with serving(grown, *holding("current")):
        grown.offline("--activate", grown.release(NEXT), wanted=NEXT)
        grown.done("--prune", "--keep", "0", wanted=NEXT)
        assert ONE in volume_oracle.public_packs(grown.volume)


def test_many_servers_hold_one_release(grown: LifecycleSite) -> None:
    """A lease is shared; the last one counts."""
    with serving(grown, *holding(grown.release(OLD))):
        with serving(grown, *holding(grown.release(OLD))):
            pass
        grown.done("--prune", "--keep", "0", wanted=NEXT)
        assert ONE in volume_oracle.public_packs(grown.volume)


def test_a_lease_ends_with_the_server_however_that_ends(grown: LifecycleSite) -> None:
    """The kernel lets go of it: also where the server was killed."""
    with serving(grown, *holding(grown.release(OLD))) as server:
        server.send_signal(signal.SIGKILL)
        server.wait()
        grown.done("--prune", "--keep", "0", wanted=NEXT)
    assert ONE not in volume_oracle.public_packs(grown.volume)


def test_a_lease_keeps_nobody_waiting(grown: LifecycleSite) -> None:
    """Installs, rollbacks and looks go on beside a server that holds what is current."""
    with serving(grown, *holding("current")):
        for action in ((), ("--rollback",), ("--verify",), ("--repair",), ("--prune",)):
            grown.done(*action, wanted=NEXT, MODELS_LOCK_SECONDS="0.2")
        grown.done(wanted=OLD, MODELS_LOCK_SECONDS="0.2")


def test_the_program_is_run_as_if_alone(grown: LifecycleSite) -> None:
    """It gets its arguments, its environment and its input; its exit code is the exit code; it is the same process."""
    code = "import os, sys; print(os.getpid(), sys.argv[1:], os.environ['COLOUR'], sys.stdin.read()); sys.exit(7)"
    with subprocess.Popen(
        [*holding("current"), sys.executable, "-c", code, "--prune", "two words"],
        env={**os.environ, "MODELS_DIR": str(grown.volume), "COLOUR": "blue"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as run:
        out, _ = run.communicate("input", timeout=60)
    assert out == f"{run.pid} ['--prune', 'two words'] blue input\n"
    assert run.returncode == 7


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--hold", "ffffffffffff", "--", "true"), NO_SUCH_RELEASE),
        (("--hold", "current"), USAGE),
        (("--hold", "current", "--", "/no/such/program"), USAGE),
    ],
)
def test_what_cannot_be_held_or_run_is_told(grown: LifecycleSite, arguments: tuple[str, ...], code: int) -> None:
    """No such release is 44; no program, or one that is not there, is 2."""
    told = grown.run(*arguments)
    assert told.code == code
    assert told.err.startswith("models-init: error: ")


def test_nothing_can_be_held_on_an_empty_volume(site: LifecycleSite) -> None:
    """Without a release there is no lease, and the server does not start."""
    assert site.run("--hold", "current", "--", "true").code == NO_SUCH_RELEASE
