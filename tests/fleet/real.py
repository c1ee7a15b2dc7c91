"""Install with many real processes from a server that limits its requests, and compare with the simulation.

python -m tests.fleet.real [--processes N] [--requests PER_SECOND] [--retry-after S] [--spread S]
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.fleet.report import as_text, summarize
from tests.fleet.service import ServiceLimits, TokenBucket
from tests.fleet.simulation import SimulatedFleet, simulate
from tests.services.faults import throttled
from tests.services.faulty import Fault, FaultyServer, Reply, Seen
from tests.site import Packs, Site, build_samples, in_container
from tests.tokens import token

if TYPE_CHECKING:
    from collections.abc import Sequence

_LIMIT = 900  # seconds


@dataclass(frozen=True)
class RequestLimit(Fault):
    """Refuses requests over `rate` per second, and counts requests by second."""

    rate: float = 1.0
    retry_after: float = 0.0
    offered: Counter[int] = field(default_factory=Counter)
    refused: Counter[int] = field(default_factory=Counter)
    bucket: list[TokenBucket] = field(default_factory=list)

    def applies(self, _seen: Seen) -> bool:
        """Count a request; return True if it is over the limit."""
        now = time.monotonic()
        if not self.bucket:
            self.bucket.append(TokenBucket(self.rate, now))
        second = int(now)
        self.offered[second] += 1
        if self.bucket[0].has(1, now):
            self.bucket[0].take(1)
            return False
        self.refused[second] += 1
        return True

    def spoil(self, _reply: Reply, _whole: bytes) -> Reply:
        """Return the refusal."""
        return throttled(retry_after=self.retry_after or None).reply


@dataclass(frozen=True)
class RealFleet:
    """The result of real processes: exit codes, seconds until each had ended, and the counters of the server."""

    codes: Counter[int]
    seconds: list[float]
    limit: RequestLimit

    def as_text(self) -> str:
        """Return the figures as lines of text."""
        offered, refused = self.limit.offered, self.limit.refused
        seconds = [offered[second] for second in range(min(offered), max(offered) + 1)]
        rows = {
            "requests per second": f"{max(seconds)} at most, {sum(seconds) / len(seconds):.1f} on average",
            "by ten seconds": " ".join(str(sum(seconds[start : start + 10])) for start in range(0, len(seconds), 10)),
            "requests, refused": f"{offered.total()}, {refused.total() / offered.total():.1%}",
            "half done after": f"{self.seconds[len(self.seconds) // 2]:.0f} s",
            "all done after": f"{self.seconds[-1]:.0f} s",
            "runs by exit code": ", ".join(f"{count} with {code}" for code, count in self.codes.items()),
        }
        return "\n".join(f"{name:<20} {value}" for name, value in rows.items())


async def install_all(packs: Packs, sites: Sequence[Site], limit: RequestLimit) -> RealFleet:
    """Run one process for each site at the same time, against one server with this limit."""
    async with FaultyServer(packs.objects(), [limit]) as server:
        environment = {**in_container(packs, server.url, token()), "MODELS_RETRY_SECONDS": "300"}
        served = [site.but(**environment) for site in sites]
        loop, began = asyncio.get_running_loop(), time.monotonic()

        def run(site: Site) -> tuple[int, float]:
            with site.start() as process:
                process.communicate(timeout=_LIMIT)
            return process.returncode, time.monotonic() - began

        with ThreadPoolExecutor(len(sites)) as threads:
            ended = await asyncio.gather(*(loop.run_in_executor(threads, run, site) for site in served))
    return RealFleet(Counter(code for code, _ in ended), sorted(seconds for _, seconds in ended), limit)


def simulated(processes: int, limit: RequestLimit, requests_each: int, spread: float) -> SimulatedFleet:
    """Return a simulation of the same requests, with lines and an egress limit that do not restrict it."""
    limits = ServiceLimits(limit.rate, limit.rate, 1e12, limit.retry_after)
    size = (requests_each - 1) * (8 << 20)  # the simulation reads one manifest
    return SimulatedFleet(
        sites=processes, size=size, line=1e9, connection=1e9, spread=spread, window=5.0, limits=limits
    )


def main() -> None:
    """Measure and simulate."""
    parser = argparse.ArgumentParser()
    for name, default in (("--processes", 60), ("--requests", 10), ("--retry-after", 10), ("--spread", 0)):
        parser.add_argument(name, type=int, default=default)
    options = parser.parse_args()
    limit = RequestLimit(times=sys.maxsize, rate=options.requests, retry_after=options.retry_after)
    spread = {"MODELS_START_SPREAD": str(options.spread)} if options.spread else {}
    with tempfile.TemporaryDirectory() as directory:
        packs = build_samples(Path(directory))
        sites = [Site(Path(directory, f"models-{number}"), spread) for number in range(options.processes)]
        real = asyncio.run(install_all(packs, sites, limit))
    accepted = limit.offered.total() - limit.refused.total()
    outcome = simulate(simulated(options.processes, limit, round(accepted / options.processes), options.spread))
    sys.stdout.write(f"{options.processes} processes:\n{real.as_text()}\n\nsimulated:\n{as_text(outcome)}\n")
    if summarize(outcome).codes.keys() != {0} or real.codes.keys() != {0}:
        raise SystemExit("some runs failed")


if __name__ == "__main__":
    main()
