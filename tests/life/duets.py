"""Two runs at once, in every order: one is halted before each change that it makes, and the other runs meanwhile."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tests.life import look
from tests.life.scenarios import SCENARIOS, Scenario, copy_volume
from tests.life.stops import noted
from tests.life.warm import Program, until

if TYPE_CHECKING:
    from pathlib import Path

    from models_init.names import PackRef
    from tests.life.shelf import Shelf
    from tests.life.syscalls import Call
    from tests.life.warm import Outcome, Running

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
        return [look.release_of(volume, part) if isinstance(part, frozenset) else part for part in self.arguments]


@dataclass(frozen=True)
class Duet:
    """A scenario, and what is done amid it, on a volume in `folder` whose locks hold or lie."""

    name: str
    second: Second
    lying: bool
    shelf: Shelf
    folder: Path

    @property
    def scenario(self) -> Scenario:
        """What is halted."""
        return SCENARIOS[self.name]

    def __str__(self) -> str:
        return f"{self.name}, amid it {self.second}, with locks that {'lie' if self.lying else 'hold'}"

    def volume(self) -> Path:
        """The volume as it is before."""
        return copy_volume(self.folder / "start", self.folder / "volume")

    def program(self, volume: Path, wanted: frozenset[PackRef]) -> Program:
        """The program for these packs."""
        return Program(self.shelf.environment(volume, *sorted(wanted)), lying_locks=self.lying)


@dataclass(frozen=True)
class Halt:
    """A change before which the first run was halted, how both ended, and what was wrong then."""

    call: Call | None
    codes: tuple[int, ...]
    fault: str

    def __str__(self) -> str:
        return f"halted before {self.call.site if self.call else 'nothing'}, ended with {self.codes}: {self.fault}"


def play(duet: Duet) -> list[Halt]:
    """Halt at every point."""
    duet.folder.mkdir(parents=True)
    duet.scenario.prepare(duet.folder / "start", duet.shelf)
    volume = duet.volume()
    done, calls = noted(duet.program(volume, duet.scenario.wanted), volume, *duet.scenario.options(volume))
    assert done.code == 0, str(done)
    return [_halt(duet, number) for number in range(1, len(calls) + 1)]


def _halt(duet: Duet, number: int) -> Halt:
    volume = duet.volume()
    program, options = duet.program(volume, duet.second.wanted), duet.second.options(volume)
    calls: list[Call] = []

    runs: list[Running] = []

    def before(call: Call) -> bool:
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
    scenario, shelf = duet.scenario, duet.shelf
    if not scenario.damaged:
        active = look.active(volume, shelf)
        assert active or scenario.before is None, "nothing is current"
        look.assert_public_is_whole(volume, shelf)
    program = replace(duet.program(volume, scenario.wanted), lying_locks=False)
    again = program.run(*scenario.options(volume)) if scenario.damaged else program.run()
    assert again.code == 0, str(again)
    active = look.active(volume, shelf)
    allowed = {scenario.wanted, duet.second.wanted} if scenario.damaged or _is_kept(again) else {scenario.wanted}
    assert active in allowed, f"{active} is current"


def _is_kept(outcome: Outcome) -> bool:
    """Tell whether the run has kept what was rolled back to."""
    return outcome.out.startswith("ROLLED BACK")
