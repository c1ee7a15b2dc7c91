"""Kill the program before each change that it makes to the volume; the next run must complete its work."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.lifecycle.crash_points import CrashScenario, cover, cover_pairs, run_and_record
from tests.lifecycle.scenarios import SCENARIOS, copy_volume
from tests.lifecycle.summary import report_at_end
from tests.lifecycle.syscalls import require_tracing

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lifecycle.fork_server import Pool
    from tests.lifecycle.sample_packs import SamplePacks

_PAIRS = 30


@pytest.fixture(autouse=True)
def _tracing() -> None:
    require_tracing()


@pytest.mark.parametrize("name", SCENARIOS)
def test_kill_before_each_change_is_survived(name: str, pool: Pool, samples: SamplePacks, memory: Path) -> None:
    """`current` is absent or complete, no public name is incomplete, and the next run converges."""
    coverage = cover(pool, CrashScenario(name, samples, memory / "crash"))
    report_at_end(coverage)
    assert coverage.points >= len(coverage.stops) - 2, "few runs were stopped at all"
    assert coverage.faults == []


@pytest.mark.parametrize("name", SCENARIOS)
def test_kill_during_recovery_is_survived(name: str, pool: Pool, samples: SamplePacks, memory: Path) -> None:
    coverage = cover_pairs(pool, CrashScenario(name, samples, memory / "crash"), _PAIRS)
    report_at_end(coverage)
    assert coverage.faults == []


@pytest.mark.parametrize("name", ["install", "upgrade", "roll back", "prune", "repair"])
def test_fork_makes_same_changes_as_process(name: str, pool: Pool, samples: SamplePacks, memory: Path) -> None:
    """The tests above run the program in forks of a warm interpreter instead of `python -m models_init`."""
    warm, cold = pool.do(_both, CrashScenario(name, samples, memory / "crash"))
    assert Counter(cold) == Counter(warm)


def _both(crash: CrashScenario) -> tuple[list[str], list[str]]:
    """Return the changes of a fork and those of a process."""
    crash.directory.mkdir()
    scenario, samples = crash.scenario, crash.samples
    scenario.prepare(crash.start, samples)
    sites = []
    for as_process in (False, True):
        volume = copy_volume(crash.start, crash.directory / "volume")
        program = scenario.program(volume, samples)
        done, calls = run_and_record(program, volume, *scenario.options(volume), as_process=as_process)
        assert done.code == 0, str(done)
        sites.append([call.site for call in calls])
    return sites[0], sites[1]
