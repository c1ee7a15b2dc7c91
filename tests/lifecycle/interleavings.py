"""Two runs at once, in every order: one is halted before each change that it makes, and the other runs meanwhile.

    python -m tests.lifecycle.interleavings

halts at every point; the tests leave out those between which names do not change.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tests.lifecycle import volume_oracle
from tests.lifecycle.crash_points import MEMORY, noted
from tests.lifecycle.fork_server import Pool, Program, until
from tests.lifecycle.sample_packs import stock
from tests.lifecycle.scenarios import NEW, NEXT, OLD, SCENARIOS, Scenario, copy_volume

if TYPE_CHECKING:
    from models_init.core.pack_ref import PackRef
    from tests.lifecycle.fork_server import Running, RunResult
    from tests.lifecycle.sample_packs import SamplePacks
    from tests.lifecycle.syscalls import SystemCall

_NAMING = {"mkdir", "rename", "renameat2", "rmdir", "symlink", "syncfs", "unlink"}
"""Where another run can get in between as far as names go; whatever writes bytes writes the right ones."""

_IN_ITS_OWN_WORDS = {0, 12, 40, 41, 42, 43, 44, 45}
"""How a run may end whose work is undone by another."""


@dataclass(frozen=True)
class Second:
    """What is done amid the first run: arguments (a set of packs stands for its release), and an environment."""

    arguments: tuple[str | frozenset[PackRef], ...]
    wanted: frozenset[PackRef]

    def __str__(self) -> str:
        names = ["+".join(sorted(map(str, part))) if isinstance(part, frozenset) else part for part in self.arguments]
        return " ".join(names) or "+".join(sorted(map(str, self.wanted)))

    def options(self, volume: Path) -> list[str]:
        """The arguments, with the ids of releases."""
        return [
            volume_oracle.release_of(volume, part) if isinstance(part, frozenset) else part for part in self.arguments
        ]


@dataclass(frozen=True)
class Duet:
    """A scenario, and what is done amid it, on a volume in `directory` whose locks hold or lie.

    It is halted where names change; if it is to be thorough, before every change.
    """

    name: str
    second: Second
    lying: bool
    samples: SamplePacks
    directory: Path
    thorough: bool = False

    @property
    def scenario(self) -> Scenario:
        """What is halted."""
        return SCENARIOS[self.name]

    def __str__(self) -> str:
        return f"{self.name}, amid it {self.second}, with locks that {'lie' if self.lying else 'hold'}"

    def volume(self) -> Path:
        """The volume as it is before."""
        return copy_volume(self.directory / "start", self.directory / "volume")

    def program(self, volume: Path, wanted: frozenset[PackRef]) -> Program:
        """The program for these packs."""
        return Program(self.samples.environment(volume, *sorted(wanted)), lying_locks=self.lying)


@dataclass(frozen=True)
class Halt:
    """A change before which the first run was halted, how both ended, and what was wrong then."""

    call: SystemCall | None
    codes: tuple[int, ...]
    fault: str

    def __str__(self) -> str:
        return f"halted before {self.call.site if self.call else 'nothing'}, ended with {self.codes}: {self.fault}"


def play(duet: Duet) -> list[Halt]:
    """Halt at every point."""
    duet.directory.mkdir(parents=True)
    duet.scenario.prepare(duet.directory / "start", duet.samples)
    volume = duet.volume()
    done, calls = noted(duet.program(volume, duet.scenario.wanted), volume, *duet.scenario.options(volume))
    assert done.code == 0, str(done)
    return [_halt(duet, number) for number, call in enumerate(calls, 1) if call.name in _NAMING or duet.thorough]


def _halt(duet: Duet, number: int) -> Halt:
    volume = duet.volume()
    program, options = duet.program(volume, duet.second.wanted), duet.second.options(volume)
    calls: list[SystemCall] = []

    runs: list[Running] = []

    def before(call: SystemCall) -> bool:
        calls.append(call)
        if len(calls) == number:
            runs.append(program.start(*options))
            until(lambda: runs[0].has_ended() or runs[0].waits_for_a_lock())
        return True

    first = duet.program(volume, duet.scenario.wanted)
    ended = [first.followed(str(volume), before, *duet.scenario.options(volume)), *(run.wait() for run in runs)]
    codes = tuple(outcome.code for outcome in ended)
    call = calls[number - 1] if len(calls) >= number else None
    try:
        assert set(codes) <= _IN_ITS_OWN_WORDS, str(ended)
        _judge(duet, volume)
    except (AssertionError, OSError, ValueError) as error:
        return Halt(call, codes, f"{type(error).__name__}: {error}; {ended}")
    finally:
        shutil.rmtree(volume, ignore_errors=True)
    return Halt(call, codes, "")


def _judge(duet: Duet, volume: Path) -> None:
    """`current` is whole; the next run, which may keep what was rolled back to, ends well, and it is whole again."""
    scenario, samples = duet.scenario, duet.samples
    if not scenario.damaged:
        active = volume_oracle.active(volume, samples)
        assert active or scenario.before is None, "nothing is current"
        volume_oracle.assert_public_is_whole(volume, samples)
    program = replace(duet.program(volume, scenario.wanted), lying_locks=False)
    again = program.run(*scenario.options(volume)) if scenario.damaged else program.run()
    assert again.code == 0, str(again)
    active = volume_oracle.active(volume, samples)
    if not _is_kept(again):
        allowed = {scenario.wanted, duet.second.wanted} if scenario.damaged else {scenario.wanted}
        assert active in allowed, f"{active} is current"


def _is_kept(outcome: RunResult) -> bool:
    """Tell whether the run has kept what was rolled back to."""
    return outcome.out.startswith("ROLLED BACK")


_PRUNE_ALL = ("--prune", "--keep", "0")
AMID_LOCKS_THAT_HOLD = [
    ("prune", Second(("--activate", OLD), NEXT)),
    ("prune", Second(("--rollback",), NEXT)),
    ("upgrade", Second(("--rollback",), NEW)),
    ("roll back", Second(("--activate", OLD), NEW)),
    ("roll back", Second((), NEW)),
]
AMID_LOCKS_THAT_LIE = [
    ("install", Second((), OLD)),
    ("install", Second((), NEW)),
    ("install", Second(_PRUNE_ALL, OLD)),
    ("install", Second(_PRUNE_ALL, NEXT)),
    ("upgrade", Second((), NEW)),
    ("upgrade", Second(_PRUNE_ALL, OLD)),
    ("upgrade", Second(("--repair",), NEW)),
    ("prune", Second((), OLD)),
    ("prune", Second(_PRUNE_ALL, NEW)),
    ("prune", Second(("--activate", OLD), NEW)),
    ("repair", Second(_PRUNE_ALL, NEW)),
    ("repair", Second(("--repair",), NEW)),
    ("install where a manifest is gone", Second((), NEW)),
]


def main() -> int:
    """Halt at every point of every pair, print what was covered."""
    shelf_directory = MEMORY if MEMORY.is_dir() else None
    pool, faults, total = Pool(), 0, 0
    with tempfile.TemporaryDirectory(dir=shelf_directory) as directory:
        samples = stock(Path(directory))
        pairs = [
            (*pair, lying)
            for lying in (False, True)
            for pair in (AMID_LOCKS_THAT_LIE if lying else AMID_LOCKS_THAT_HOLD)
        ]
        all_duets = [
            Duet(name, second, lying, samples, Path(directory, f"duet-{number}"), thorough=True)
            for number, (name, second, lying) in enumerate(pairs)
        ]
        for duet, halts in zip(all_duets, pool.each(play, all_duets), strict=True):
            broken = [str(halt) for halt in halts if halt.fault]
            sys.stdout.write(
                "\n    ".join([f"{duet}: {len(halts)} halts, {len(broken)} broken promises", *broken]) + "\n"
            )
            faults, total = faults + len(broken), total + len(halts)
    pool.close()
    sys.stdout.write(f"{total} halts, {faults} broken promises\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
