"""The benchmark runs: every scenario in its small form. No speed is checked."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import services
from tests.bench import report, thresholds, tools
from tests.bench.bench import Bench, Row, Run, opened
from tests.bench.peers import CURL, OURS, ProgramCopy
from tests.bench.scenarios.rows import ROWS

if TYPE_CHECKING:
    from collections.abc import Iterator

_ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """The parts of the benchmark that all scenarios share."""
    if services.IN_CI:
        assert tools.absent(tools.PACKAGES) == []
    for name in ("nginx", "curl"):
        services.require_tool(name)
    directory = tmp_path_factory.mktemp("bench")
    with opened(directory, directory / "results", 1, full=False) as bench_run:
        yield bench_run


@pytest.mark.parametrize("name", ROWS)
def test_small_scenario_runs_and_results_can_be_read_again(bench: Bench, name: str) -> None:
    """No peer may be missing in CI. Each run also compares the resulting tree with the published one."""
    row = Row(name)
    ROWS[name](bench, row)
    bench.save(row)
    rows, _ = report.load(bench.out)
    assert rows[name] == row.runs
    assert row.runs
    assert all(run.wall > 0 for run in row.runs)
    if services.IN_CI:
        assert row.skipped == {}


def test_report_replaces_tables_and_is_idempotent(tmp_path: Path) -> None:
    """Only the text between the two markers changes."""
    program = ProgramCopy(tmp_path, Path(sys.executable))
    saved = Bench(tmp_path, tmp_path, tmp_path, tmp_path / "results", 1, full=False, program=program)
    saved.save(Row("first-http", [Run("large", name, 0, wall, 1.0, 1) for name, wall in ((OURS, 1.0), (CURL, 3.0))]))
    saved.save(Row("interrupted", [Run("nginx", OURS, 0, 1.0, 0.1, 1, 1010, {"archive": 1000})]))
    page = tmp_path / "page.md"
    before = (_ROOT / "docs" / "performance.md").read_text()
    page.write_text(before)
    report.write(saved.out, page)
    text = page.read_text()
    marks = re.compile(r"<!-- /?measured.*-->\n")
    assert marks.split(text)[::2] == marks.split(before)[::2]
    for beginning in (
        "| http, large: time over curl \\| tee \\| tar |",
        "| interrupted at 50 %, nginx: bytes over those of the archive |",
        "| first-http | large | models_init |",
    ):
        assert text.count(beginning) == 1
    report.write(saved.out, page)
    assert page.read_text() == text


def test_verdict_is_median_of_ratios_per_round() -> None:
    """One noisy round does not change the verdict."""
    runs = [
        Run("restart", name, number, wall, 0.1, 1)
        for number, (ours, bare) in enumerate([(2.0, 1.0), (30.0, 10.0), (9.0, 1.0)])
        for name, wall in (("models_init", ours), (thresholds.BARE, bare))
    ]
    (verdict,) = (verdict for verdict in thresholds.verdicts({"restart": runs}) if "time over" in verdict.what)
    assert verdict.values == (2.0, 3.0, 9.0)
    assert (verdict.median, verdict.met) == (3.0, True)


def test_interrupted_install_is_judged_by_bytes_of_both_runs() -> None:
    runs = [Run("nginx", "models_init", 0, 1.0, 0.1, 1, sent, {"archive": 1000}) for sent in (1010, 1030, 1015)]
    (verdict,) = thresholds.verdicts({"interrupted": runs})
    assert (verdict.median, verdict.met) == (1.015, True)


def test_pinned_peers_have_the_compared_versions(tmp_path: Path) -> None:
    """Debian's rclone is older, and Debian has no AzCopy."""
    shown = {}
    for name, arguments in (("azcopy", ["--version"]), ("rclone", ["version", "--config=/dev/null"])):
        program = tools.find(name) or services.missing(f"no {name}", tools.remedy([name]))
        environment = {"HOME": str(tmp_path), "AZCOPY_LOG_LOCATION": str(tmp_path)}
        done = subprocess.run([program, *arguments], env=environment, capture_output=True, text=True, check=True)
        shown[name] = done.stdout.split()[2 if name == "azcopy" else 1]
    assert shown["azcopy"].startswith("10.32.")
    assert tuple(map(int, shown["rclone"].removeprefix("v").split(".")[:2])) >= (1, 75)


def test_missing_required_tool_is_reported_with_its_package(tmp_path: Path) -> None:
    (tmp_path / "curl").symlink_to(tools.find("curl") or services.require_tool("curl"))
    script = "import tests.bench.tools as t; t._SYSTEM_DIRECTORIES = ''; import tests.bench.__main__ as m; m.main()"
    command = [str(_ROOT / ".venv" / "bin" / "python"), "-c", script]
    environment = {**os.environ, "PATH": str(tmp_path)}
    done = subprocess.run(command, cwd=_ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.stderr == "scripts/bench: not installed: nginx; apt-get install nginx-light\n"
