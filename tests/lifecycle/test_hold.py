"""Leases: while a server runs, no install or prune removes the release that it reads."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from models_init.cli.arguments import parse
from models_init.cli.commands import verify as command
from models_init.cli.settings import read
from models_init.volume import verify
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
def three_releases(site: LifecycleSite) -> LifecycleSite:
    """Install three releases, of which a prune would remove the first."""
    site.install(OLD, NEW, NEXT)
    return site


@contextmanager
def serving(site: LifecycleSite, *command: str) -> Iterator[subprocess.Popen[str]]:
    """Run a server under a command that takes a lease, until the end of the block."""
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


def test_leased_release_is_pruned_after_lease_ends(three_releases: LifecycleSite) -> None:
    with serving(three_releases, *holding(three_releases.release(OLD))):
        three_releases.done("--prune", "--keep", "0", wanted=NEXT)
        assert volume_oracle.public_packs(three_releases.volume) == [COMMON, ONE, THREE]
        volume_oracle.assert_pack_is_complete(three_releases.volume, ONE, three_releases.samples)
    three_releases.done("--prune", "--keep", "0", wanted=NEXT)
    assert volume_oracle.public_packs(three_releases.volume) == [COMMON, THREE]


def test_lock_by_another_program_is_a_lease(three_releases: LifecycleSite) -> None:
    """flock(1) or flock(2) on the release's record is enough."""
    record = three_releases.volume / "releases" / three_releases.release(OLD) / "release.json"
    with serving(three_releases, require_tool("flock"), "--shared", str(record)):
        report = three_releases.done("--prune", "--keep", "0", "--json", wanted=NEXT).json
    (held,) = (item for item in report["items"] if item["name"] == three_releases.release(OLD))
    assert (held["stays"], held["why"]) == (True, "is in use by a reader")
    assert volume_oracle.public_packs(three_releases.volume) == [COMMON, ONE, THREE]


def test_lease_on_current_keeps_release_that_was_current(three_releases: LifecycleSite) -> None:
    three_releases.offline("--activate", three_releases.release(OLD), wanted=NEXT)
    with serving(three_releases, *holding("current")):
        three_releases.offline("--activate", three_releases.release(NEXT), wanted=NEXT)
        three_releases.done("--prune", "--keep", "0", wanted=NEXT)
        assert ONE in volume_oracle.public_packs(three_releases.volume)


def test_release_is_not_pruned_while_it_is_verified(
    three_releases: LifecycleSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def prune_and_verify(*arguments: Any) -> verify.ReleaseState:
        three_releases.done("--prune", "--keep", "0", wanted=NEXT)
        return await verify.verify(*arguments)

    settings = read(three_releases.samples.environment(three_releases.volume, *NEXT), with_packs=False)
    monkeypatch.setattr("models_init.cli.commands.verify.verify_release", prune_and_verify)
    assert command.run(parse(["--verify", three_releases.release(OLD)], {}), settings).exit_code == 0


def test_lease_is_shared_and_last_one_counts(three_releases: LifecycleSite) -> None:
    with serving(three_releases, *holding(three_releases.release(OLD))):
        with serving(three_releases, *holding(three_releases.release(OLD))):
            pass
        three_releases.done("--prune", "--keep", "0", wanted=NEXT)
        assert ONE in volume_oracle.public_packs(three_releases.volume)


def test_lease_ends_when_server_is_killed(three_releases: LifecycleSite) -> None:
    with serving(three_releases, *holding(three_releases.release(OLD))) as server:
        server.send_signal(signal.SIGKILL)
        server.wait()
        three_releases.done("--prune", "--keep", "0", wanted=NEXT)
    assert ONE not in volume_oracle.public_packs(three_releases.volume)


def test_lease_blocks_no_other_action(three_releases: LifecycleSite) -> None:
    with serving(three_releases, *holding("current")):
        for action in ((), ("--rollback",), ("--verify",), ("--repair",), ("--prune",)):
            three_releases.done(*action, wanted=NEXT, MODELS_LOCK_SECONDS="0.2")
        three_releases.done(wanted=OLD, MODELS_LOCK_SECONDS="0.2")


def test_held_program_gets_arguments_environment_and_input(three_releases: LifecycleSite) -> None:
    """The exit code of the program is passed on, and its process id does not change."""
    code = "import os, sys; print(os.getpid(), sys.argv[1:], os.environ['COLOUR'], sys.stdin.read()); sys.exit(7)"
    with subprocess.Popen(
        [*holding("current"), sys.executable, "-c", code, "--prune", "two words"],
        env={**os.environ, "MODELS_DIR": str(three_releases.volume), "COLOUR": "blue"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as run:
        out, _ = run.communicate("input", timeout=60)
    assert out == f"{run.pid} ['--prune', 'two words'] blue input\n"
    assert run.returncode == 7


def test_held_program_gets_umask_and_signals_of_the_caller(site: LifecycleSite) -> None:
    """Python ignores SIGPIPE, so that `yes | head -1` in the program would end with an error."""
    site.install(OLD)
    code = "umask; grep SigIgn: /proc/self/status"
    outputs = [
        subprocess.run(
            ["env", "--default-signal", *command, "sh", "-c", code],
            env={**os.environ, "MODELS_DIR": str(site.volume)},
            umask=0o077,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for command in ([], holding("current"))
    ]
    assert outputs[1] == outputs[0]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--hold", "ffffffffffff", "--", "true"), NO_SUCH_RELEASE),
        (("--hold", "current", "--", "/no/such/program"), USAGE),
    ],
)
def test_unknown_release_or_program_is_reported(
    three_releases: LifecycleSite, arguments: tuple[str, ...], code: int
) -> None:
    result = three_releases.run(*arguments)
    assert result.code == code
    assert result.err.startswith("models-init: error: ")


def test_hold_on_empty_volume_is_refused(site: LifecycleSite) -> None:
    assert site.run("--hold", "current", "--", "true").code == NO_SUCH_RELEASE
