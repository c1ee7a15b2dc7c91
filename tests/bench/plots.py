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

from tests.bench.peers import OURS
from tests.bench.report import load
from tests.bench.thresholds import LIMIT, MIB, WITH_TRANSFER, verdicts

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.bench.bench import Run

PLOTS = Path(__file__).parents[2] / "docs" / "plots"
_OWN, _OTHER, _BAD = "#0072b2", "#b5b5b5", "#d55e00"
_SETTINGS = {
    "svg.hashsalt": "models_init",  # the same figures give the same file
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def main() -> None:
    """Draw every plot for which there are results."""
    rows, _ = load(Path(sys.argv[1]))
    mpl.use("svg")
    mpl.rcParams.update(_SETTINGS)
    PLOTS.mkdir(parents=True, exist_ok=True)
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


def _goals(rows: Mapping[str, list[Run]]) -> None:
    """Draw the measured value of each goal as a share of its limit; a bar that ends before the line is a goal met."""
    found = verdicts(rows)[::-1]
    figure, axes = plt.subplots(figsize=(9, 0.28 * len(found) + 1))
    shares = [verdict.median / verdict.most for verdict in found]
    spreads = [[verdict.spread[side] / verdict.most for verdict in found] for side in (0, 1)]
    errors = [
        [max(0, share - low) for share, low in zip(shares, spreads[0], strict=True)],
        [max(0, high - share) for share, high in zip(shares, spreads[1], strict=True)],
    ]
    colors = [_OWN if verdict.met else _BAD for verdict in found]
    axes.barh([verdict.what for verdict in found], shares, xerr=errors, color=colors, ecolor="#555555", height=0.7)
    axes.axvline(1, color="black", linewidth=1)
    axes.margins(y=0.01)
    axes.set_xlabel("measured / goal; whiskers hold the middle half")
    _keep(figure, "goals")


def _bars(runs: list[Run], title: str, name: str) -> None:
    """Draw the seconds of all programs, with a panel for each case."""
    cases = list(dict.fromkeys(run.case for run in runs))
    figure, panels = plt.subplots(1, len(cases), figsize=(3.2 * len(cases), 2.6), squeeze=False)
    for axes, case in zip(panels[0], cases, strict=True):
        who = list(dict.fromkeys(run.contender for run in runs if run.case == case and run.contender != "into nowhere"))
        walls = {one: median(run.wall for run in runs if (run.case, run.contender) == (case, one)) for one in who}
        order = sorted(walls, key=lambda one: -walls[one])
        colors = [_OWN if one == OURS else "#009e73" if one in (LIMIT, WITH_TRANSFER) else _OTHER for one in order]
        bars = axes.barh(order, [walls[one] for one in order], color=colors)
        axes.bar_label(bars, fmt="%.1f", padding=2)
        axes.margins(x=0.18)
        axes.set_title(case)
        axes.set_xlabel("seconds")
    figure.suptitle(title)
    _keep(figure, name)


def _growth(runs: list[Run]) -> None:
    """Draw seconds, CPU seconds and memory as functions of each size, with the exponent of the larger half."""
    labels = {"size": "MiB of the pack", "files": "files", "versions": "versions there", "packs": "packs"}
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
            axes.loglog(points, values, "o-", color=_OWN, markersize=3)
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:.0e}"[0] in "25" else "")
            if name == "peak MiB":
                axes.axhline(150, color=_BAD, linewidth=1, linestyle="--")
            axes.set_ylim(min(values) / 2, max(max(values) * 2, 200 if name == "peak MiB" else 0))
            axes.set_title(f"{name}, exponent {exponent(points, values):.2f}", fontsize=9)
            if line == len(figures) - 1:
                axes.set_xlabel(label)
    _keep(figure, "growth")


def exponent(points: list[int], values: list[float]) -> float:
    """Return the slope over the larger half of the points, where the cost of the start matters little."""
    half = max(2, len(points) // 2 + 1)
    xs, ys = ([math.log(value) for value in series[-half:]] for series in (points, values))
    return linear_regression(xs, ys).slope if len(set(xs)) > 1 else math.nan


def _keep(figure: Any, name: str) -> None:
    figure.tight_layout()
    figure.savefig(PLOTS / f"{name}.svg", metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    main()
