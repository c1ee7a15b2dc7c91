"""Let the disk fail at each change that the program makes: it ends with 0 or 40 to 49, and the next run converges."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from tests.lifecycle.crash_points import TROUBLES, CrashScenario, Trouble, cover_trouble
from tests.lifecycle.summary import report_at_end
from tests.lifecycle.syscalls import require_tracing

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lifecycle.fork_server import Pool
    from tests.lifecycle.sample_packs import SamplePacks

_ALL_BUT_THE_DULL = [trouble for trouble in TROUBLES if trouble != Trouble(errno.EIO)]  # EROFS is equally persistent


@pytest.mark.parametrize("trouble", _ALL_BUT_THE_DULL, ids=str)
@pytest.mark.parametrize("name", ["install", "upgrade", "roll back", "prune", "repair"])
def test_disk_failure_at_each_change_is_survived(
    name: str, trouble: Trouble, pool: Pool, samples: SamplePacks, memory: Path
) -> None:
    """The disk fails once, or is full or read-only from that change on. With exit code 0, the work is complete."""
    require_tracing()
    coverage = cover_trouble(pool, CrashScenario(name, samples, memory / "crash"), trouble)
    report_at_end(coverage)
    assert coverage.points == len(coverage.stops)
    assert coverage.faults == []
