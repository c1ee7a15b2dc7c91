"""Kill the program before each change of names on a volume in the lower layer of an overlay; runs in worker processes.

Directories of the lower layer cannot be renamed (EXDEV).
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.lifecycle import volume_oracle
from tests.lifecycle.file_systems import overlay
from tests.lifecycle.fork_server import KILLED
from tests.lifecycle.scenarios import SCENARIOS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lifecycle.sample_packs import SamplePacks
    from tests.lifecycle.scenarios import Scenario
    from tests.lifecycle.syscalls import SystemCall

_NAMING = {"link", "linkat", "mkdir", "rename", "renameat2", "rmdir", "symlink", "syncfs", "unlink", "unlinkat"}


@dataclass(frozen=True)
class OverlayStops:
    """A scenario whose volume is in the lower layer, and a directory for its layers."""

    name: str
    samples: SamplePacks
    directory: Path

    @property
    def scenario(self) -> Scenario:
        """Return the scenario."""
        return SCENARIOS[self.name]


def stop_at_each_change(stops: OverlayStops) -> list[str]:
    """Kill a run before each change of names, and run again; return a line for each stop, with the error found."""
    lower = stops.directory / "lower"
    lower.mkdir(parents=True)
    stops.scenario.prepare(lower / "models", stops.samples)
    lines: list[str] = []
    while not lines or not lines[-1].startswith("completed"):
        layers = stops.directory / "layers"
        with overlay(lower, layers) as top:
            lines.append(_stop(stops, top / "models", len(lines) + 1))
        shutil.rmtree(layers)
    return lines


def _stop(stops: OverlayStops, volume: Path, number: int) -> str:
    scenario, samples = stops.scenario, stops.samples
    calls: list[str] = []

    def before(call: SystemCall) -> bool:
        if call.name in _NAMING:
            calls.append(call.site)
        return len(calls) < number

    ended = scenario.followed(volume, samples, before)
    stop = calls[-1] if ended.code == KILLED else "completed"
    try:
        assert ended.code in (0, KILLED), str(ended)
        assert scenario.active(volume, samples) in (scenario.before, scenario.goal), "another release is current"
        _assert_installed_is_complete(volume, samples)
        again = scenario.run(volume, samples)
        assert again.code == 0, str(again)
        scenario.assert_converged(volume, samples)
    except (AssertionError, OSError, ValueError) as error:
        return f"{stop}: {type(error).__name__}: {error}"
    return stop


def _assert_installed_is_complete(volume: Path, samples: SamplePacks) -> None:
    """Check the packs that have a manifest; a directory without one is being removed in place."""
    for ref in volume_oracle.public_packs(volume):
        if (volume / "manifests" / ref.name / f"{ref.version}.json").exists():
            volume_oracle.assert_pack_is_complete(volume, ref, samples)
