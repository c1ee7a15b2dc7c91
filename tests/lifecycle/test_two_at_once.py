"""Concurrent runs on one volume: they wait for each other; the result is correct even without working locks."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING

import pytest

from tests.lifecycle import chaos, interleavings
from tests.lifecycle.chaos import ChaosRun
from tests.lifecycle.interleavings import Interleaving, SecondRun
from tests.lifecycle.scenarios import NEW, OLD
from tests.lifecycle.summary import report_at_end
from tests.lifecycle.syscalls import require_tracing
from tests.services import require_tool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.lifecycle.fork_server import Pool
    from tests.lifecycle.sample_packs import SamplePacks
    from tests.lifecycle.site import LifecycleSite

LOCKED = 42
_ROUNDS = 25  # on each of two volumes


@pytest.mark.parametrize("broken_locks", [False, True], ids=["working locks", "broken locks"])
def test_eight_concurrent_runs(*, broken_locks: bool, pool: Pool, samples: SamplePacks, memory: Path) -> None:
    """Installs, prunes, rollbacks and repairs: `current` is complete afterwards, and the next run converges.

    With working locks some runs are killed.
    """
    began = monotonic()
    chaos_runs = [
        ChaosRun(memory / str(seed), samples, seed, _ROUNDS, broken_locks, 0 if broken_locks else 3)
        for seed in range(2)
    ]
    rounds = [one for played in pool.each(chaos.play, chaos_runs) for one in played]
    codes = dict(sorted(Counter(code for one in rounds for code in one.codes).items()))
    locks = "broken" if broken_locks else "working"
    report_at_end(
        f"eight concurrent runs, {locks} locks: {len(rounds)} rounds, exit codes {codes}, {monotonic() - began:.0f} s"
    )
    assert [one.fault for one in rounds if one.fault] == []
    assert len(rounds) == 2 * _ROUNDS


@pytest.mark.parametrize(
    ("pairs", "broken_locks"),
    [
        pytest.param(interleavings.WITH_WORKING_LOCKS, False, id="locks that hold"),
        pytest.param(interleavings.WITH_BROKEN_LOCKS, True, id="locks that lie"),
    ],
)
def test_two_runs_interleaved(
    pairs: list[tuple[str, SecondRun]], *, broken_locks: bool, pool: Pool, samples: SamplePacks, memory: Path
) -> None:
    """`current` is complete afterwards, and the next run converges.

    A rollback, which does not wait for the lock, runs at every change, the other actions at changes of names.
    """
    require_tracing()
    began = monotonic()
    directories = (memory / str(number) for number in count())
    cases = [
        Interleaving(name, second, broken_locks, samples, next(directories), thorough=not broken_locks)
        for name, second in pairs
    ]
    played = pool.each(interleavings.play, cases)
    for case, results in zip(cases, played, strict=True):
        codes = dict(sorted(Counter(result.codes for result in results).items()))
        report_at_end(f"{case}: halted {len(results)} times, exit codes {codes}")
    halted, locks = sum(map(len, played)), "broken" if broken_locks else "working"
    report_at_end(f"two runs interleaved, {locks} locks: halted {halted} times, {monotonic() - began:.0f} s")
    assert [
        f"{case}: {result}" for case, results in zip(cases, played, strict=True) for result in results if result.fault
    ] == []
    assert all(played)


def test_waiting_run_names_holder_and_gives_up_with_42(site: LifecycleSite) -> None:
    site.install(OLD)
    with _held(site, "install by process 12345 on elsewhere since 10:00:00 UTC"):
        waited = site.run(MODELS_LOCK_SECONDS="1")
    assert waited.code == LOCKED
    assert "waiting" in waited.err
    assert waited.err.count("install by process 12345 on elsewhere since 10:00:00 UTC") == 2
    assert "1 s" in waited.err
    assert site.active == OLD


@pytest.mark.parametrize("arguments", [("--prune",), ("--repair",)], ids=" ".join)
def test_prune_and_repair_wait_for_lock(site: LifecycleSite, arguments: tuple[str, ...]) -> None:
    site.install(NEW)
    with _held(site, "install by process 7"):
        assert site.run(*arguments, MODELS_LOCK_SECONDS="0.2").code == LOCKED


@pytest.mark.parametrize("arguments", [(), ("--verify",), ("--status",), ("--plan",), ("--rollback",)], ids=" ".join)
def test_read_only_actions_and_rollback_do_not_wait_for_lock(site: LifecycleSite, arguments: tuple[str, ...]) -> None:
    site.install(OLD, NEW)
    with _held(site, "install by process 7"):
        site.done(*arguments, MODELS_LOCK_SECONDS="0.2")


def test_waiting_run_finds_nothing_to_do(site: LifecycleSite) -> None:
    site.install(OLD)
    with _held(site, "install by process 7") as release_lock, _started(site) as waiting:
        assert waiting.stderr
        assert "waiting" in waiting.stderr.readline()
        site.done(broken_locks=True)
        release_lock()
        out, _ = waiting.communicate(timeout=60)
    assert out.startswith("nothing to do")
    assert site.active == NEW


def test_file_system_without_flock_is_supported(site: LifecycleSite) -> None:
    site.install(OLD)
    for action in ((), ("--prune",), ("--rollback",), ("--repair",)):
        with _started(
            site, *action, through=("strace", "-f", "-o", os.devnull, "-e", "inject=flock:error=ENOSYS")
        ) as run:
            _, err = run.communicate(timeout=60)
            assert run.returncode == 0, err
    assert site.active == OLD


@contextmanager
def _held(site: LifecycleSite, note: str) -> Iterator[Callable[[], None]]:
    """Hold the volume's lock until the end of the block, or until the yielded function is called."""
    with (site.volume / ".lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.truncate()
        lock.write(f"{note}\n")
        lock.flush()
        yield lambda: fcntl.flock(lock, fcntl.LOCK_UN)


@contextmanager
def _started(site: LifecycleSite, *arguments: str, through: tuple[str, ...] = ()) -> Iterator[subprocess.Popen[str]]:
    """Run the program as a separate process."""
    command = [*map(require_tool, through[:1]), *through[1:], sys.executable, "-m", "models_init", *arguments]
    environment = {**os.environ, **site.samples.environment(site.volume, *sorted(NEW))}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.kill()
