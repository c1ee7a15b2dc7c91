"""The program may be killed before any change that it makes to the volume; running it again is all that it takes."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.lifecycle.crash_points import CrashScenario, cover, cover_pairs, noted
from tests.lifecycle.scenarios import SCENARIOS, copy_volume
from tests.lifecycle.summary import tell
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
def test_every_stopping_point_is_survived(name: str, pool: Pool, samples: SamplePacks, memory: Path) -> None:
    """Whichever change is the last, `current` is absent or whole, nothing public is half; the next run converges."""
    coverage = cover(pool, CrashScenario(name, samples, memory / "crash"))
    tell(coverage)
    assert coverage.points >= len(coverage.stops) - 2, "few runs were stopped at all"
    assert coverage.faults == []


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_stop_amid_recovery_is_survived(name: str, pool: Pool, samples: SamplePacks, memory: Path) -> None:
    """A run that is stopped while it recovers from a stop does no harm, either."""
    coverage = cover_pairs(pool, CrashScenario(name, samples, memory / "crash"), _PAIRS)
    tell(coverage)
    assert coverage.faults == []


@pytest.mark.parametrize("name", ["install", "upgrade", "roll back", "prune", "repair"])
def test_the_program_that_is_stopped_is_the_real_one(name: str, pool: Pool, samples: SamplePacks, memory: Path) -> None:
    """A fork of a warm interpreter makes the same changes as `python -m models_init`, so the tests above count."""
    warm, cold = pool.do(_both, CrashScenario(name, samples, memory / "crash"))
    assert Counter(cold) == Counter(warm)


def _both(crash: CrashScenario) -> tuple[list[str], list[str]]:
    """The changes that the fork makes, and those of a process of its own."""
    crash.directory.mkdir()
    scenario, samples = crash.scenario, crash.samples
    scenario.prepare(crash.start, samples)
    sites = []
    for as_process in (False, True):
        volume = copy_volume(crash.start, crash.directory / "volume")
        program = scenario.program(volume, samples)
        done, calls = noted(program, volume, *scenario.options(volume), as_process=as_process)
        assert done.code == 0, str(done)
        sites.append([call.site for call in calls])
    return sites[0], sites[1]
