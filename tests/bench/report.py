"""Writes what was measured into docs/performance.md, between its two marks.

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
    """Read the results: the runs of each row, and the circumstances of each."""
    contents = [json.loads(path.read_text()) for path in sorted(directory.glob("*.json"))]
    return {content["name"]: [Run(**run) for run in content["runs"]] for content in contents}, contents


def write(directory: Path, page: Path = PAGE) -> None:
    """Put the tables into the page."""
    rows, contents = load(directory)
    before, _, rest = page.read_text(encoding="utf-8").partition(_BEGIN)
    _, _, after = rest.partition(_END)
    text = "\n".join([*_circumstances(contents), "", *_goals(verdicts(rows)), "", *_everything(rows)])
    page.write_text(f"{before}{_BEGIN}\n{text}\n{_END}{after}", encoding="utf-8")


def _circumstances(contents: list[dict[str, Any]]) -> Iterator[str]:
    """Say where, when and how."""
    yield f"Machine: {contents[0]['machine']}.  "
    dates = sorted(content["date"] for content in contents)
    yield f"Date: {dates[0]} to {dates[-1]} (UTC), models_init {contents[0]['version']}.  "
    for options in dict.fromkeys(content["options"] for content in contents):
        names = " ".join(content["name"] for content in contents if content["options"] == options)
        yield f"Command: `scripts/bench {names} {options}`.  "


def _goals(found: Iterable[Verdict]) -> Iterator[str]:
    yield "### Goals"
    yield ""
    yield "| what | goal | measured | middle half | rounds | |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for verdict in found:
        low, high = (_shown(value) for value in verdict.spread)
        spread = f"{low} to {high}" if len(verdict.values) > 1 else ""
        yield (
            f"| {verdict.what.replace('|', chr(92) + '|')} | ≤ {verdict.most:g}{verdict.unit} "
            f"| {_shown(verdict.median)}{verdict.unit} | {spread} | {len(verdict.values)} "
            f"| {'met' if verdict.met else '**not met**'} |"
        )


def _everything(rows: Mapping[str, list[Run]]) -> Iterator[str]:
    yield "### Everything"
    yield ""
    yield "Medians; the ratio is the program's wall time over the peer's, the median over the rounds."
    yield ""
    yield "| row | case | who | seconds | CPU s | peak MiB | MB from the server | ratio |"
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


def _shown(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.3g}"


if __name__ == "__main__":
    write(Path(sys.argv[1]))
