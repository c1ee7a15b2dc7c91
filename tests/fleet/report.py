"""Summarize a simulation as figures, as text and as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models_init.core.units import human_size

if TYPE_CHECKING:
    from tests.fleet.simulation import Outcome

RESULTS = Path(__file__).parents[2] / ".cache" / "fleet"
"""The directory of the figures of scenarios, one file for each."""

SITES = (1000, 10_000)
"""Numbers of machines in the scenarios."""

SETTLED = 60
"""Seconds after which the peak is judged: the first minute shows the burst of the start."""


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of a simulation. Requests per second are those that arrived at the origin, refused ones included."""

    peak: int
    peak_settled: int
    mean: float
    refused: float
    refused_settled: float
    egress: int
    egress_peak: int
    half_done: float
    most_done: float
    all_done: float
    fluid_limit: float
    codes: dict[int, int]
    retries: int
    wasted: int

    @property
    def ratio(self) -> float:
        """The time until 99 % are done as a multiple of the fluid limit."""
        return self.most_done / self.fluid_limit


def summarize(outcome: Outcome) -> Summary:
    """Return the figures of an outcome."""
    traffic, machines = outcome.traffic, outcome.machines
    seconds = range(int(outcome.done(1.0)) + 1)
    settled = range(SETTLED, len(seconds))
    offered, refused = traffic.offered, traffic.refused
    return Summary(
        peak=max(offered.values()),
        peak_settled=max((offered[second] for second in settled), default=0),
        mean=offered.total() / len(seconds),
        refused=refused.total() / offered.total(),
        refused_settled=_share([refused[second] for second in settled], [offered[second] for second in settled]),
        egress=traffic.sent.total(),
        egress_peak=max(traffic.sent.values()),
        half_done=outcome.done(0.5),
        most_done=outcome.done(0.99),
        all_done=outcome.done(1.0),
        fluid_limit=outcome.fluid_limit,
        codes=dict(sorted(outcome.codes().items())),
        retries=sum(machine.retries for machine in machines),
        wasted=sum(machine.fetched - outcome.needed for machine in machines),
    )


def _share(part: list[int], whole: list[int]) -> float:
    return sum(part) / sum(whole) if sum(whole) else 0.0


def as_json(outcome: Outcome) -> dict[str, Any]:
    """Return the figures, with the requests, refusals, bytes and finished machines of each second."""
    summary, traffic = summarize(outcome), outcome.traffic
    seconds = range(int(summary.all_done) + 1)
    ended = sorted(machine.ended for machine in outcome.machines)
    return {
        "requests_per_second": {
            "peak": summary.peak,
            "peak_after_first_minute": summary.peak_settled,
            "mean": round(summary.mean, 1),
        },
        "refused_share": round(summary.refused, 4),
        "refused_share_after_first_minute": round(summary.refused_settled, 4),
        "egress_bytes": summary.egress,
        "egress_bytes_per_second_peak": summary.egress_peak,
        "seconds": {
            "half_done": round(summary.half_done, 1),
            "99_percent_done": round(summary.most_done, 1),
            "all_done": round(summary.all_done, 1),
            "fluid_limit": round(summary.fluid_limit, 1),
        },
        "ratio_to_fluid_limit": round(summary.ratio, 3),
        "exits_by_code": {str(code): count for code, count in summary.codes.items()},
        "retries": summary.retries,
        "wasted_bytes": summary.wasted,
        "series": {
            "requests": [traffic.offered[second] for second in seconds],
            "refused": [traffic.refused[second] for second in seconds],
            "bytes": [traffic.sent[second] for second in seconds],
            "done": [sum(end < second + 1 for end in ended) for second in seconds],
        },
    }


def as_text(outcome: Outcome) -> str:
    """Return the figures as lines of text."""
    summary = summarize(outcome)
    exits = ", ".join(f"{count} with {code}" for code, count in summary.codes.items())
    rows = {
        "requests per second": f"{summary.peak:,} at most, {summary.peak_settled:,} after the first minute, "
        f"{summary.mean:,.0f} on average",
        "refused": f"{summary.refused:.1%}, {summary.refused_settled:.1%} after the first minute",
        "egress": f"{human_size(summary.egress)}, {human_size(summary.egress_peak)}/s at most",
        "half done after": f"{summary.half_done:.0f} s",
        "99 % done after": f"{summary.most_done:.0f} s, {summary.ratio:.2f} times the fluid limit of "
        f"{summary.fluid_limit:.0f} s",
        "all done after": f"{summary.all_done:.0f} s",
        "runs by exit code": exits,
        "retries": f"{summary.retries:,}",
        "wasted": human_size(summary.wasted),
    }
    return "\n".join(f"{name:<20} {value}" for name, value in rows.items())


def results() -> dict[str, dict[str, Any]]:
    """Return the figures that were kept, by the name of the scenario."""
    return {path.stem: json.loads(path.read_text()) for path in RESULTS.glob("*.json")}
