"""Cut the power at any moment: afterwards `current` is absent or complete, and the next run converges."""

from __future__ import annotations

from collections import Counter
from time import monotonic
from typing import TYPE_CHECKING

import pytest

from tests.lifecycle.loop_devices import KEEP_THE_LOG, LOSE_THE_LOG
from tests.lifecycle.power_cuts import Loss, PowerCutSite, play
from tests.lifecycle.summary import report_at_end
from tests.lifecycle.syscalls import require_tracing
from tests.services import require_root

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lifecycle.fork_server import Pool
    from tests.lifecycle.sample_packs import SamplePacks

_SCENARIOS = ["install", "upgrade", "roll back", "activate", "prune", "repair"]


@pytest.fixture(autouse=True)
def _mounting() -> None:
    require_tracing()
    require_root()


@pytest.mark.parametrize(
    "loss",
    [
        pytest.param(Loss("ext4", "loop", LOSE_THE_LOG), id="ext4 loses its log"),
        pytest.param(Loss("ext4", "loop,noauto_da_alloc", KEEP_THE_LOG), id="ext4 loses its data"),
        pytest.param(Loss("xfs", "loop", LOSE_THE_LOG), id="xfs loses its log"),
        pytest.param(Loss("xfs", "loop", KEEP_THE_LOG), id="xfs loses its data"),
    ],
)
def test_power_cut_at_each_rename_is_survived(loss: Loss, pool: Pool, samples: SamplePacks, memory: Path) -> None:
    """Cuts before and after each rename, checked by the oracle and `--verify`. A completed action is not lost."""
    began = monotonic()
    sites = [PowerCutSite(loss, name, samples, memory / name) for name in _SCENARIOS]
    cuts = [cut for played in pool.each(play, sites) for cut in played]
    outcomes = Counter(cut.outcome for cut in cuts)
    summary = ", ".join(f"{outcome} {count} times" for outcome, count in sorted(outcomes.items()))
    report_at_end(f"{loss}: {len(cuts)} power cuts, current afterwards: {summary}, {monotonic() - began:.0f} s")
    assert [str(cut) for cut in cuts if cut.fault] == []
    assert len(cuts) >= 50
