"""The simulation of a fleet: small fleets with known limits, and the command line. No real time is judged."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from models_init.core.errors import UnavailableError
from models_init.formats.manifest import MIB
from tests.fleet.loop import run_simulated
from tests.fleet.real import RequestLimit, install_all
from tests.fleet.report import as_json, as_text, summarize
from tests.fleet.service import Line, ServiceLimits, SimulatedService
from tests.fleet.simulation import SimulatedFleet, simulate
from tests.fleet.source import Faults
from tests.site import Site

if TYPE_CHECKING:
    from pathlib import Path

    from tests.site import Packs

_SMALL = SimulatedFleet(sites=10, size=64 * MIB)


def test_fleet_within_limits_is_as_fast_as_its_lines() -> None:
    """Nothing is refused, and each byte is sent once."""
    summary = summarize(simulate(_SMALL))
    assert summary.codes == {0: 10}
    assert (summary.refused, summary.retries, summary.wasted) == (0.0, 0, 0)
    assert summary.egress >= 10 * 64 * MIB
    assert summary.fluid_limit == pytest.approx(64 * MIB / 25e6)
    assert 1.0 <= summary.ratio < 2.0


@pytest.mark.parametrize("date", [False, True])
@pytest.mark.parametrize("retry_after", [0.0, 10.0])
def test_overloaded_service_eventually_serves_all_machines(retry_after: float, date: bool) -> None:  # noqa: FBT001 - parametrized
    """A service with a quarter of the sum of the lines refuses requests and never sends more than its limit."""
    limits = ServiceLimits(requests=30, blob_requests=30, egress=62.5e6, retry_after=retry_after, date=date)
    outcome = simulate(replace(_SMALL, limits=limits))
    summary = summarize(outcome)
    assert summary.codes == {0: 10}
    assert 0.0 < summary.refused < 0.8
    assert max(outcome.traffic.sent.values()) <= 2 * 62.5e6 + 8 * MIB
    assert summary.half_done <= summary.most_done <= summary.all_done


def test_same_options_give_same_figures() -> None:
    limits = ServiceLimits(requests=30, blob_requests=30, egress=62.5e6, retry_after=5.0)
    fleet = replace(_SMALL, limits=limits, faults=Faults(resets=0.05))
    assert as_json(simulate(fleet)) == as_json(simulate(fleet))
    assert as_json(simulate(fleet)) != as_json(simulate(replace(fleet, seed=2)))


def test_spread_replaces_refusals_by_delays() -> None:
    limits = ServiceLimits(requests=30, blob_requests=30, egress=62.5e6, retry_after=5.0)
    together = summarize(simulate(replace(_SMALL, limits=limits)))
    spread = summarize(simulate(replace(_SMALL, limits=limits, spread=60.0)))
    assert spread.refused < together.refused
    assert spread.peak < together.peak


def test_cache_asks_the_origin_once_for_each_site() -> None:
    """Eight machines behind a cache cost the origin the bytes of one."""
    alone = summarize(simulate(replace(_SMALL, sites=2, machines=8)))
    cached = summarize(simulate(replace(_SMALL, sites=2, machines=8, cache=True)))
    assert cached.egress < 0.2 * alone.egress
    assert cached.codes == {0: 16}


def test_mirrors_take_the_archives_from_the_origin() -> None:
    """The origin sends the manifests only."""
    summary = summarize(simulate(replace(_SMALL, mirrors=2)))
    assert summary.egress < 10 * MIB
    assert summary.codes == {0: 10}


def test_upgrade_fetches_only_the_changed_share() -> None:
    outcome = simulate(replace(_SMALL, size=512 * MIB, changed=0.25))
    assert outcome.needed == 128 * MIB


def test_runs_that_fail_during_an_outage_are_started_again() -> None:
    """Exit code 20 after a minute without any answer, then success."""
    summary = summarize(simulate(replace(_SMALL, faults=Faults(outage=(0.0, 90.0)))))
    assert summary.codes[0] == 10
    assert summary.codes[20] >= 10
    assert summary.all_done > 90.0


def test_transfers_share_a_line() -> None:
    """Two equal transfers take twice as long together, and a short one ends first."""

    async def shared() -> list[float]:
        loop = asyncio.get_running_loop()
        line, ends = Line(100.0, 80.0, loop), []

        async def transfer(size: float) -> None:
            await line.transfer(size)
            ends.append(loop.time())

        await asyncio.gather(transfer(100.0), transfer(50.0))
        await transfer(80.0)
        return ends

    assert run_simulated(shared()) == pytest.approx([1.0, 1.625, 2.625])


def test_service_refuses_requests_beyond_the_limit_of_a_second() -> None:
    now = 0.0
    service = SimulatedService(ServiceLimits(10, 5, 1e6, 30.0, date=True), lambda: now)
    for _ in range(5):
        service.admit("blob", 1)
    now = 12.0 - 1e-3
    for _ in range(5):
        service.admit("blob", 1)
    with pytest.raises(UnavailableError) as refused:
        service.admit("blob", 1)
    assert refused.value.overloaded
    assert refused.value.retry_after == pytest.approx(18.0, abs=0.01)
    service.admit("other", 1)


def test_wait_without_a_timer_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="no timer is left"):
        run_simulated(asyncio.Event().wait())


def test_command_line_prints_text_or_json() -> None:
    command = [sys.executable, "-m", "tests.fleet", "--sites", "5", "--size", "16", "--seed", "3"]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    content = json.loads(subprocess.run([*command, "--json"], capture_output=True, text=True, check=True).stdout)
    assert "99 % done after" in text
    assert content["exits_by_code"] == {"0": 5}
    assert sum(content["series"]["requests"]) > 5
    assert as_text(simulate(SimulatedFleet(sites=5, size=16 * MIB, seed=3))) == text.strip()


async def test_real_processes_install_from_a_limited_server(packs: Packs, tmp_path: Path) -> None:
    """Four processes that get more refusals than answers at first all end with success, and none sends in a loop."""
    limit = RequestLimit(times=sys.maxsize, rate=4.0, retry_after=1.0)
    fleet = await install_all(packs, [Site(tmp_path / str(number)) for number in range(4)], limit)
    assert fleet.codes == {0: 4}
    assert limit.refused.total() > 0
    assert limit.offered.total() < 4 * 40
    assert "4 with 0" in fleet.as_text()
