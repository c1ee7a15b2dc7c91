"""Measure some or all scenarios: `scripts/bench [SCENARIO...] [--pairs N] [--size small|full] [--out DIR]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.bench import tools
from tests.bench.bench import Row, opened
from tests.bench.scenarios.rows import ROWS

_CACHE = Path(__file__).parents[2] / ".cache" / "bench"


def main() -> None:
    """Measure and save the results."""
    rows = "; ".join(f"{name}: {(row.__doc__ or '').splitlines()[0].rstrip('.')}" for name, row in ROWS.items())
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__, epilog=rows)
    parser.add_argument("rows", nargs="*", metavar="SCENARIO", help=f"one of {', '.join(ROWS)}; all of them by default")
    parser.add_argument("--pairs", type=int, default=5, help="number of rounds (5)")
    parser.add_argument(
        "--size", choices=("small", "full"), default="full", help="small: sizes divided by 64, for a test"
    )
    parser.add_argument(
        "--out", type=Path, default=_CACHE / "results", help="directory of the results, a file for each scenario"
    )
    parser.add_argument(
        "--work",
        type=Path,
        default=_CACHE,
        help="directory that keeps packs between runs (60 GB, and 65 GB more for sites)",
    )
    options = parser.parse_args()
    if unknown := set(options.rows) - ROWS.keys():
        parser.error(f"unknown scenario {', '.join(sorted(unknown))}")
    if lacking := tools.absent(["nginx", "curl"]):
        sys.exit(f"scripts/bench: not installed: {', '.join(lacking)}; {tools.remedy(lacking)}")
    with opened(options.work, options.out, options.pairs, full=options.size == "full") as bench:
        for name in options.rows or ROWS:
            row = Row(name)
            ROWS[name](bench, row)
            bench.save(row)
            for contender, remedy in row.skipped.items():
                sys.stdout.write(f"{name}: {contender} is not installed and was left out: {remedy}\n")


if __name__ == "__main__":
    main()
