"""Interleave two runs: halt one before each change that it makes, and let the other run meanwhile.

    python -m tests.lifecycle.interleavings

Prints the results for every change; the tests skip changes that are not changes of names.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tests.lifecycle import volume_oracle
from tests.lifecycle.crash_points import MEMORY, run_and_record
from tests.lifecycle.fork_server import Pool, Program, until
from tests.lifecycle.sample_packs import stock
from tests.lifecycle.scenarios import NEW, NEXT, OLD, SCENARIOS, Scenario, copy_volume

if TYPE_CHECKING:
    from models_init.core.pack_ref import PackRef
    from tests.lifecycle.fork_server import Running, RunResult
    from tests.lifecycle.sample_packs import SamplePacks
    from tests.lifecycle.syscalls import SystemCall

_NAMING = {"mkdir", "rename", "renameat2", "rmdir", "symlink", "syncfs", "unlink"}
"""Changes of names, between which another run can interfere; only verified bytes are written."""

_EXPECTED_CODES = {0, 12, 40, 41, 42, 43, 44, 45}
"""Exit codes of a run whose work another run undoes."""


@dataclass(frozen=True)
class SecondRun:
    """The second run: its arguments (a set of packs means the id of its release) and the packs of its environment."""

    arguments: tuple[str | frozenset[PackRef], ...]
    wanted: frozenset[PackRef]

    def __str__(self) -> str:
        names = ["+".join(sorted(map(str, part))) if isinstance(part, frozenset) else part for part in self.arguments]
        return " ".join(names) or "+".join(sorted(map(str, self.wanted)))

    def options(self, volume: Path) -> list[str]:
        """Return the arguments, with sets replaced by the ids of their releases."""
        return [
            volume_oracle.release_of(volume, part) if isinstance(part, frozenset) else part for part in self.arguments
        ]


@dataclass(frozen=True)
class Interleaving:
    """A scenario and a second run during it, on a volume in `directory` with working or broken locks.

    The scenario is halted before each change of names; if `thorough`, before every change.
    """

    name: str
    second: SecondRun
    broken_locks: bool
    samples: SamplePacks
    directory: Path
    thorough: bool = False

    @property
    def scenario(self) -> Scenario:
        """Return the scenario."""
        return SCENARIOS[self.name]

    def __str__(self) -> str:
        return f"{self.name}, interrupted by {self.second}, with {'broken' if self.broken_locks else 'working'} locks"

    def volume(self) -> Path:
        """Return a copy of the volume at the start."""
        return copy_volume(self.directory / "start", self.directory / "volume")

    def program(self, volume: Path, wanted: frozenset[PackRef]) -> Program:
        """Return the program for these packs."""
        return Program(self.samples.environment(volume, *sorted(wanted)), broken_locks=self.broken_locks)


@dataclass(frozen=True)
class InterleavingResult:
    """A change before which the first run was halted, both exit codes, and the error found afterwards."""

    call: SystemCall | None
    codes: tuple[int, ...]
    fault: str

    def __str__(self) -> str:
        return f"halted before {self.call.site if self.call else 'nothing'}, ended with {self.codes}: {self.fault}"


def play(interleaving: Interleaving) -> list[InterleavingResult]:
    """Halt before each of these changes; return the results."""
    interleaving.directory.mkdir(parents=True)
    interleaving.scenario.prepare(interleaving.directory / "start", interleaving.samples)
    volume = interleaving.volume()
    done, calls = run_and_record(
        interleaving.program(volume, interleaving.scenario.wanted), volume, *interleaving.scenario.options(volume)
    )
    assert done.code == 0, str(done)
    return [
        _interrupt(interleaving, number)
        for number, call in enumerate(calls, 1)
        if call.name in _NAMING or interleaving.thorough
    ]


def _interrupt(interleaving: Interleaving, number: int) -> InterleavingResult:
    volume = interleaving.volume()
    program, options = interleaving.program(volume, interleaving.second.wanted), interleaving.second.options(volume)
    calls: list[SystemCall] = []

    runs: list[Running] = []

    def before(call: SystemCall) -> bool:
        calls.append(call)
        if len(calls) == number:
            runs.append(program.start(*options))
            until(lambda: runs[0].has_ended() or runs[0].waits_for_a_lock())
        return True

    first = interleaving.program(volume, interleaving.scenario.wanted)
    ended = [first.followed(str(volume), before, *interleaving.scenario.options(volume)), *(run.wait() for run in runs)]
    codes = tuple(outcome.code for outcome in ended)
    call = calls[number - 1] if len(calls) >= number else None
    try:
        assert set(codes) <= _EXPECTED_CODES, str(ended)
        _check(interleaving, volume)
    except (AssertionError, OSError, ValueError) as error:
        return InterleavingResult(call, codes, f"{type(error).__name__}: {error}; {ended}")
    finally:
        shutil.rmtree(volume, ignore_errors=True)
    return InterleavingResult(call, codes, "")


def _check(interleaving: Interleaving, volume: Path) -> None:
    """Check that `current` is complete, and still is after one more run, which may keep a rollback."""
    scenario, samples = interleaving.scenario, interleaving.samples
    if not scenario.damaged:
        active = volume_oracle.active(volume, samples)
        assert active or scenario.before is None, "nothing is current"
        volume_oracle.assert_public_is_complete(volume, samples)
    program = replace(interleaving.program(volume, scenario.wanted), broken_locks=False)
    again = program.run(*scenario.options(volume)) if scenario.damaged else program.run()
    assert again.code == 0, str(again)
    active = volume_oracle.active(volume, samples)
    if not _is_kept(again):
        allowed = {scenario.wanted, interleaving.second.wanted} if scenario.damaged else {scenario.wanted}
        assert active in allowed, f"{active} is current"


def _is_kept(outcome: RunResult) -> bool:
    """Return True if the run kept the release that was rolled back to."""
    return outcome.out.startswith("ROLLED BACK")


_PRUNE_ALL = ("--prune", "--keep", "0")
WITH_WORKING_LOCKS = [
    ("prune", SecondRun(("--activate", OLD), NEXT)),
    ("prune", SecondRun(("--rollback",), NEXT)),
    ("upgrade", SecondRun(("--rollback",), NEW)),
    ("roll back", SecondRun(("--activate", OLD), NEW)),
    ("roll back", SecondRun((), NEW)),
]
WITH_BROKEN_LOCKS = [
    ("install", SecondRun((), OLD)),
    ("install", SecondRun((), NEW)),
    ("install", SecondRun(_PRUNE_ALL, OLD)),
    ("install", SecondRun(_PRUNE_ALL, NEXT)),
    ("upgrade", SecondRun((), NEW)),
    ("upgrade", SecondRun(_PRUNE_ALL, OLD)),
    ("upgrade", SecondRun(("--repair",), NEW)),
    ("prune", SecondRun((), OLD)),
    ("prune", SecondRun(_PRUNE_ALL, NEW)),
    ("prune", SecondRun(("--activate", OLD), NEW)),
    ("repair", SecondRun(_PRUNE_ALL, NEW)),
    ("repair", SecondRun(("--repair",), NEW)),
    ("install where a manifest is gone", SecondRun((), NEW)),
]


def main() -> int:
    """Halt before every change of every pair; print the results."""
    shelf_directory = MEMORY if MEMORY.is_dir() else None
    pool, faults, total = Pool(), 0, 0
    with tempfile.TemporaryDirectory(dir=shelf_directory) as directory:
        samples = stock(Path(directory))
        pairs = [
            (*pair, broken_locks)
            for broken_locks in (False, True)
            for pair in (WITH_BROKEN_LOCKS if broken_locks else WITH_WORKING_LOCKS)
        ]
        interleavings = [
            Interleaving(name, second, broken_locks, samples, Path(directory, f"interleaving-{number}"), thorough=True)
            for number, (name, second, broken_locks) in enumerate(pairs)
        ]
        for interleaving, results in zip(interleavings, pool.each(play, interleavings), strict=True):
            broken = [str(result) for result in results if result.fault]
            sys.stdout.write(
                "\n    ".join([f"{interleaving}: {len(results)} results, {len(broken)} violations", *broken]) + "\n"
            )
            faults, total = faults + len(broken), total + len(results)
    pool.close()
    sys.stdout.write(f"{total} results, {faults} violations\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
