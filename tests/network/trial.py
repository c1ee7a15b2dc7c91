"""Run the program once through the fault proxy, and measure the cost.

This module does not need pytest, because `scripts/measure-faults` uses it too.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
from dataclasses import dataclass, replace
from time import monotonic
from typing import TYPE_CHECKING

from tests.network.cases import ARCHIVES, ELSEWHERE, at_random, times
from tests.samples import MIB, Shape, write_tree
from tests.services.faultproxy import FaultProxy
from tests.services.proxyfaults import fault
from tests.site import COMMON, DUTCH, Done, Packs, Site, build_packs, stocked

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from pathlib import Path

    from tests.network.cases import NetworkCase
    from tests.services.azurite import Azurite


@dataclass(frozen=True)
class PublishedPacks:
    """Packs in a real container."""

    packs: Packs
    container: Azurite

    @property
    def archives(self) -> int:
        """Total size in bytes of the archives that a site installs."""
        return sum(self.packs.manifest(ref).archive.size for ref in (COMMON, DUTCH))

    def site(self, proxy: FaultProxy, volume: Path, **variables: str) -> Site:
        """Return a site that uses the container through the proxy; the idle limit is one second."""
        usual = {
            "MODELS_URL": proxy.url(self.container.container_url),
            "MODELS_SAS_TOKEN": self.container.sas(),
            "MODELS_IDLE_SECONDS": "1",
        }
        return Site(volume, {**self.packs.environment, **usual, **variables})

    def differences(self, site: Site) -> list[str]:
        """Return the differences between the active and the published trees, one line each."""
        return self.packs.differences(site, COMMON, DUTCH)


@dataclass(frozen=True)
class TrialResult:
    """The result of a run; `carried` counts bytes from the proxy to the program, `struck` the affected responses."""

    done: Done
    differences: list[str]
    carried: int
    struck: int
    seconds: float


def build_incompressible(directory: Path, size: int, changed: Callable[[Path], None] = lambda _: None) -> Packs:
    """Build a small pack `COMMON`, and `DUTCH` with an incompressible archive of about `size` bytes.

    `changed` is called with the tree of `DUTCH` before the build.
    """
    shapes = {
        COMMON: Shape(texts=6, weights=(), dense=(100_000,)),
        DUTCH: Shape(texts=24, weights=(), dense=(size // 2, size - size // 2)),
    }
    trees = {ref: write_tree(directory / ref.name, shape, f"network {ref.name}") for ref, shape in shapes.items()}
    changed(trees[DUTCH])
    return build_packs(directory, trees, level=1, chunk_size=MIB)


def publish(packs: Packs, azurite: Azurite) -> PublishedPacks:
    """Upload the packs to a new container."""
    return PublishedPacks(packs, stocked(azurite, packs))


async def run_case(published: PublishedPacks, case: NetworkCase, volume: Path, *, always: bool = False) -> TrialResult:
    """Run the program once while a case's fault affects a few archive responses, or every one."""
    container = published.container
    async with FaultProxy(container.origin, sign=container.sas()) as elsewhere:
        value = elsewhere.origin if case.value == ELSEWHERE else case.value
        broken = fault(case.fault, value, on=ARCHIVES, times=times(case, always=always))
        async with FaultProxy(container.origin, broken, seed=case.title) as proxy:
            outcome = await run(published, proxy, volume, MODELS_RETRY_SECONDS="3" if always else "60")
        return replace(outcome, carried=outcome.carried + elsewhere.carried)


async def run_at_random(published: PublishedPacks, volume: Path, share: float, seed: object) -> TrialResult:
    """Run the program once while all faults affect a share of all responses."""
    container = published.container
    async with FaultProxy(container.origin, sign=container.sas()) as elsewhere:
        async with FaultProxy(container.origin, *at_random(elsewhere.origin), share=share, seed=seed) as proxy:
            outcome = await run(published, proxy, volume)
        return replace(outcome, carried=outcome.carried + elsewhere.carried)


async def side_by_side(runs: Iterable[Awaitable[TrialResult]], at_once: int = 4) -> list[TrialResult]:
    """Run several installs, `at_once` at a time, because they mostly wait."""
    slots = asyncio.Semaphore(at_once)

    async def one(run: Awaitable[TrialResult]) -> TrialResult:
        async with slots:
            return await run

    return await asyncio.gather(*map(one, runs))


async def run(published: PublishedPacks, proxy: FaultProxy, volume: Path, **variables: str) -> TrialResult:
    """Run the program once through a running proxy."""
    site = published.site(proxy, volume, **variables)
    before, began = proxy.carried, monotonic()
    try:
        done = await asyncio.to_thread(site.run, "--json")
    except subprocess.TimeoutExpired:
        done = Done(-signal.SIGKILL, "", "the run did not end by itself")
    seconds = monotonic() - began
    differences = await asyncio.to_thread(published.differences, site) if done.code == 0 else []
    return TrialResult(done, differences, proxy.carried - before, sum(fault.met for fault in proxy.faults), seconds)
