"""A server that is unreachable during an install."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.network.cases import ARCHIVES
from tests.network.trial import run
from tests.services.faultproxy import FaultProxy
from tests.services.proxyfaults import fault

if TYPE_CHECKING:
    from pathlib import Path

    from tests.network.trial import PublishedPacks


async def test_outage_and_its_end_are_reported_in_few_lines(large: PublishedPacks, volume: Path) -> None:
    """Forty closed connections cause one line per interval, which says how long the run will retry.

    A request that succeeds between two failures ends an outage, so that a slow machine can see several.
    """
    outage = fault("hangup", on=ARCHIVES, times=80, after=8 << 20)  # aiohttp itself repeats each request once
    async with FaultProxy(large.container.origin, outage) as proxy:
        outcome = await run(large, proxy, volume)
    assert (outcome.done.code, outcome.differences, outcome.struck) == (0, [], 80), outcome.done.err
    assert outcome.done.json["retries"] >= 40
    lines = [line for line in outcome.done.err.splitlines() if " retrying " in line]
    assert 1 <= len(lines) <= 1 + outcome.seconds / 15
    assert all("left=" in line and "host=127.0.0.1:" in line for line in lines)
    assert 1 <= outcome.done.steps.count("recovered") <= len(lines)
