"""Run the program eight times concurrently on one volume, kill some runs, then check the volume after one more run."""

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
_EXPECTED_CODES = {0, -signal.SIGKILL, 12, 40, 41, 42, 43, 44, 45}


@dataclass(frozen=True)
class ChaosRun:
    """`rounds` times eight concurrent runs on a volume, `kills` of which are killed."""

    volume: Path
    samples: SamplePacks
    seed: int
    rounds: int
    broken_locks: bool
    kills: int


@dataclass(frozen=True)
class ChaosRound:
    """The exit codes of a round, and the first error of the check afterwards."""

    codes: tuple[int, ...]
    fault: str


def play(run_plan: ChaosRun) -> list[ChaosRound]:
    """Run all rounds on one volume."""
    chance = random.Random(run_plan.seed)
    return [_round(run_plan, chance) for _ in range(run_plan.rounds)]


def _round(run_plan: ChaosRun, chance: random.Random) -> ChaosRound:
    runs = [_start(run_plan, chance) for _ in range(_RUNS)]
    for run in chance.sample(runs, run_plan.kills):
        moment = time.monotonic() + chance.random() * 0.2
        until(lambda moment=moment, run=run: run.has_ended() or time.monotonic() > moment)  # type: ignore[misc] # binds the values of this iteration
        os.kill(run.pid, signal.SIGKILL)
    outcomes = [run.wait() for run in runs]
    codes = tuple(outcome.code for outcome in outcomes)
    try:
        assert set(codes) <= _EXPECTED_CODES, str([one for one in outcomes if one.code not in _EXPECTED_CODES])
        _check(run_plan, chance)
    except (AssertionError, OSError, ValueError) as error:
        return ChaosRound(codes, f"{type(error).__name__}: {error}; {outcomes}")
    return ChaosRound(codes, "")


def _start(run_plan: ChaosRun, chance: random.Random) -> Running:
    wanted = chance.choice(_SETS)
    environment = run_plan.samples.environment(run_plan.volume, *sorted(wanted), MODELS_LOCK_SECONDS="30")
    return Program(environment, one_cpu=False, broken_locks=run_plan.broken_locks).start(*chance.choice(_ACTIONS))


def _check(run_plan: ChaosRun, chance: random.Random) -> None:
    """Check that the volume is complete now and after one more run."""
    volume_oracle.active(run_plan.volume, run_plan.samples)
    volume_oracle.assert_public_is_complete(run_plan.volume, run_plan.samples)
    wanted = chance.choice(_SETS)
    program = Program(run_plan.samples.environment(run_plan.volume, *sorted(wanted)))
    again = program.run()
    assert again.code == 0, str(again)
    active = volume_oracle.active(run_plan.volume, run_plan.samples)
    assert active == wanted or again.out.startswith("ROLLED BACK"), f"{active} is current"
    verified = replace(program).run("--verify")
    assert verified.code == 0, str(verified)
