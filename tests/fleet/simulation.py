"""Simulate a fleet: build services, lines and machines from options, run them, and count."""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from models_init.formats.manifest import MIB
from models_init.install.start_delay import start_delay
from tests.fleet.loop import run_simulated
from tests.fleet.machine import Machine
from tests.fleet.service import Line, ServiceLimits, SimulatedService, Traffic
from tests.fleet.source import CachedSource, Faults, SimulatedCache, SimulatedSource
from tests.manifests import manifest

if TYPE_CHECKING:
    from models_init.formats.manifest import Manifest, Placement
    from tests.fleet.machine import MachineResult

_CHUNK = 4 * MIB
_RUN = 4  # neighboring chunks that an upgrade changes
_SLOW = 10  # the factor by which the line of a slow site is slower


@dataclass(frozen=True, slots=True)
class SimulatedFleet:
    """The options of a simulation: sizes in bytes, rates in bytes per second, times in seconds, shares from 0 to 1.

    All machines start within `window`. Those of one site share its line, and a cache if `cache` is true. Each site has
    one of `mirrors` as MODELS_MIRRORS, further services with the limits of the first.
    """

    sites: int = 1000
    machines: int = 1
    size: int = 512 * MIB
    changed: float = 1.0
    line: float = 200e6 / 8
    slow_sites: float = 0.0
    connection: float = 60 * MIB
    connections: int = 16
    window: float = 1.0
    spread: float = 0.0
    cache: bool = False
    mirrors: int = 0
    seed: int = 1
    limits: ServiceLimits = field(default_factory=ServiceLimits)
    faults: Faults = field(default_factory=Faults)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished simulation: the results of all machines, the traffic of the origin, and the bytes a machine needs."""

    fleet: SimulatedFleet
    machines: list[MachineResult]
    traffic: Traffic
    needed: int
    spans: int

    @property
    def fluid_limit(self) -> float:
        """The seconds that a perfect schedule would need, by the tightest of the limits."""
        fleet, limits = self.fleet, self.fleet.limits
        copies = fleet.sites * (1 if fleet.cache else fleet.machines)
        services = max(1, fleet.mirrors)
        lines = 1 if fleet.cache else fleet.machines
        return max(
            copies * self.needed / limits.egress / services,
            copies * self.spans / min(limits.requests, limits.blob_requests) / services,
            lines * self.needed / fleet.line,
        )

    def done(self, share: float) -> float:
        """Return the time at which this share of the machines had finished."""
        ended = sorted(machine.ended for machine in self.machines)
        return ended[max(0, math.ceil(share * len(ended)) - 1)]

    def codes(self) -> Counter[int]:
        """Return the number of runs by exit code."""
        return Counter(code for machine in self.machines for code in machine.codes)


def simulate(fleet: SimulatedFleet) -> Outcome:
    """Run the simulation. The same options give the same outcome."""
    return run_simulated(_simulate(fleet))


async def _simulate(fleet: SimulatedFleet) -> Outcome:
    world = _World(fleet, asyncio.get_running_loop())
    machines = [world.run_machine(*place) for place in world.places()]
    results = await asyncio.gather(*machines)
    needed = sum(placement.chunk.length for placement in world.needed)
    spans = len(list(Machine.spans_of(world.needed)))
    return Outcome(fleet, results, world.origin.traffic, needed, spans)


class _World:
    """The services, and the pack that all machines install."""

    def __init__(self, fleet: SimulatedFleet, loop: asyncio.AbstractEventLoop) -> None:
        self._fleet = fleet
        self._loop = loop
        self.origin = SimulatedService(fleet.limits, loop.time, fleet.faults.outage)
        self._mirrors = [SimulatedService(fleet.limits, loop.time) for _ in range(fleet.mirrors)]
        self._pack: Manifest = manifest({"model.bin": [(_CHUNK, _CHUNK)] * max(1, fleet.size // _CHUNK)})
        self.needed = changed_chunks(self._pack, fleet.changed, random.Random(fleet.seed))

    def places(self) -> list[tuple[int, int, Line, SimulatedCache | None]]:
        """Return number of the site, number of the machine, line and cache for each machine."""
        fleet, places = self._fleet, []
        for site in range(fleet.sites):
            rate = fleet.line / (_SLOW if site < fleet.slow_sites * fleet.sites else 1)
            line = Line(rate, fleet.connection, self._loop)
            cache = SimulatedCache() if fleet.cache else None
            places += [(site, machine, line, cache) for machine in range(fleet.machines)]
        return places

    async def run_machine(self, site: int, machine: int, line: Line, cache: SimulatedCache | None) -> MachineResult:
        fleet, name = self._fleet, f"{self._fleet.seed} {site} {machine}"
        chance = random.Random(name)
        direct = SimulatedSource(self.origin, line, fleet.faults, chance)
        source = CachedSource(direct, cache) if cache else direct
        mirrors = self._mirrors[site % len(self._mirrors) :][:1] if self._mirrors else []
        await asyncio.sleep(chance.uniform(0, fleet.window) + start_delay(name, fleet.spread))
        installer = Machine(source, self._pack, self.needed, fleet.connections, chance)
        installer.mirrors = [SimulatedSource(mirror, line, Faults(), chance) for mirror in mirrors]
        return await installer.install()


def changed_chunks(pack: Manifest, share: float, chance: random.Random) -> list[Placement]:
    """Return the chunks that an upgrade fetches: runs of neighbors at random places, this share of all in total."""
    every = list(pack.placements())
    if share >= 1:
        return every
    runs = [every[start : start + _RUN] for start in range(0, len(every), _RUN)]
    chosen = chance.sample(range(len(runs)), max(1, round(share * len(runs))))
    return [placement for number in sorted(chosen) for placement in runs[number]]
