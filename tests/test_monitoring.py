"""deploy/monitoring: alerts and dashboard are valid, and use only metrics that the program writes."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from models_init.output.metrics import METRICS, PREFIX
from tests.services import require_tool

if TYPE_CHECKING:
    from collections.abc import Iterable

_DIRECTORY = Path(__file__).parents[1] / "deploy/monitoring"
_DASHBOARD: dict[str, Any] = json.loads((_DIRECTORY / "dashboard.json").read_text())


def promtool(*arguments: str) -> str:
    """Run promtool and return its output; it must succeed."""
    command = [require_tool("promtool"), *arguments]
    done = subprocess.run(command, cwd=_DIRECTORY, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def queries() -> Iterable[str]:
    """Return the queries of all panels, with values instead of the dashboard's variables."""
    for panel in _DASHBOARD["panels"]:
        for target in panel["targets"]:
            yield target["expr"].replace("$instance", ".*")


def test_alerts_are_valid_rules() -> None:
    assert re.search(r"SUCCESS: [1-9]\d* rules found", promtool("check", "rules", "alerts.yml"))


def test_alerts_fire_as_their_tests_say() -> None:
    assert "SUCCESS" in promtool("test", "rules", "alerts.test.yml")


def test_every_query_of_the_dashboard_is_valid(tmp_path: Path) -> None:
    """Each query is checked as a recording rule, because promtool cannot check dashboards."""
    rules = [{"record": f"panel:{number}", "expr": query} for number, query in enumerate(queries())]
    file = tmp_path / "rules.yml"
    file.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"SUCCESS: {len(rules)} rules found" in promtool("check", "rules", str(file))


def test_alerts_and_dashboard_use_existing_metrics() -> None:
    texts = [(_DIRECTORY / name).read_text() for name in ("alerts.yml", "alerts.test.yml", "dashboard.json")]
    used = set(re.findall(rf"{PREFIX}(\w+)", "".join(texts)))
    assert used
    assert used <= METRICS.keys()


def test_panels_do_not_overlap() -> None:
    cells = [
        (x, y)
        for grid in (panel["gridPos"] for panel in _DASHBOARD["panels"])
        for x in range(grid["x"], grid["x"] + grid["w"])
        for y in range(grid["y"], grid["y"] + grid["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
    assert len({panel["id"] for panel in _DASHBOARD["panels"]}) == len(_DASHBOARD["panels"])
