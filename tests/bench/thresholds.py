"""The goals, and their verdicts from the runs: the median of one ratio for each round."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median, quantiles
from typing import TYPE_CHECKING

from tests.bench.peers import ARIA2, AZCOPY, CASYNC, CURL, OURS, PEERS, RSYNC_C, ZCHUNK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from tests.bench.bench import Run

    Runs = list[Run]

BARE = "python3 -c 'import json'"
LIMIT, WITH_TRANSFER = "the limit", "the limit with the transfer"
WRITING = "writing as many bytes"
MIB = 1 << 20

PEAK_LARGE, PEAK_MANY = 90, 224
"""Limits in MiB of the peak memory of an install: of a large pack, and of 100,000 files."""

INSTALL, CPU, LINE, UPGRADE, OTHER = (
    "Time of a first install",
    "CPU time of a first install",
    "On a line",
    "Upgrade and resumption",
    "Memory, large releases, restart and verification",
)
"""The groups of goals, in the order in which they are shown."""


@dataclass(frozen=True)
class Verdict:
    """A goal: its group, the comparison `what`, its values in each round, and the limit `most` of their median."""

    group: str
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
    """Return the verdicts on all goals for which there are results, group by group."""
    return [*_of_installs(rows), *_of_cpu(rows), *_on_lines(rows), *_of_upgrades(rows), *_of_the_rest(rows)]


def _of_installs(rows: Mapping[str, Runs]) -> Iterator[Verdict]:
    azure = (("azurite", "from Azurite", AZCOPY, 0.33), ("azurite-tls", "from Azurite with TLS", AZCOPY, 0.33))
    nginx = (
        ("first-http", "http", ARIA2, 0.38),
        ("first-http", "http", CURL, 0.48),
        ("first-tls", "TLS", ARIA2, 0.42),
        ("first-tls", "TLS", CURL, 0.55),
        ("first-http", "http", WITH_TRANSFER, 1.5),
    )
    for row, label, peer, most in (*azure, *nginx):
        for case in _cases(rows, row):
            name = "" if row.startswith("azurite") else f", {case}"
            yield from _compared(rows[row], case, peer, _wall, (INSTALL, f"{label}{name}: time over {peer}", most))
    for case in _cases(rows, "registry"):
        best = best_peer(rows["registry"], case)
        label = f"from a registry, {case}: time over the better of skopeo and oras ({best})"
        yield from _compared(rows["registry"], case, best, _wall, (INSTALL, label, 0.5))
    label = "100,000 small files: time over tar from a local file"
    yield from _compared(rows.get("many", []), "many", "tar", _wall, (INSTALL, label, 1.3))


def _of_cpu(rows: Mapping[str, Runs]) -> Iterator[Verdict]:
    for row, label, peer, most in (
        ("azurite", "from Azurite", AZCOPY, 0.33),
        ("azurite-tls", "from Azurite with TLS", AZCOPY, 0.33),
        ("first-http", "http", ARIA2, 0.6),
    ):
        for case in _cases(rows, row):
            name = "" if row.startswith("azurite") else f", {case}"
            yield from _compared(rows[row], case, peer, _cpu, (CPU, f"{label}{name}: CPU time over {peer}", most))


def _on_lines(rows: Mapping[str, Runs]) -> Iterator[Verdict]:
    for case in _cases(rows, "line"):
        if case.startswith("1000 "):
            values = tuple(run.wall / run.facts["ideal"] for run in _ours(rows, "line", case))
            yield Verdict(LINE, f"line of {case}: time over bytes/rate", values, 1.05)
    even, throttled = (_ours(rows, "line", case) for case in ("even", "one throttled"))
    if even and throttled:
        values = tuple(one.wall / other.wall for one, other in zip(throttled, even, strict=False))
        yield Verdict(LINE, "one connection throttled to a tenth: time over none", values, 1.1)


def _of_upgrades(rows: Mapping[str, Runs]) -> Iterator[Verdict]:
    if ours := _ours(rows, "upgrade", "one-in-ten"):
        values = tuple(run.facts["archive"] / run.facts["ideal"] for run in ours)
        yield Verdict(UPGRADE, "one file in ten changed: bytes over the ideal", values, 1.02)
        label = f"one file in ten changed: time over {RSYNC_C}"
        yield from _compared(rows["upgrade"], "one-in-ten", RSYNC_C, _wall, (UPGRADE, label, 0.6))
    for row, sizes in (("upgrade", "51 MiB"), ("inserted", "128 MiB to 1 GiB")):
        label = f"bytes inserted at the front of files of {sizes}: bytes over casync's"
        yield from _compared(rows.get(row, []), "inserted", CASYNC, _sent, (UPGRADE, label, 1.0))
    label = "1 % of each file changed in place, recommended chunk size: bytes over zchunk's"
    yield from _compared(rows.get("in-place", []), "one-percent", ZCHUNK, _sent, (UPGRADE, label, 2.0))
    for case in ("nginx", "Azurite"):
        if ours := _ours(rows, "interrupted", case):
            values = tuple(run.sent / run.facts["archive"] for run in ours)
            yield Verdict(UPGRADE, f"interrupted at 50 %, {case}: bytes over those of the archive", values, 1.02)


def _of_the_rest(rows: Mapping[str, Runs]) -> Iterator[Verdict]:
    restarts = rows.get("restart", [])
    yield from _compared(restarts, "restart", BARE, _wall, (OTHER, f"nothing to do: time over `{BARE}`", 8))
    if ours := _ours(rows, "restart", "restart"):
        yield Verdict(OTHER, "nothing to do: CPU seconds", tuple(run.cpu for run in ours), 0.25, " s")
    for case in _cases(rows, "verify"):
        label = f"verify, {case}: time over parallel sha256sum"
        yield from _compared(rows["verify"], case, "sha256sum", _wall, (OTHER, label, 1.0))
    peaks = (
        ("growth", "size 8192", "a pack of 8 GiB", PEAK_LARGE),
        ("sites", "30 GiB", "a release of 30 GiB", PEAK_LARGE),
        ("many", "many", "100,000 small files", PEAK_MANY),
    )
    for row, case, label, most in peaks:
        if ours := _ours(rows, row, case):
            yield Verdict(OTHER, f"peak RSS, {label}", tuple(run.rss / MIB for run in ours), most, " MiB")
    for case in ("13 GiB", "30 GiB"):
        label = f"a release of {case} on a disk: time over {WRITING}"
        yield from _compared(rows.get("sites", []), case, WRITING, _wall, (OTHER, label, 1.1))


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
    runs: Runs, case: str, peer: str, figure: Callable[[Run], float], goal: tuple[str, str, float]
) -> list[Verdict]:
    """Return one verdict on a goal (group, comparison and limit), or none without results."""
    found = [figure(ours) / figure(theirs) for ours, theirs in pairs(runs, case, peer) if figure(theirs)]
    group, what, most = goal
    return [Verdict(group, what, tuple(found), most)] if found else []


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
