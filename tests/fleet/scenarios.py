"""The simulations of docs/fleet.md: run them and keep their figures (`scripts/simulate-fleet --scenario NAME`)."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from typing import Any

from models_init.formats.manifest import MIB
from tests.fleet.report import RESULTS, SITES, as_json
from tests.fleet.service import ServiceLimits
from tests.fleet.simulation import SimulatedFleet, simulate

_STYLES = {
    "none": (0.0, False),
    "10 s": (10.0, False),
    "30 s": (30.0, False),
    "date": (30.0, True),
}
_MACHINES = 8  # of a site with a cache


def _limits(style: str) -> ServiceLimits:
    retry_after, date = _STYLES[style]
    return ServiceLimits(requests=3000, blob_requests=3000, retry_after=retry_after, date=date)


def _variants(sites: int, changed: float) -> dict[str, SimulatedFleet]:
    """Return ways to install the same bytes on equally many machines: alone, spread, with mirrors, and behind caches.

    The spread is 1.5 times the time that all machines need at the egress limit, but at least 30 s.
    """
    plain = SimulatedFleet(sites=sites, changed=changed, limits=_limits("30 s"))
    spread = max(30.0, round(1.5 * sites * plain.size * changed / plain.limits.egress))
    return {
        "alone": plain,
        "spread": replace(plain, spread=spread),
        "mirrors": replace(plain, mirrors=4),
        "cache": replace(plain, sites=sites // _MACHINES, machines=_MACHINES, cache=True),
    }


def scenarios() -> dict[str, SimulatedFleet]:
    """Return all scenarios by name."""
    found = {
        f"retry-after {style}, {size} MiB": SimulatedFleet(size=size * MIB, limits=_limits(style))
        for size in (512, 4096)
        for style in _STYLES
    }
    for kind, changed in (("delta", 0.03), ("full", 1.0)):
        for sites in SITES:
            found |= {f"{kind}, {sites}, {name}": fleet for name, fleet in _variants(sites, changed).items()}
    return found


def run_scenario(name: str) -> dict[str, Any]:
    """Run one scenario, and keep its figures in `RESULTS`."""
    figures = as_json(simulate(scenarios()[name]))
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(figures))
    return figures


def main() -> None:
    """Run the scenarios that the command line names; without names, list them."""
    for name in sys.argv[1:]:
        figures = run_scenario(name)
        del figures["series"]
        sys.stdout.write(f"{name}: {json.dumps(figures)}\n")
        sys.stdout.flush()
    if not sys.argv[1:]:
        sys.stdout.writelines(f"{name}\n" for name in scenarios())


if __name__ == "__main__":
    main()
