"""MODELS_START_SPREAD: sites begin after different delays, and each site has the same delay in every run."""

from __future__ import annotations

import asyncio
import re
import signal
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from models_init.install.start_delay import start_delay
from models_init.volume.layout import Volume
from models_init.volume.site_id import site_id
from tests.services.faulty import FaultyServer
from tests.site import in_container
from tests.tokens import token

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.site import Packs, Site

_HOUR = "3600"


@pytest.fixture
async def remote(site: Site, packs: Packs) -> AsyncIterator[Site]:
    """A site whose packs are on a server."""
    async with FaultyServer(packs.objects(), []) as server:
        yield site.but(**in_container(packs, server.url, token()))


def test_delays_are_uniform_and_repeatable() -> None:
    """A tenth of the sites begins in each tenth of the time."""
    delays = [start_delay(f"site {number}", 300.0) for number in range(10_000)]
    assert delays == [start_delay(f"site {number}", 300.0) for number in range(10_000)]
    assert all(0.0 <= delay < 300.0 for delay in delays)
    tenths = [sum(int(delay / 30) == tenth for delay in delays) for tenth in range(10)]
    assert all(900 < count < 1100 for count in tenths)


def test_site_keeps_its_id(tmp_path: Path) -> None:
    """The id stays the same, differs between volumes, and is created again if the file is damaged."""
    volumes = [Volume(tmp_path / name) for name in ("one", "other")]
    for volume in volumes:
        volume.prepare()
    one, other = map(site_id, volumes)
    assert re.fullmatch(r"[0-9a-f]{32}", one)
    assert one != other
    assert site_id(volumes[0]) == one
    path = tmp_path / "one/releases/.site-id"
    path.write_bytes(b"\xff")
    new = site_id(volumes[0])
    assert new not in (one, other)
    assert path.read_text() == f"{new}\n"


async def test_delay_is_announced_with_its_end_before_install(remote: Site) -> None:
    done = await asyncio.to_thread(remote.run, MODELS_START_SPREAD="0.5")
    assert done.code == 0
    assert done.steps[0] == "start_delayed"
    (line,) = (line for line in done.err.splitlines() if " start_delayed " in line)
    until = datetime.fromisoformat(re.findall(r"until=(\S+)", line)[0])
    assert abs((until - datetime.now(UTC)).total_seconds()) < 60
    assert 0.0 <= float(re.findall(r"wait=([0-9.]+)s", line)[0]) <= 0.5


async def test_signal_ends_the_delay_at_once(remote: Site) -> None:
    """Exit code 143, and the site has the same delay in its next run, also of `--stage`."""
    Volume(remote.volume).prepare()
    (remote.volume / "releases/.site-id").write_text(f"{'8' * 32}\n")
    spread = remote.but(MODELS_START_SPREAD=_HOUR)
    delays = [await asyncio.to_thread(_delay_before_stop, spread, *arguments) for arguments in ((), ("--stage",))]
    assert delays == ["25min00s", "25min00s"]


def _delay_before_stop(site: Site, *arguments: str) -> str:
    """Stop a run during its delay; return the announced delay."""
    with site.start(*arguments) as process:
        assert process.stderr
        line = next(line for line in process.stderr if "start_delayed" in line)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
        assert process.returncode == 143
    return line.split("wait=")[1].split()[0]


async def test_nothing_is_delayed_without_a_download(remote: Site) -> None:
    """A run does not wait if the release is current, or if its packs are installed."""
    assert (await asyncio.to_thread(remote.run)).code == 0
    assert remote.run(MODELS_START_SPREAD=_HOUR).out.startswith("nothing to do")
    (remote.volume / "current").unlink()
    installed = await asyncio.to_thread(remote.run, MODELS_START_SPREAD=_HOUR)
    assert (installed.code, "start_delayed" in installed.err) == (0, False)
    assert not (remote.volume / "releases/.site-id").exists()


def test_directory_is_installed_without_delay(site: Site) -> None:
    done = site.run(MODELS_START_SPREAD=_HOUR)
    assert (done.code, "start_delayed" in done.err) == (0, False)


@pytest.mark.parametrize(
    ("variables", "code"),
    [
        ({"MODELS_SAS_TOKEN": ""}, 2),
        ({"MODELS_SAS_TOKEN": "sv=1&sp=rl"}, 22),
        ({"MODELS_CA_FILE": "/nowhere"}, 2),
        ({"MODELS_DIR": "/nowhere/models"}, 43),
    ],
    ids=["no-token", "broken-token", "no-ca-file", "no-volume"],
)
async def test_fault_is_reported_before_the_delay(remote: Site, variables: dict[str, str], code: int) -> None:
    done = await asyncio.to_thread(remote.run, MODELS_START_SPREAD=_HOUR, **variables)
    assert (done.code, "start_delayed" in done.err) == (code, False)
