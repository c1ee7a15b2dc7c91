"""Simulate many sites that install at the same time (`scripts/simulate-fleet`)."""

from __future__ import annotations

import argparse
import json
import sys

from models_init.formats.manifest import MIB
from tests.fleet.report import as_json, as_text
from tests.fleet.service import ServiceLimits
from tests.fleet.simulation import SimulatedFleet, simulate
from tests.fleet.source import Faults

_BIT = 1 / 8  # bytes


def main() -> None:
    """Run one simulation and print its figures."""
    options = _parser().parse_args()
    outcome = simulate(fleet_of(options))
    sys.stdout.write(f"{json.dumps(as_json(outcome)) if options.json else as_text(outcome)}\n")


def fleet_of(options: argparse.Namespace) -> SimulatedFleet:
    """Return the fleet that the options describe."""
    begin, end = options.outage
    return SimulatedFleet(
        sites=options.sites,
        machines=options.machines,
        size=int(options.size * MIB),
        changed=options.changed,
        line=options.line * 1e6 * _BIT,
        slow_sites=options.slow_sites,
        connection=options.connection * 1e6 * _BIT,
        connections=options.connections,
        window=options.window,
        spread=options.spread,
        cache=options.cache,
        mirrors=options.mirrors,
        seed=options.seed,
        limits=ServiceLimits(
            options.requests, options.blob_requests, options.egress * 1e9 * _BIT, options.retry_after, options.date
        ),
        faults=Faults(options.resets, (begin, end)),
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/simulate-fleet", description=__doc__)
    fleet, service = parser.add_argument_group("fleet"), parser.add_argument_group("service")
    fleet.add_argument("--sites", type=int, default=1000, metavar="N", help="sites (%(default)s)")
    fleet.add_argument("--machines", type=int, default=1, metavar="N", help="machines of each site (%(default)s)")
    fleet.add_argument("--size", type=float, default=512, metavar="MIB", help="size of the archive (%(default)s)")
    fleet.add_argument("--changed", type=float, default=1, metavar="SHARE", help="share to fetch; 0.03: an upgrade (1)")
    fleet.add_argument("--line", type=float, default=200, metavar="MBIT", help="rate of a site's line (%(default)s)")
    fleet.add_argument("--slow-sites", type=float, default=0, metavar="SHARE", help="with a tenth of that rate (0)")
    fleet.add_argument("--connection", type=float, default=500, metavar="MBIT", help="rate of a connection (500)")
    fleet.add_argument("--connections", type=int, default=16, metavar="N", help="MODELS_CONNECTIONS (%(default)s)")
    fleet.add_argument("--window", type=float, default=1, metavar="S", help="all start within this time (%(default)s)")
    fleet.add_argument("--spread", type=float, default=0, metavar="S", help="MODELS_START_SPREAD (%(default)s)")
    fleet.add_argument("--cache", action="store_true", help="each site has a cache for its machines")
    fleet.add_argument("--mirrors", type=int, default=0, metavar="N", help="further services with archives (0)")
    service.add_argument("--requests", type=float, default=3000, metavar="N", help="per second, account (%(default)s)")
    service.add_argument(
        "--blob-requests", type=float, default=3000, metavar="N", help="per second, blob (%(default)s)"
    )
    service.add_argument("--egress", type=float, default=50, metavar="GBIT", help="per second (%(default)s)")
    service.add_argument("--retry-after", type=float, default=0, metavar="S", help="of a refusal; 0: none (0)")
    service.add_argument("--date", action="store_true", help="Retry-After is a date, the next multiple of that time")
    service.add_argument("--resets", type=float, default=0, metavar="SHARE", help="of requests that break (0)")
    service.add_argument(
        "--outage", type=float, nargs=2, default=(0, 0), metavar=("BEGIN", "END"), help="no answer between these times"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="(%(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON, with figures for each second")
    return parser


if __name__ == "__main__":
    main()
