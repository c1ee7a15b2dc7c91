"""Installs over slow, broken and corrupting networks succeed, or fail with the documented exit code."""

from __future__ import annotations

import asyncio
import re
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.network.cases import ARCHIVES, CASES, CRAWL
from tests.network.trial import run, run_at_random, run_case, side_by_side
from tests.services.faultproxy import FaultProxy
from tests.services.proxyfaults import CATALOGUE, fault

if TYPE_CHECKING:
    from pathlib import Path

    from tests.network.cases import NetworkCase
    from tests.network.trial import PublishedPacks, TrialResult
    from tests.services.faulty import Seen

_HEADS = 256 << 10
"""Maximum bytes of manifests and response heads."""

_PASSING = [case for case in CASES if case.few]


async def _run_all(published: PublishedPacks, ground: Path, runs: list[tuple[NetworkCase, bool]]) -> list[TrialResult]:
    async def one(number: int) -> TrialResult:
        case, always = runs[number]
        directory = ground / str(number)
        outcome = await run_case(published, case, directory, always=always)
        await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)
        return outcome

    return await side_by_side(map(one, range(len(runs))))


@pytest.fixture(scope="module")
def outcomes(
    published: PublishedPacks, tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, bool], TrialResult]:
    """Run every case, several at a time; return results by title, and whether every response was affected."""
    runs = [(case, False) for case in _PASSING] + [(case, True) for case in CASES]
    done = asyncio.run(_run_all(published, tmp_path_factory.mktemp("cases"), runs))
    return {(case.title, always): outcome for (case, always), outcome in zip(runs, done, strict=True)}


def test_every_fault_has_a_case() -> None:
    """Every fault of the proxy is tested."""
    assert {case.fault for case in CASES} == set(CATALOGUE)


@pytest.mark.parametrize("case", _PASSING, ids=lambda case: case.title)
def test_install_survives_temporary_fault(outcomes: dict[tuple[str, bool], TrialResult], case: NetworkCase) -> None:
    """With a few responses affected, one run succeeds, and the trees equal the published ones."""
    outcome = outcomes[case.title, False]
    assert (outcome.done.code, outcome.differences) == (0, []), outcome.done.err
    assert outcome.struck == case.few


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_install_survives_or_reports_permanent_fault(
    outcomes: dict[tuple[str, bool], TrialResult], case: NetworkCase
) -> None:
    """With every response affected, the trees are correct, or a one-line error has the documented exit code."""
    outcome = outcomes[case.title, True]
    assert (outcome.done.code, outcome.differences) == (case.code, []), outcome.done.err
    assert outcome.struck > 0
    if case.code:
        assert re.search(case.words, outcome.done.fault)


async def test_slow_connection_is_replaced(published: PublishedPacks, volume: Path) -> None:
    """A range on a far slower connection is requested again from its current offset, and the run continues.

    At that rate, the range would take six minutes.
    """
    outcome = await run_case(published, CRAWL, volume)
    assert (outcome.done.code, outcome.differences, outcome.struck) == (0, [], 1), outcome.done.err
    assert outcome.carried <= published.archives + _HEADS


async def test_stalled_connection_costs_one_request(published: PublishedPacks, volume: Path) -> None:
    """After one idle limit, the rest of the range is requested once, from the byte at which it stalled."""
    struck: list[Seen] = []
    stall = fault("stall", "3000000", on=f"*/nl-nl{ARCHIVES}", times=1)
    async with FaultProxy(published.container.origin, stall) as proxy:
        proxy.on_fault = lambda _fault, seen: struck.append(seen)
        outcome = await run(published, proxy, volume)
    assert (outcome.done.code, outcome.differences) == (0, []), outcome.done.err
    assert outcome.done.json["retries"] == 1
    (stalled,) = struck
    assert stalled.range
    start, stop = stalled.range
    asked = [seen.range for seen in proxy.seen if seen.path == stalled.path and seen.range]
    assert [found for found in asked if found[1] == stop] == [(start, stop), (start + 3_000_000, stop)]
    assert outcome.carried <= published.archives + _HEADS


async def test_install_survives_random_faults_in_thirty_runs(published: PublishedPacks, volume: Path) -> None:
    """With 40 % of the responses affected by any transient fault, thirty of thirty runs give identical trees."""

    async def one(seed: int) -> TrialResult:
        directory = volume.with_name(f"models-{seed}")
        outcome = await run_at_random(published, directory, 0.4, seed)
        await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)
        return outcome

    done = await side_by_side(map(one, range(30)), at_once=10)
    failed = {seed: outcome.done.err for seed, outcome in enumerate(done) if outcome.done.code}
    assert failed == {}
    assert [outcome.differences for outcome in done] == [[]] * 30
    assert sum(outcome.struck for outcome in done) > 100


async def test_faults_in_five_percent_of_responses_cost_at_most_15_percent(large: PublishedPacks, volume: Path) -> None:
    """With 5 % of all responses affected, at most 1.15 times the size of the archives is transferred."""
    done = await side_by_side(
        (run_at_random(large, volume.with_name(f"models-{seed}"), 0.05, seed) for seed in range(3, 7)), at_once=2
    )
    assert [(outcome.done.code, outcome.differences) for outcome in done] == [(0, [])] * 4
    assert sum(outcome.struck for outcome in done) >= 3
    assert sum(outcome.carried for outcome in done) <= 1.15 * 4 * large.archives
    assert max(outcome.carried for outcome in done) <= 1.15 * large.archives
