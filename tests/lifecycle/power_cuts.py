"""Cut the power while the program runs, mount the disk again, check the volume, run the program again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.lifecycle.crash_points import run_and_record
from tests.lifecycle.loop_devices import Disk, flush
from tests.lifecycle.scenarios import SCENARIOS, Scenario, copy_volume

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.lifecycle.sample_packs import SamplePacks
    from tests.lifecycle.syscalls import SystemCall


@dataclass(frozen=True)
class Loss:
    """A file system, its mount options, and what a power cut loses."""

    kind: str
    options: str
    flag: int


@dataclass(frozen=True)
class PowerCutSite:
    """A disk in `directory` whose power is cut during a scenario."""

    loss: Loss
    name: str
    samples: SamplePacks
    directory: Path

    @property
    def scenario(self) -> Scenario:
        """Return the scenario."""
        return SCENARIOS[self.name]


@dataclass(frozen=True)
class PowerCutResult:
    """The result of one power cut."""

    site: str
    outcome: str
    fault: str = ""

    def __str__(self) -> str:
        return f"{self.site}: {self.fault}"


def play(site: PowerCutSite) -> list[PowerCutResult]:
    """Cut the power before and after each rename, and after the end."""
    disk = Disk(site.loss.kind, site.directory, site.loss.options)
    disk.make()
    start = site.directory / "start"
    site.scenario.prepare(start, site.samples)
    disk.mount()
    try:
        volume = copy_volume(start, disk.top / "volume")
        done, calls = run_and_record(
            site.scenario.program(volume, site.samples), volume, *site.scenario.options(volume)
        )
        assert done.code == 0, str(done)
        return [_cut(site, disk, start, number) for number in _moments(calls)]
    finally:
        disk.unmount()


def _moments(calls: Sequence[SystemCall]) -> list[int]:
    """Return the changes before which the power is cut: before and after each rename, and at the end."""
    renames = [number for number, call in enumerate(calls, 1) if call.name.startswith("rename")]
    return sorted({*renames, *(number + 1 for number in renames), len(calls), len(calls) + 1})


def _cut(site: PowerCutSite, disk: Disk, start: Path, number: int) -> PowerCutResult:
    volume = copy_volume(start, disk.top / "volume")
    flush(disk.top)
    calls: list[SystemCall] = []

    def before(call: SystemCall) -> bool:
        calls.append(call)
        if len(calls) < number:
            return True
        disk.cut_the_power(site.loss.flag)
        return False

    ended = site.scenario.followed(volume, site.samples, before)
    if ended.code == 0:
        disk.cut_the_power(site.loss.flag)
    disk.unmount()
    disk.mount()
    where = f"{site.loss.kind}, {site.name}, cut before {calls[-1].site if len(calls) == number else 'nothing more'}"
    try:
        return PowerCutResult(where, _check(site, volume, start, ended=ended.code == 0))
    except (AssertionError, OSError, ValueError) as error:
        return PowerCutResult(where, "broken", f"{type(error).__name__}: {error}")


def _check(site: PowerCutSite, volume: Path, start: Path, *, ended: bool) -> str:
    """Check the volume and run again; return which release was current after the cut."""
    scenario, samples = site.scenario, site.samples
    program = scenario.program(volume, samples)
    scenario.assert_promise(volume, samples, start)
    active = scenario.active(volume, samples)
    if ended:
        assert active == scenario.goal, f"it ended well, and {active} is current after the cut"
    if active and not scenario.damaged:
        verified = program.run("--verify")
        assert verified.code == 0, str(verified)
    again = scenario.run(volume, samples)
    assert again.code == 0, str(again)
    scenario.assert_converged(volume, samples)
    return "the new release" if active == scenario.goal else "the old release" if active else "none"
