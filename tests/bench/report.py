"""Write the results into docs/performance.md, between its two markers.

python -m tests.bench.report RESULTS
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from tests.bench.bench import Run
from tests.bench.peers import OURS
from tests.bench.thresholds import MIB, pairs, verdicts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from tests.bench.thresholds import Verdict

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
_BEGIN, _END = "<!-- measured: written by scripts/bench --report -->\n", "<!-- /measured -->\n"


def load(directory: Path) -> tuple[dict[str, list[Run]], list[dict[str, Any]]]:
    """Read the results: the runs of each scenario, and its files with date, machine and options."""
    contents = [json.loads(path.read_text()) for path in sorted(directory.glob("*.json"))]
    return {content["name"]: [Run(**run) for run in content["runs"]] for content in contents}, contents


def write(directory: Path, page: Path = PAGE) -> None:
    """Replace the tables of the page."""
    rows, contents = load(directory)
    before, _, rest = page.read_text(encoding="utf-8").partition(_BEGIN)
    _, _, after = rest.partition(_END)
    text = "\n".join([*_conditions(contents), "", *_goals(verdicts(rows)), "", *_all_results(rows)])
    page.write_text(f"{before}{_BEGIN}\n{text}\n{_END}{after}", encoding="utf-8")


def _conditions(contents: list[dict[str, Any]]) -> Iterator[str]:
    """Yield lines with machine, date and command."""
    yield f"Machine: {contents[0]['machine']}.  "
    dates = sorted(content["date"] for content in contents)
    yield f"Date: {dates[0]} to {dates[-1]} (UTC), models_init {contents[0]['version']}.  "
    for options in dict.fromkeys(content["options"] for content in contents):
        names = " ".join(content["name"] for content in contents if content["options"] == options)
        yield f"Command: `scripts/bench {names} {options}`.  "


def _goals(found: Iterable[Verdict]) -> Iterator[str]:
    yield "### Goals"
    yield ""
    yield "| group | comparison | goal | measured | middle half | rounds | |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for verdict in found:
        low, high = (_rounded(value) for value in verdict.spread)
        spread = f"{low} to {high}" if len(verdict.values) > 1 else ""
        yield (
            f"| {verdict.group} | {verdict.what.replace('|', chr(92) + '|')} | ≤ {verdict.most:g}{verdict.unit} "
            f"| {_rounded(verdict.median)}{verdict.unit} | {spread} | {len(verdict.values)} "
            f"| {'met' if verdict.met else '**not met**'} |"
        )


def _all_results(rows: Mapping[str, list[Run]]) -> Iterator[str]:
    yield "### All results"
    yield ""
    yield "Medians. The ratio is the wall time of models_init divided by that of the peer; the median of the rounds."
    yield ""
    yield "| scenario | case | program | seconds | CPU s | peak MiB | MB from the server | ratio |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    for row, runs in rows.items():
        if row == "growth":
            continue
        for case in dict.fromkeys(run.case for run in runs):
            for who in dict.fromkeys(run.contender for run in runs if run.case == case):
                yield _line(row, case, who, runs)


def _line(row: str, case: str, who: str, runs: list[Run]) -> str:
    own = [run for run in runs if (run.case, run.contender) == (case, who)]
    wall, cpu, rss, sent = (median(getattr(run, name) for run in own) for name in ("wall", "cpu", "rss", "sent"))
    ratios = [ours.wall / theirs.wall for ours, theirs in pairs(runs, case, who) if who != OURS]
    cells = [row, case, who, f"{wall:.2f}", f"{cpu:.2f}", f"{rss / MIB:.0f}" if rss else ""]
    cells += [f"{sent / 1e6:.1f}" if sent else "", f"{median(ratios):.2f}" if ratios else ""]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _rounded(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.3g}"


if __name__ == "__main__":
    write(Path(sys.argv[1]))
