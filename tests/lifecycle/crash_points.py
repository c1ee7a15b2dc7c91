"""Kill the program before each change that it makes, check the volume, run it again.

    python -m tests.lifecycle.crash_points [--pairs N] [--only SCENARIO] [DIRECTORY]

Covers every change of every scenario: with a kill, and with disks that fail in four ways. In addition, N runs of each
scenario are killed twice. DIRECTORY should be in memory, because the program syncs its file system.
"""

from __future__ import annotations

import argparse
import errno
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from tests.lifecycle import volume_oracle
from tests.lifecycle.fork_server import KILLED, Pool
from tests.lifecycle.sample_packs import stock
from tests.lifecycle.scenarios import SCENARIOS, Scenario, copy_volume
from tests.lifecycle.syscalls import Fail

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.lifecycle.fork_server import Program, RunResult
    from tests.lifecycle.sample_packs import SamplePacks
    from tests.lifecycle.syscalls import SystemCall

MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class CrashScenario:
    """A scenario, and a separate directory for its volumes."""

    name: str
    samples: SamplePacks
    directory: Path

    @property
    def scenario(self) -> Scenario:
        """Return the scenario."""
        return SCENARIOS[self.name]

    @property
    def start(self) -> Path:
        """Return the path of the volume at the start."""
        return self.directory / "start"

    def volume(self, name: object) -> Path:
        """Return a copy of that volume."""
        return copy_volume(self.start, self.directory / f"volume-{name}")


@dataclass(frozen=True)
class ReferenceRun:
    """The changes of a run that is not stopped, and the state of the volume afterwards."""

    calls: list[SystemCall]
    state: dict[str, object]


@dataclass(frozen=True)
class Stop:
    """A run stopped before its change `number`, unless it made fewer; `fault` is the error found afterwards."""

    number: int
    call: SystemCall | None
    fault: str
    code: int = KILLED

    def __str__(self) -> str:
        return f"change {self.number}, {self.call.site if self.call else 'none'}: {self.fault}"


@dataclass(frozen=True)
class Coverage:
    """The stopping points of a scenario and their results."""

    name: str
    stops: Sequence[Stop]
    seconds: float

    @property
    def points(self) -> int:
        """Return the number of runs that were stopped."""
        return len([stop for stop in self.stops if stop.call])

    @property
    def faults(self) -> list[str]:
        """Return the stops after which a guarantee was violated."""
        return [str(stop) for stop in self.stops if stop.fault]

    def __str__(self) -> str:
        reached = [stop.call for stop in self.stops if stop.call]
        kinds = {call.name for call in reached}
        sites = {call.site for call in reached}
        codes = dict(sorted(Counter(stop.code for stop in self.stops).items()))
        return (
            f"{self.name}: {self.points} stopping points ({len(sites)} different calls of {len(kinds)} kinds), "
            f"exit codes {codes}, {len(self.faults)} violations, {self.seconds:.0f} s"
        )


def reference_run(crash: CrashScenario) -> ReferenceRun:
    """Create the volume at the start, and run once."""
    crash.directory.mkdir(parents=True)
    crash.scenario.prepare(crash.start, crash.samples)
    volume = crash.volume("reference")
    done, calls = run_and_record(crash.scenario.program(volume, crash.samples), volume, *crash.scenario.options(volume))
    assert done.code == 0, str(done)
    crash.scenario.assert_converged(volume, crash.samples)
    return ReferenceRun(calls, volume_oracle.public_state(volume))


def run_and_record(
    program: Program, volume: Path, *arguments: str, as_process: bool = False
) -> tuple[RunResult, list[SystemCall]]:
    """Run the program in a fork or as a separate process, and record the changes that it makes."""
    calls: list[SystemCall] = []

    def before(call: SystemCall) -> bool:
        calls.append(call)
        return True

    follow = program.exec_followed if as_process else program.followed
    return follow(str(volume), before, *arguments), calls


def stop_at(crash: CrashScenario, state: dict[str, object], numbers: tuple[int, ...]) -> Stop:
    """For each number, kill a run before that change (the first is 1), and check the volume.

    Then run to the end and check the volume again.
    """
    volume = crash.volume(os.getpid())
    call, fault = None, ""
    try:
        for number in numbers:
            call = _killed(crash, volume, number) or call
            crash.scenario.assert_promise(volume, crash.samples, crash.start)
        _run_again(crash, volume, state)
    except (AssertionError, OSError, ValueError) as error:
        fault = f"{type(error).__name__}: {error}"
    finally:
        shutil.rmtree(volume, ignore_errors=True)
    return Stop(numbers[-1], call, fault)


def _killed(crash: CrashScenario, volume: Path, number: int) -> SystemCall | None:
    """Kill a run before its change of that number; return the change, or None if the run ended before."""
    calls: list[SystemCall] = []

    def before(call: SystemCall) -> bool:
        calls.append(call)
        return len(calls) < number

    stopped: RunResult = crash.scenario.followed(volume, crash.samples, before)
    assert stopped.code in (0, KILLED), str(stopped)
    return calls[-1] if stopped.code == KILLED else None


