"""Draw the results into docs/plots. Needs matplotlib.

python -m tests.bench.plots RESULTS
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from statistics import linear_regression, median
from typing import TYPE_CHECKING, Any

import matplotlib as mpl  # type: ignore[import-not-found, unused-ignore]
from matplotlib import pyplot as plt  # type: ignore[import-not-found, unused-ignore]

from tests.bench.bench import Run
from tests.bench.peers import ARIA2, OURS
from tests.bench.report import load
from tests.bench.thresholds import LIMIT, MIB, WITH_TRANSFER, pairs, verdicts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tests.bench.thresholds import Verdict

PLOTS = Path(__file__).parents[2] / "docs" / "plots"
OWN, OTHER, BAD, BOUND = "#0072b2", "#b5b5b5", "#d55e00", "#009e73"
INK = "#767676"  # contrast of at least 4.2 on white and on the dark background of GitHub
_SETTINGS = {
    "svg.hashsalt": "models_init",  # the same figures give the same file
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "savefig.transparent": True,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
}


def main() -> None:
    """Draw every plot for which there are results."""
    rows, _ = load(Path(sys.argv[1]))
    use_settings()
    _goals(rows)
    for row, what in (
        ("first-http", "First install, http"),
        ("first-tls", "First install, TLS"),
        ("upgrade", "Upgrade"),
    ):
        if row in rows:
            _bars(rows[row], what, row)
    if "growth" in rows:
        _growth(rows["growth"])


def use_settings() -> None:
    """Draw as SVG, readable on light and dark backgrounds."""
    mpl.use("svg")
    mpl.rcParams.update(_SETTINGS)
    PLOTS.mkdir(parents=True, exist_ok=True)


def _goals(rows: Mapping[str, list[Run]]) -> None:
    """Draw the measured value of each goal as a share of its limit; a bar that ends before the line is a goal met."""
    found = verdicts(rows)[::-1]
    figure, axes = plt.subplots(figsize=(9, 0.28 * len(found) + 1.2))
    for is_met, color, label in ((True, OWN, "met"), (False, BAD, "not met")):
        kept = [verdict for verdict in found if verdict.met == is_met]
        axes.barh(
            [verdict.what for verdict in kept], [_share(verdict)[0] for verdict in kept], color=color, label=label
        )
    shares, errors = [_share(verdict)[0] for verdict in found], [_share(verdict)[1:] for verdict in found]
    axes.errorbar(
        shares, [verdict.what for verdict in found], xerr=list(zip(*errors, strict=True)), fmt="none", ecolor=INK,
        label="middle half of the rounds",
    )  # fmt: skip
    axes.axvline(1, color=INK, linewidth=1, linestyle="--", label="goal")
    axes.margins(y=0.01)
    axes.set_xlabel("measured value / goal")
    axes.set_title(f"{sum(verdict.met for verdict in found)} of {len(found)} goals are met")
    axes.legend(loc="lower right", framealpha=0)
    keep(figure, "goals")


def _share(verdict: Verdict) -> tuple[float, float, float]:
    """Return the share of the limit, and the distances to the ends of the middle half."""
    share, (low, high) = verdict.median / verdict.most, verdict.spread
    return share, max(0, share - low / verdict.most), max(0, high / verdict.most - share)


def _bars(runs: list[Run], title: str, name: str) -> None:
    """Draw the seconds of all programs, and for an upgrade the bytes, with a column of panels for each case."""
    cases = list(dict.fromkeys(run.case for run in runs))
    figures: dict[str, Callable[[Run], float]] = {"seconds": lambda run: run.wall}
    if name == "upgrade":
        figures["MB from the server"] = lambda run: run.sent / 1e6
    size = (3.2 * len(cases), 2.3 * len(figures) + 0.5)
    figure, panels = plt.subplots(len(figures), len(cases), figsize=size, squeeze=False)
    for line, (label, value) in enumerate(figures.items()):
        for axes, case in zip(panels[line], cases, strict=True):
            _panel(axes, {run.contender: value(run) for run in _medians(runs, case)})
            axes.set_title(case)
            axes.set_xlabel(label)
    ratios = [
        median(ours.wall / theirs.wall for ours, theirs in pairs(runs, case, ARIA2))
        for case in cases
        if pairs(runs, case, ARIA2)
    ]
    finding = f": models_init takes {min(ratios):.2f} to {max(ratios):.2f} of the time of {ARIA2}" if ratios else ""
    figure.suptitle(title + finding)
    keep(figure, name)


def _medians(runs: list[Run], case: str) -> Iterator[Run]:
    """Yield one run for each program, with the medians of its figures."""
    for one in dict.fromkeys(run.contender for run in runs if run.case == case and run.contender != "into nowhere"):
        own = [run for run in runs if (run.case, run.contender) == (case, one)]
        wall, cpu, rss, sent = (median(getattr(run, name) for run in own) for name in ("wall", "cpu", "rss", "sent"))
        yield Run(case, one, 0, wall, cpu, int(rss), int(sent))


def _panel(axes: Any, values: Mapping[str, float]) -> None:
    order = sorted(values, key=lambda one: -values[one])
    colors = [OWN if one == OURS else BOUND if one in (LIMIT, WITH_TRANSFER) else OTHER for one in order]
    bars = axes.barh(order, [values[one] for one in order], color=colors)
    axes.bar_label(bars, fmt="%.1f", padding=2)
    axes.margins(x=0.18)


def _growth(runs: list[Run]) -> None:
    """Draw seconds, CPU seconds and memory as functions of each size, with the exponent of the larger half."""
    labels = {"size": "MiB of the pack", "files": "files", "versions": "installed versions", "packs": "packs"}
    kinds = {kind: label for kind, label in labels.items() if any(run.case.startswith(f"{kind} ") for run in runs)}
    figures: dict[str, Callable[[Run], float]] = {
        "seconds": lambda run: run.wall,
        "CPU seconds": lambda run: run.cpu,
        "peak MiB": lambda run: run.rss / MIB,
    }
    figure, panels = plt.subplots(len(figures), len(kinds), figsize=(11, 7), sharex="col")
    for column, (kind, label) in enumerate(kinds.items()):
        points = sorted({int(run.case.split()[1]) for run in runs if run.case.startswith(f"{kind} ")})
        for line, (name, value) in enumerate(figures.items()):
            axes = panels[line][column]
            values = [median(value(run) for run in runs if run.case == f"{kind} {point}") for point in points]
            axes.loglog(points, values, "o-", color=OWN, markersize=3)
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:.0e}"[0] in "25" else "")
            if name == "peak MiB":
                axes.axhline(150, color=BAD, linewidth=1, linestyle="--")
            axes.set_ylim(min(values) / 2, max(max(values) * 2, 200 if name == "peak MiB" else 0))
            axes.set_title(f"{name}: {growth(exponent(points, values))}", fontsize=9)
            if line == len(figures) - 1:
                axes.set_xlabel(label)
    keep(figure, "growth")


def growth(slope: float) -> str:
    """Describe an exponent."""
    if abs(slope) < 0.1:
        return "constant"
    return "proportional" if 0.9 < slope < 1.1 else f"exponent {slope:.2f}"


def exponent(points: list[int], values: list[float]) -> float:
    """Return the slope over the larger half of the points, where the cost of the start matters little."""
    half = max(2, len(points) // 2 + 1)
    xs, ys = ([math.log(value) for value in series[-half:]] for series in (points, values))
    return linear_regression(xs, ys).slope if len(set(xs)) > 1 else math.nan


def keep(figure: Any, name: str) -> None:
    """Write a figure into `PLOTS`."""
    figure.tight_layout()
    figure.savefig(PLOTS / f"{name}.svg", metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    main()
