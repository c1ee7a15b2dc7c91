"""Draw the results into docs/plots. Needs matplotlib.

python -m tests.bench.plots RESULTS
"""

from __future__ import annotations

import math
import sys
from pathlib import Path
from statistics import linear_regression, median, quantiles
from typing import TYPE_CHECKING, Any

import matplotlib as mpl  # type: ignore[import-not-found, unused-ignore]
from matplotlib import pyplot as plt  # type: ignore[import-not-found, unused-ignore]
from matplotlib.lines import Line2D  # type: ignore[import-not-found, unused-ignore]
from matplotlib.patches import Patch  # type: ignore[import-not-found, unused-ignore]

from tests.bench.peers import ARIA2, AZCOPY, CURL, OURS, RSYNC_C
from tests.bench.report import load
from tests.bench.thresholds import LIMIT, MIB, PEAK_LARGE, WITH_TRANSFER, pairs, verdicts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from tests.bench.bench import Run
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
    "figure.constrained_layout.use": True,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
}


_BARS = {
    "first-http": ("First install, http", (ARIA2, CURL)),
    "first-tls": ("First install, TLS", (ARIA2, CURL)),
    "azurite": ("First install from Azurite", (AZCOPY,)),
    "azurite-tls": ("First install from Azurite with TLS", (AZCOPY,)),
    "upgrade": ("Upgrade", (RSYNC_C,)),
    "in-place": ("Upgrade after changes in place", (RSYNC_C,)),
}
"""The scenarios that are drawn as bars: their names in titles, and the peers that the titles compare."""

_WITH_BYTES = ("upgrade", "in-place")


def main() -> None:
    """Draw every plot for which there are results."""
    rows, _ = load(Path(sys.argv[1]))
    use_settings()
    _goals(rows)
    for row, (what, compared) in _BARS.items():
        if row in rows:
            _bars(rows[row], f"{what}: {times(rows[row], compared)}", row)
    if "interrupted" in rows:
        _interrupted(rows["interrupted"])
    if "growth" in rows:
        _growth(rows["growth"])


def use_settings() -> None:
    """Draw as SVG, readable on light and dark backgrounds."""
    mpl.use("svg")
    mpl.rcParams.update(_SETTINGS)
    PLOTS.mkdir(parents=True, exist_ok=True)