def _run_again(crash: CrashScenario, volume: Path, state: dict[str, object]) -> None:
    again = crash.scenario.run(volume, crash.samples)
    assert again.code == 0, str(again)
    crash.scenario.assert_converged(volume, crash.samples)
    wrong = volume_oracle.differences(volume_oracle.public_state(volume), state)
    if crash.scenario.leaves_staging:
        wrong = {name: both for name, both in wrong.items() if not name.startswith("staging/")}
    assert not wrong, f"another state than that of the reference run: {wrong}"


@dataclass(frozen=True)
class Trouble:
    """A disk that fails with an errno from one change on, or once; `kinds` limits it to some system calls."""

    number: int
    kinds: frozenset[str] = frozenset()
    once: bool = False

    def __str__(self) -> str:
        return f"{errno.errorcode[self.number]}{' once' if self.once else ''}"


def fail_at(crash: CrashScenario, state: dict[str, object], trouble: Trouble, number: int) -> Stop:
    """Let the disk fail from change `number` on; check the exit code and the volume; then run on a working disk."""
    volume = crash.volume(os.getpid())
    fault, code = "", 0
    disk = _FailingDisk(trouble, number)
    try:
        ended = crash.scenario.followed(volume, crash.samples, disk.before)
        code = ended.code
        assert code == 0 or 40 <= code < 50, str(ended)
        crash.scenario.assert_promise(volume, crash.samples, crash.start)
        if code == 0:
            crash.scenario.assert_converged(volume, crash.samples)
        _run_again(crash, volume, state)
    except (AssertionError, OSError, ValueError) as error:
        fault = f"{type(error).__name__}: {error}"
    finally:
        shutil.rmtree(volume, ignore_errors=True)
    return Stop(number, disk.failed, fault, code)


class _FailingDisk:
    """Decides before each change whether it fails; `failed` is the first failed change."""

    def __init__(self, trouble: Trouble, number: int) -> None:
        self.failed: SystemCall | None = None
        self._trouble = trouble
        self._left = number

    def before(self, call: SystemCall) -> bool | Fail:
        self._left -= 1
        trouble = self._trouble
        spared = trouble.kinds and call.name not in trouble.kinds
        if self._left > 0 or spared or (trouble.once and self.failed):
            return True
        self.failed = self.failed or call
        return Fail(trouble.number)


def cover(pool: Pool, crash: CrashScenario) -> Coverage:
    """Stop at every change."""
    began = monotonic()
    reference = pool.do(reference_run, crash)
    numbers = [(number,) for number in range(1, len(reference.calls) + 1)]
    stops = pool.each(partial(stop_at, crash, reference.state), numbers)
    return Coverage(crash.name, stops, monotonic() - began)


def cover_pairs(pool: Pool, crash: CrashScenario, count: int) -> Coverage:
    """Stop the run, and the run that recovers from it, at random points from a seed."""
    began, chance = monotonic(), random.Random(crash.name)
    reference = pool.do(reference_run, crash)
    most = len(reference.calls)
    numbers = [(chance.randint(1, most), chance.randint(1, most)) for _ in range(count)]
    stops = pool.each(partial(stop_at, crash, reference.state), numbers)
    return Coverage(f"{crash.name}, twice", stops, monotonic() - began)


def cover_trouble(pool: Pool, crash: CrashScenario, trouble: Trouble) -> Coverage:
    """Let the disk fail at every change."""
    began = monotonic()
    reference = pool.do(reference_run, crash)
    numbers = [at for at, call in enumerate(reference.calls, 1) if not trouble.kinds or call.name in trouble.kinds]
    stops = pool.each(partial(fail_at, crash, reference.state, trouble), numbers)
    return Coverage(f"{crash.name}, {trouble}", stops, monotonic() - began)


NEEDS_ROOM = frozenset({"openat", "mkdir", "symlink", "link", "linkat", "write", "pwrite64", "fallocate"})
TROUBLES = (Trouble(errno.EIO, once=True), Trouble(errno.EIO), Trouble(errno.ENOSPC, NEEDS_ROOM), Trouble(errno.EROFS))


def main() -> int:
    """Cover all scenarios and print the results."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.lifecycle.crash_points", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--pairs", type=int, default=100, help="runs of each scenario that are killed twice")
    parser.add_argument("--only", choices=SCENARIOS, action="append", help="this scenario, instead of all")
    parser.add_argument("directory", type=Path, nargs="?", default=MEMORY if MEMORY.is_dir() else None)
    options = parser.parse_args()
    found: list[Coverage] = []
    pool = Pool()
    ways: list[Callable[[Pool, CrashScenario], Coverage]] = [cover, partial(cover_pairs, count=options.pairs)]
    ways += [partial(cover_trouble, trouble=trouble) for trouble in TROUBLES]
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        samples = stock(Path(directory))
        for name in options.only or SCENARIOS:
            for way in ways:
                coverage = way(pool, CrashScenario(name, samples, Path(directory, f"scenario-{len(found)}")))
                found.append(coverage)
                sys.stdout.write("\n    ".join([str(coverage), *coverage.faults]) + "\n")
                sys.stdout.flush()
    pool.close()
    points, faults = sum(coverage.points for coverage in found), sum(len(coverage.faults) for coverage in found)
    sys.stdout.write(f"{points} stopping points, {faults} violations\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
