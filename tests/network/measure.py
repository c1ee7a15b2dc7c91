"""Measure the cost of bad networks: each fault in a few responses and in all of them, printed as a table.

    python -m tests.network.measure [--size MIB] [--write] [DIRECTORY]     scripts/measure-faults calls it

Azurite, the proxy and the program share the cores of this machine, and each figure is from one run: the seconds are
only a rough indication.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import shutil
import sys
import tempfile
from itertools import chain
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from models_init.core.units import human_size
from tests.network.cases import CASES, CRAWL
from tests.network.expiring_tokens import CONNECTIONS, Dying
from tests.network.trial import build_incompressible, publish, run, run_at_random, run_case
from tests.samples import MIB
from tests.services import azurite
from tests.services.faultproxy import FaultProxy

if TYPE_CHECKING:
    from tests.network.cases import NetworkCase
from tests.network.trial import PublishedPacks, TrialResult

_PAGE = Path(__file__).parents[2] / "docs/reliability.md"
_HEADING = "## Bad networks\n"
_COLUMNS = ("fault", "in a few answers", "bytes more", "seconds lost", "in every answer")
_SEEDS = 5
_SLOWED = 16  # duration in seconds of the slowed-down run in which a token expires


class FaultMeasurement:
    """Run installs in a directory, one after the other, and compare them with undisturbed ones."""

    def __init__(self, published: PublishedPacks, directory: Path) -> None:
        self._stock = published
        self._volume = directory / "models"
        self._bytes = 0
        self._seconds = 0.0

    async def calibrate(self) -> str:
        """Measure undisturbed runs; return their bytes and time as text."""
        runs = []
        for _ in range(3):
            async with FaultProxy(self._stock.container.origin) as proxy:
                runs.append(self._tidy(await run(self._stock, proxy, self._volume)))
        self._bytes = min(each.carried for each in runs)
        self._seconds = median(each.seconds for each in runs)
        return f"undisturbed: {human_size(self._bytes)} in {self._seconds:.1f} s"

    async def row(self, case: NetworkCase) -> str:
        """Measure a fault, in a few responses and in every one; return a row of the table."""
        few, more, lost, every = "-", "-", "-", "-"
        if case.few:
            outcome = self._tidy(await run_case(self._stock, case, self._volume))
            few = f"{_verdict(outcome)}, {outcome.struck} met"
            more, lost = self._more(outcome), f"{outcome.seconds - self._seconds:.1f}"
        if case is not CRAWL:
            outcome = self._tidy(await run_case(self._stock, case, self._volume, always=True))
            cost = f", {self._more(outcome)}, {outcome.seconds - self._seconds:.1f} s"
            every = _verdict(outcome) + (cost if outcome.done.code == 0 else f": {_message(outcome, case)}")
        return _row(case.title, few, more, lost, every)

    async def at_random(self, share: float) -> str:
        """Measure all faults at random in a share of all responses, for several seeds; return a row of the table."""
        runs = [
            self._tidy(await run_at_random(self._stock, self._volume, share, f"measured {seed}"))
            for seed in range(_SEEDS)
        ]
        verdicts = ", ".join(sorted({_verdict(each) for each in runs}))
        excess = sum(each.carried - self._bytes for each in runs)
        lost = sum(each.seconds - self._seconds for each in runs) / _SEEDS
        return _row(
            f"all of these at random in {share:.0%} of all answers, {_SEEDS} runs",
            f"{verdicts}, {sum(each.struck for each in runs)} met",
            f"{human_size(max(0, excess))}, {excess / self._bytes / _SEEDS:+.1%}",
            f"{lost:.1f} a run",
            "-",
        )

    async def dying(self, token_file: Path) -> str:
        """Measure a token that expires midway and is renewed three seconds later; return a row of the table."""
        dying = Dying(self._stock, self._bytes / CONNECTIONS / _SLOWED, seconds=_SLOWED / 2)
        outcome = self._tidy(await dying.renewed(self._volume, token_file, after=3))
        title = f"the token expires midway and is renewed 3 s later, {CONNECTIONS} connections"
        return _row(title, _verdict(outcome), self._more(outcome), "-", "-")

    def _more(self, outcome: TrialResult) -> str:
        return human_size(max(0, outcome.carried - self._bytes))

    def _tidy(self, outcome: TrialResult) -> TrialResult:
        shutil.rmtree(self._volume, ignore_errors=True)
        return outcome


def _verdict(outcome: TrialResult) -> str:
    if outcome.differences:
        return "WRONG TREES"
    return f"exit {outcome.done.code}" if outcome.done.code else "survived"


def _message(outcome: TrialResult, case: NetworkCase) -> str:
    """Return the part of the message that identifies this fault, or all of it."""
    line = outcome.done.err.splitlines()[-1]
    found = re.search(case.words, line)
    return f"“{found[0] if found else line}”"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _write(table: str) -> None:
    """Replace the table in the documentation."""
    page = _PAGE.read_text()
    before, heading, section = page.partition(_HEADING)
    if not heading:
        raise SystemExit(f"{_PAGE} has no section {_HEADING.strip()!r}")
    _PAGE.write_text(before + heading + re.sub(r"(^\|.*\n)+", lambda _: table, section, count=1, flags=re.MULTILINE))


async def _measure(published: PublishedPacks, directory: Path) -> str:
    bench = FaultMeasurement(published, directory)
    sys.stdout.write(f"{await bench.calibrate()}\n\n")
    table = f"{_row(*_COLUMNS)}\n{_row('---', '---', '---:', '---:', '---')}\n"
    sys.stdout.write(table)
    shares = map(bench.at_random, (0.05, 0.4))
    for row in chain(map(bench.row, (*CASES, CRAWL)), shares, map(bench.dying, [directory / "token"])):
        line = f"{await row}\n"
        sys.stdout.write(line)
        sys.stdout.flush()
        table += line
    return table


def main() -> None:
    """Run all measurements in a temporary directory."""
    parser = argparse.ArgumentParser(prog="scripts/measure-faults", description=__doc__.partition("\n")[0])
    parser.add_argument("directory", nargs="?", help="where to work")
    parser.add_argument("--size", type=int, default=64, metavar="MIB", help="of the pack's archive (64)")
    parser.add_argument("--write", action="store_true", help="put the table into docs/reliability.md")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="measure-", dir=options.directory) as directory:
        packs = build_incompressible(Path(directory, "vendor"), options.size * MIB)
        with azurite.serve(azurite.install()) as service:
            table = asyncio.run(_measure(publish(packs, service), Path(directory)))
    if options.write:
        _write(table)


if __name__ == "__main__":
    main()
