"""The goals, and their verdicts from the runs: the median of one ratio for each round."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median, quantiles
from typing import TYPE_CHECKING

from tests.bench.peers import ARIA2, CASYNC, CURL, OURS, PEERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tests.bench.bench import Run

    Runs = list[Run]

BARE = "python3 -c 'import json'"
LIMIT, WITH_TRANSFER = "the limit", "with the transfer"
MIB = 1 << 20

PEAK_LARGE, PEAK_MANY = 120, 224
"""Limits in MiB of the peak memory of an install: of a large pack, and of 100,000 files."""


@dataclass(frozen=True)
class Verdict:
    """A row of the table: the comparison `what`, its values in each round, and the limit `most` of their median."""

    what: str
    values: tuple[float, ...]
    most: float
    unit: str = ""

    @property
    def median(self) -> float:
        """The median of the rounds."""
        return median(self.values)

    @property
    def spread(self) -> tuple[float, float]:
        """The quartiles between which the middle half of the rounds lies."""
        if len(self.values) < 2:
            return self.values[0], self.values[0]
        low, _, high = quantiles(self.values, n=4, method="inclusive")
        return low, high

    @property
    def met(self) -> bool:
        """True if the goal is met."""
        return self.median <= self.most


def verdicts(rows: Mapping[str, Runs]) -> list[Verdict]:
    """Return the verdicts on all goals for which there are results."""
    found: list[Verdict] = []
    for row, label, most_aria2, most_curl in (("first-http", "http", 0.45, 0.58), ("first-tls", "TLS", 0.50, 0.58)):
        for peer, most in ((ARIA2, most_aria2), (CURL, most_curl)):
            for case in _cases(rows, row):
                found += _compared(
                    rows.get(row, []), case, peer, _wall, (f"first install, {label}, {case}: time over {peer}", most)
                )
    for limit, label in ((LIMIT, "the limit"), (WITH_TRANSFER, "the limit with the transfer")):
        for case in _cases(rows, "first-http"):
            found += _compared(
                rows.get("first-http", []), case, limit, _wall, (f"first install, http, {case}: time over {label}", 1.5)
            )
    for case in _cases(rows, "registry"):
        best = best_peer(rows["registry"], case)
        label = f"first install from a registry, {case}: time over the better of skopeo and oras ({best})"
        found += _compared(rows["registry"], case, best, _wall, (label, 0.5))
    found += _on_lines(rows)
    for case in _cases(rows, "first-http"):
        found += _compared(
            rows.get("first-http", []), case, ARIA2, _cpu, (f"first install, http, {case}: CPU time over {ARIA2}", 0.8)
        )
    return found + _of_upgrades(rows) + _of_the_rest(rows)


def _on_lines(rows: Mapping[str, Runs]) -> list[Verdict]:
    found = []
    for case in _cases(rows, "line"):
        if case.startswith("1000 "):
            ours = _ours(rows, "line", case)
            values = tuple(run.wall / run.facts["ideal"] for run in ours)
            found.append(Verdict(f"line of {case}: time over bytes/rate", values, 1.05))
    even, throttled = (_ours(rows, "line", case) for case in ("even", "one throttled"))
    if even and throttled:
        values = tuple(one.wall / other.wall for one, other in zip(throttled, even, strict=False))
        found.append(Verdict("one connection throttled to a tenth: time over none", values, 1.1))
    return found


def _of_upgrades(rows: Mapping[str, Runs]) -> list[Verdict]:
    found = []
    if ours := _ours(rows, "upgrade", "one-in-ten"):
        values = tuple(run.facts["archive"] / run.facts["ideal"] for run in ours)
        found.append(Verdict("upgrade, one file in ten changed: bytes over the ideal", values, 1.02))
        best = best_peer(rows["upgrade"], "one-in-ten")
        label = f"upgrade, one file in ten changed: time over the best peer ({best})"
        found += _compared(rows.get("upgrade", []), "one-in-ten", best, _wall, (label, 0.5))
    for row, sizes in (("upgrade", "51 MiB"), ("inserted", "128 MiB to 1 GiB")):
        label = f"bytes inserted at the front of files of {sizes}: bytes over casync's"
        found += _compared(rows.get(row, []), "inserted", CASYNC, _sent, (label, 1.0))
    return found


def _of_the_rest(rows: Mapping[str, Runs]) -> list[Verdict]:
    found = _compared(
        rows.get("restart", []), "restart", BARE, _wall, (f"restart, nothing to do: time over `{BARE}`", 8)
    )
    for case in _cases(rows, "verify"):
        found += _compared(
            rows.get("verify", []), case, "sha256sum", _wall, (f"verify, {case}: time over parallel sha256sum", 1.0)
        )
    if ours := _ours(rows, "restart", "restart"):
        found.append(Verdict("restart, nothing to do: CPU seconds", tuple(run.cpu for run in ours), 0.25, " s"))
    peaks = (
        ("growth", "size 8192", "a pack of 8 GiB", PEAK_LARGE),
        ("many", "many", "100,000 small files", PEAK_MANY),
    )
    for row, case, label, most in peaks:
        if ours := _ours(rows, row, case):
            found.append(Verdict(f"peak RSS, {label}", tuple(run.rss / MIB for run in ours), most, " MiB"))
    return found + _compared(
        rows.get("many", []), "many", "tar", _wall, ("100,000 small files: time over tar from a local file", 1.3)
    )


def best_peer(runs: Iterable[Run], case: str) -> str:
    """Return the peer with the lowest median; not plain rsync, which does not verify unchanged files."""
    walls: dict[str, list[float]] = {}
    for run in runs:
        if run.case == case and run.contender in PEERS and run.contender != "rsync":
            walls.setdefault(run.contender, []).append(run.wall)
    return min(walls, key=lambda name: median(walls[name]), default=ARIA2)


def pairs(runs: Iterable[Run], case: str, peer: str) -> list[tuple[Run, Run]]:
    """Return the run of models_init and that of the peer for each round."""
    runs = [run for run in runs if run.case == case]
    theirs = {run.round: run for run in runs if run.contender == peer}
    return [(run, theirs[run.round]) for run in runs if run.contender == OURS and run.round in theirs]


def _compared(
    runs: Runs, case: str, peer: str, figure: Callable[[Run], float], goal: tuple[str, float]
) -> list[Verdict]:
    """Return one verdict, or none without results."""
    found = [figure(ours) / figure(theirs) for ours, theirs in pairs(runs, case, peer) if figure(theirs)]
    return [Verdict(goal[0], tuple(found), goal[1])] if found else []


def _cases(rows: Mapping[str, Runs], row: str) -> list[str]:
    return list(dict.fromkeys(run.case for run in rows.get(row, ())))


def _ours(rows: Mapping[str, Runs], row: str, case: str) -> Runs:
    return [run for run in rows.get(row, ()) if run.case == case and run.contender == OURS]


def _wall(run: Run) -> float:
    return run.wall


def _cpu(run: Run) -> float:
    return run.cpu


def _sent(run: Run) -> float:
    return float(run.sent)
