"""Eight runs at once against one volume, some of which are killed; then one more, and a look."""

from __future__ import annotations

import os
import random
import signal
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tests.lifecycle import volume_oracle
from tests.lifecycle.fork_server import Program, until
from tests.lifecycle.scenarios import NEW, NEXT, OLD

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lifecycle.fork_server import Running
    from tests.lifecycle.sample_packs import SamplePacks

_RUNS = 8
_SETS = (OLD, NEW, NEXT)
_ACTIONS = ((), (), (), (), ("--prune",), ("--prune", "--keep", "0"), ("--rollback",), ("--verify",), ("--repair",))
_IN_ITS_OWN_WORDS = {0, -signal.SIGKILL, 12, 40, 41, 42, 43, 44, 45}


@dataclass(frozen=True)
class Party:
    """A volume that `rounds` times is worked on by eight at once, `kills` of which are killed; locks hold or lie."""

    volume: Path
    samples: SamplePacks
    seed: int
    rounds: int
    lying: bool
    kills: int


@dataclass(frozen=True)
class Round:
    """How the runs of a round ended, and what was wrong then."""

    codes: tuple[int, ...]
    fault: str


def play(party: Party) -> list[Round]:
    """Play all rounds, on a volume that is kept from one to the next."""
    chance = random.Random(party.seed)
    return [_round(party, chance) for _ in range(party.rounds)]


def _round(party: Party, chance: random.Random) -> Round:
    runs = [_start(party, chance) for _ in range(_RUNS)]
    for run in chance.sample(runs, party.kills):
        moment = time.monotonic() + chance.random() * 0.2
        until(lambda moment=moment, run=run: run.has_ended() or time.monotonic() > moment)  # type: ignore[misc] # bound
        os.kill(run.pid, signal.SIGKILL)
    outcomes = [run.wait() for run in runs]
    codes = tuple(outcome.code for outcome in outcomes)
    try:
        assert set(codes) <= _IN_ITS_OWN_WORDS, str([one for one in outcomes if one.code not in _IN_ITS_OWN_WORDS])
        _judge(party, chance)
    except (AssertionError, OSError, ValueError) as error:
        return Round(codes, f"{type(error).__name__}: {error}; {outcomes}")
    return Round(codes, "")


def _start(party: Party, chance: random.Random) -> Running:
    wanted = chance.choice(_SETS)
    environment = party.samples.environment(party.volume, *sorted(wanted), MODELS_LOCK_SECONDS="30")
    return Program(environment, one_cpu=False, lying_locks=party.lying).start(*chance.choice(_ACTIONS))


def _judge(party: Party, chance: random.Random) -> None:
    """Whole at rest, and whole after one more run."""
    volume_oracle.active(party.volume, party.samples)
    volume_oracle.assert_public_is_whole(party.volume, party.samples)
    wanted = chance.choice(_SETS)
    program = Program(party.samples.environment(party.volume, *sorted(wanted)))
    again = program.run()
    assert again.code == 0, str(again)
    active = volume_oracle.active(party.volume, party.samples)
    assert active == wanted or again.out.startswith("ROLLED BACK"), f"{active} is current"
    verified = replace(program).run("--verify")
    assert verified.code == 0, str(verified)
