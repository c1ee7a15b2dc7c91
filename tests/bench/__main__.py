"""Measures some rows or all: `scripts/bench [ROW...] [--pairs N] [--size small|full] [--out DIR]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.bench import tools
from tests.bench.bench import Row, opened
from tests.bench.scenarios import ROWS

_CACHE = Path(__file__).parents[2] / ".cache" / "bench"


def main() -> None:
    """Measure, and keep what was measured."""
    told = "; ".join(f"{name}: {(row.__doc__ or '').splitlines()[0].rstrip('.')}" for name, row in ROWS.items())
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__, epilog=told)
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"one of {', '.join(ROWS)}; all of them by default")
    parser.add_argument("--pairs", type=int, default=5, help="rounds in which each takes its turn (5)")
    parser.add_argument("--size", choices=("small", "full"), default="full", help="small: a 64th, to see that it works")
    parser.add_argument(
        "--out", type=Path, default=_CACHE / "results", help="where the results go, a file for each row"
    )
    parser.add_argument("--work", type=Path, default=_CACHE, help="where packs are kept for the next time: 60 GB")
    options = parser.parse_args()
    if unknown := set(options.rows) - ROWS.keys():
        parser.error(f"there is no row {', '.join(sorted(unknown))}")
    if lacking := tools.absent(["nginx", "curl"]):
        sys.exit(f"scripts/bench: no {' and no '.join(lacking)}: {tools.remedy(lacking)}")
    with opened(options.work, options.out, options.pairs, full=options.size == "full") as bench:
        for name in options.rows or ROWS:
            row = Row(name)
            ROWS[name](bench, row)
            bench.save(row)
            for contender, remedy in row.skipped.items():
                sys.stdout.write(f"{name}: {contender} is not here and was left out: {remedy}\n")


if __name__ == "__main__":
    main()