def _goals(rows: Mapping[str, list[Run]]) -> None:
    """Draw the measured value of each goal as a share of its limit, with a panel for each group."""
    found = verdicts(rows)
    groups = list(dict.fromkeys(verdict.group for verdict in found))
    members = [[verdict for verdict in found if verdict.group == group][::-1] for group in groups]
    size, heights = (9, 0.28 * len(found) + 0.6 * len(groups) + 1), [len(group) + 0.5 for group in members]
    figure, panels = plt.subplots(
        len(groups), 1, figsize=size, sharex=True, squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    for axes, group, title in zip(panels[:, 0], members, groups, strict=True):
        _group(axes, group)
        axes.set_title(f"{title}: {sum(verdict.met for verdict in group)} of {len(group)} met", loc="left", fontsize=9)
    panels[-1, 0].set_xlabel("measured value / goal; smaller is better")
    figure.suptitle(f"{sum(verdict.met for verdict in found)} of {len(found)} goals are met")
    _legend(figure, {"met": OWN, "not met": BAD}, [Line2D([], [], color=INK, linestyle="--", label="goal")])
    keep(figure, "goals")


def _group(axes: Any, group: list[Verdict]) -> None:
    """Draw the goals of a group; a goal is met if its bar ends before the line."""
    names = [verdict.what for verdict in group]
    shares = [_share(verdict) for verdict in group]
    axes.barh(names, [share[0] for share in shares], color=[OWN if verdict.met else BAD for verdict in group])
    errors = list(zip(*(share[1:] for share in shares), strict=True))
    axes.errorbar([share[0] for share in shares], names, xerr=errors, fmt="none", ecolor=INK)
    axes.axvline(1, color=INK, linewidth=1, linestyle="--")
    axes.margins(y=0.02)


def _share(verdict: Verdict) -> tuple[float, float, float]:
    """Return the share of the limit, and the distances to the ends of the middle half."""
    share, (low, high) = verdict.median / verdict.most, verdict.spread
    return share, max(0, share - low / verdict.most), max(0, high / verdict.most - share)


def times(runs: list[Run], compared: Iterable[str]) -> str:
    """Return the finding of a plot: the range of the ratios of wall times over all cases, for each of these peers."""
    found = []
    for peer in compared:
        cases = [pairs(runs, case, peer) for case in dict.fromkeys(run.case for run in runs)]
        ratios = [median(ours.wall / theirs.wall for ours, theirs in case) for case in cases if case]
        if ratios:
            ends = dict.fromkeys(f"{ratio:.2f}" for ratio in (min(ratios), max(ratios)))
            found.append(f"{' to '.join(ends)} of the time of {peer}")
    return f"models_init takes {', '.join(found)}" if found else "no comparison"


def _bars(runs: list[Run], title: str, name: str) -> None:
    """Draw the seconds of all programs, for an upgrade with the bytes next to them, and a line for each case."""
    cases = list(dict.fromkeys(run.case for run in runs))
    figures: dict[str, Callable[[Run], float]] = {"seconds": _wall}
    if name in _WITH_BYTES:
        figures["MB from the server"] = _megabytes
    across = len(figures) > 1
    shape = (len(cases), len(figures)) if across else (1, len(cases))
    figure, panels = plt.subplots(*shape, figsize=(4.6 * shape[1], 2.2 * shape[0] + 1), squeeze=False)
    for line, case in enumerate(cases):
        for column, (label, value) in enumerate(figures.items()):
            axes = panels[line][column] if across else panels[0][line]
            _panel(axes, _spreads(runs, case, value))
            axes.set_title(case)
            axes.set_xlabel(label)
    figure.suptitle(title)
    bounds = {"lower limit": BOUND} if any(run.contender in (LIMIT, WITH_TRANSFER) for run in runs) else {}
    _legend(figure, {OURS: OWN, "other programs": OTHER, **bounds})
    keep(figure, name)


def _interrupted(runs: list[Run]) -> None:
    """Draw the bytes of both runs as a share of the archive."""
    cases = list(dict.fromkeys(run.case for run in runs))
    figure, panels = plt.subplots(1, len(cases), figsize=(3.6 * len(cases), 3.2), squeeze=False)
    for axes, case in zip(panels[0], cases, strict=True):
        _panel(axes, _spreads(runs, case, _received), "%.2f")
        axes.set_title(case)
        axes.set_xlabel("bytes of both runs / archive")
    ours = [_received(run) for run in runs if run.contender == OURS]
    figure.suptitle(f"Killed at 50 % and run again, models_init downloads {median(ours):.2f} times the archive")
    _legend(figure, {OURS: OWN, "other programs": OTHER})
    keep(figure, "interrupted")


def _wall(run: Run) -> float:
    return run.wall


def _megabytes(run: Run) -> float:
    return run.sent / 1e6


def _received(run: Run) -> float:
    return run.sent / run.facts["archive"]


Spread = tuple[float, float, float]
"""The lower quartile, the median and the upper quartile."""


def _spreads(runs: list[Run], case: str, value: Callable[[Run], float]) -> dict[str, Spread]:
    """Return the spread of a figure for each program."""
    found: dict[str, list[float]] = {}
    for run in runs:
        if run.case == case and run.contender != "into nowhere":
            found.setdefault(run.contender, []).append(value(run))
    return {name: _spread(values) for name, values in found.items()}


def _spread(values: list[float]) -> Spread:
    if len(values) < 2:
        return values[0], values[0], values[0]
    low, middle, high = quantiles(values, n=4, method="inclusive")
    return low, middle, high


def _panel(axes: Any, values: Mapping[str, Spread], form: str = "%.1f") -> None:
    """Draw a bar for each program, the shortest on top, with a line for the middle half of the rounds."""
    order = sorted(values, key=lambda one: -values[one][1])
    colors = [OWN if one == OURS else BOUND if one in (LIMIT, WITH_TRANSFER) else OTHER for one in order]
    lows, middles, highs = zip(*(values[one] for one in order), strict=True)
    errors = [
        [middle - low for low, middle in zip(lows, middles, strict=True)],
        [high - middle for middle, high in zip(middles, highs, strict=True)],
    ]
    bars = axes.barh(order, middles, color=colors, xerr=errors, error_kw={"ecolor": INK, "elinewidth": 1})
    axes.bar_label(bars, fmt=form, padding=2)
    axes.margins(x=0.18)


def _legend(figure: Any, colors: Mapping[str, str], lines: Sequence[Any] = ()) -> None:
    """Add a legend below the panels: a color for each name, lines, and that for the middle half of the rounds."""
    handles = [*(Patch(color=color, label=label) for label, color in colors.items()), *lines]
    handles.append(Line2D([], [], color=INK, label="middle half of the rounds"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), framealpha=0)


def _growth(runs: list[Run]) -> None:
    """Draw seconds, CPU seconds and memory as functions of each size, with the exponent of the larger half."""
    labels = {"size": "MiB of the pack", "files": "files", "versions": "installed versions", "packs": "packs"}
    kinds = {kind: label for kind, label in labels.items() if any(run.case.startswith(f"{kind} ") for run in runs)}
    figures: dict[str, Callable[[Run], float]] = {
        "seconds": _wall,
        "CPU seconds": lambda run: run.cpu,
        "peak MiB": lambda run: run.rss / MIB,
    }
    figure, panels = plt.subplots(len(figures), len(kinds), figsize=(11, 7.5), sharex="col", squeeze=False)
    slopes: dict[tuple[str, str], float] = {}
    for column, (kind, label) in enumerate(kinds.items()):
        points = sorted({int(run.case.split()[1]) for run in runs if run.case.startswith(f"{kind} ")})
        for line, (name, value) in enumerate(figures.items()):
            spreads = [_spread([value(run) for run in runs if run.case == f"{kind} {point}"]) for point in points]
            slopes[kind, name] = exponent(points, [spread[1] for spread in spreads])
            _curve(panels[line][column], points, spreads, has_limit=name == "peak MiB")
            panels[line][column].set_title(f"{name}: {growth(slopes[kind, name])}", fontsize=9)
        panels[-1][column].set_xlabel(label)
    figure.suptitle(grows(slopes.get(("size", "seconds"), math.nan), slopes.get(("size", "peak MiB"), math.nan)))
    _legend(figure, {f"{OURS}, median": OWN, f"limit of {PEAK_LARGE} MiB for a large pack": BAD})
    keep(figure, "growth")


def _curve(axes: Any, points: list[int], spreads: list[Spread], *, has_limit: bool) -> None:
    """Draw the medians with the middle half of the rounds, on logarithmic scales."""
    lows, values, highs = zip(*spreads, strict=True)
    axes.loglog(points, values, "o-", color=OWN, markersize=3)
    axes.vlines(points, lows, highs, color=INK, linewidth=2)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:.0e}"[0] in "25" else "")
    if has_limit:
        axes.axhline(PEAK_LARGE, color=BAD, linewidth=1, linestyle="--")
    axes.set_ylim(min(values) / 2, max(max(values) * 2, 2 * PEAK_LARGE if has_limit else 0))


def grows(seconds: float, memory: float) -> str:
    """State how time and memory grow with the size of a pack."""
    if math.isnan(seconds):
        return "Growth of time and memory"
    memory_text = "memory does not grow" if abs(memory) < 0.1 else f"memory grows with exponent {memory:.2f}"
    if 0.9 < seconds < 1.1:
        return "Time grows in proportion to size; " + ("memory does not" if abs(memory) < 0.1 else memory_text)
    return f"Time grows with exponent {seconds:.2f} of the size; {memory_text}"


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
    figure.savefig(PLOTS / f"{name}.svg", metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    main()
