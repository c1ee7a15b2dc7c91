"""Draw plots of the simulated scenarios into docs/plots. Needs matplotlib (`scripts/simulate-fleet --plots`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matplotlib import pyplot as plt  # type: ignore[import-not-found, unused-ignore]

from tests.bench.plots import BAD, BOUND, INK, OTHER, OWN, keep, use_settings
from tests.fleet.report import SITES, results

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Results = Mapping[str, dict[str, Any]]

_STYLES = ("none", "10 s", "30 s", "date")
_VARIANTS = ("alone", "spread", "mirrors", "cache")
_LIMIT = 3000  # requests per second


def main() -> None:
    """Draw both plots from the scenarios that were run."""
    use_settings()
    found = results()
    _requests(found)
    _variants(found)


def _requests(found: Results) -> None:
    """Draw accepted and refused requests per second, and the share of sites that are done, by form of Retry-After."""
    styles = [style for style in _STYLES if f"retry-after {style}, 512 MiB" in found]
    figure, panels = plt.subplots(len(styles), 1, figsize=(9, 1.6 * len(styles) + 0.6), sharex=True, squeeze=False)
    for (axes,), style in zip(panels, styles, strict=True):
        figures = found[f"retry-after {style}, 512 MiB"]
        series = figures["series"]
        accepted = [offered - refused for offered, refused in zip(series["requests"], series["refused"], strict=True)]
        seconds = range(len(accepted))
        axes.bar(seconds, accepted, width=1, color=OWN, label="accepted")
        axes.bar(seconds, series["refused"], width=1, bottom=accepted, color=BAD, label="refused")
        axes.axhline(_LIMIT, color=INK, linewidth=1, linestyle="--", label="limit of the service")
        axes.axvline(figures["seconds"]["fluid_limit"], color=BOUND, linewidth=1, linestyle="--", label="fluid limit")
        axes.set_ylabel("requests/s")
        done = axes.twinx()
        done.plot(seconds, [100 * count / series["done"][-1] for count in series["done"]], color=INK)
        done.set_ylabel("% done")
        name = "no Retry-After" if style == "none" else f"Retry-After: {style if style != 'date' else 'a date'}"
        axes.set_title(f"{name}: {figures['refused_share']:.0%} refused", fontsize=9)
    panels[0][0].legend(loc="center right", framealpha=0)
    panels[-1][0].set_xlabel("seconds")
    keep(figure, "fleet-retry-after")


def _variants(found: Results) -> None:
    """Draw time, refused share and bytes of the origin for each way to install."""
    rows: dict[str, Callable[[dict[str, Any]], float]] = {
        "seconds until 99 % are done": lambda figures: figures["seconds"]["99_percent_done"],
        "% of requests refused": lambda figures: 100 * figures["refused_share"],
        "GB from the container": lambda figures: figures["egress_bytes"] / 1e9,
    }
    cases = [
        (kind, sites) for kind in ("delta", "full") for sites in SITES if f"{kind}, {sites}, {_VARIANTS[0]}" in found
    ]
    figure, panels = plt.subplots(len(cases), len(rows), figsize=(9, 1.3 * len(cases) + 0.6), squeeze=False)
    for line, (kind, sites) in zip(panels, cases, strict=True):
        variants = [name for name in reversed(_VARIANTS) if f"{kind}, {sites}, {name}" in found]
        for axes, (label, value) in zip(line, rows.items(), strict=True):
            figures = [value(found[f"{kind}, {sites}, {name}"]) for name in variants]
            bars = axes.barh(variants, figures, color=[OWN if name == "alone" else OTHER for name in variants])
            axes.bar_label(bars, fmt=lambda figure: f"{figure:,.0f}" if figure >= 100 else f"{figure:.3g}", padding=2)
            axes.margins(x=0.2)
            axes.set_title(f"{sites:,} machines, {kind}" if axes is line[0] else "", fontsize=9)
            if (kind, sites) == cases[-1]:
                axes.set_xlabel(label)
    keep(figure, "fleet-variants")


if __name__ == "__main__":
    main()
