"""Run the program in forks of a warm interpreter: the same code and system calls, about 30 ms each.

All of it runs in worker processes (`Pool`), because a fork needs a process without threads, and `follow` needs one
without other children.
"""

from __future__ import annotations

import fcntl
import importlib
import io
import json
import multiprocessing
import os
import pkgutil
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import models_init
from models_init.cli.main import main
from tests.lifecycle.syscalls import follow, reap, submit_to_tracing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from tests.lifecycle.syscalls import Before

T = TypeVar("T")
U = TypeVar("U")

KILLED = -9
_FLOCK = 73  # on x86-64
_THIRD_PARTIES = ("asyncio", "structlog", "tenacity", "tqdm", "zstandard")
_NOT_NEEDED = tuple(f"models_init.{name}" for name in ("__main__", "publish", "sources.azure.source", "sources.http"))


@dataclass(frozen=True)
class RunResult:
    """A finished run."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """Return the JSON object on standard output."""
        content = json.loads(self.out)
        assert isinstance(content, dict)
        return content


@dataclass(frozen=True)
class Running:
    """A running program; its output goes to unnamed files."""

    pid: int
    out: io.BufferedRandom
    err: io.BufferedRandom

    def ended(self, code: int) -> RunResult:
        """Return the result of the finished run."""
        return RunResult(code, _said(self.out), _said(self.err))

    def has_ended(self) -> bool:
        """Return True if the run has ended; `wait` must still be called."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def waits_for_a_lock(self) -> bool:
        """Return True if the run is blocked in flock(2)."""
        try:
            return Path(f"/proc/{self.pid}/syscall").read_text().startswith(f"{_FLOCK} ")
        except OSError:
            return False

    def wait(self) -> RunResult:
        """Wait until it ends."""
        return self.ended(reap(self.pid))


@dataclass(frozen=True)
class Program:
    """The program with an environment.

    With `one_cpu`, its system calls have a fixed order. With `broken_locks`, every lock is granted.
    """

    environment: Mapping[str, str]
    one_cpu: bool = True
    broken_locks: bool = False

    def run(self, *arguments: str) -> RunResult:
        """Run it to its end."""
        return self.start(*arguments).wait()

    def start(self, *arguments: str, first: Callable[[], object] = lambda: None) -> Running:
        """Fork, call `first` in the child, and run."""
        out, err = _unnamed(), _unnamed()
        pid = os.fork()
        if pid:
            return Running(pid, out, err)
        self._become(arguments, first, out, err)
        raise AssertionError("the child has left")

    def exec_followed(self, directory: str, before: Before, *arguments: str) -> RunResult:
        """Run `python -m models_init` as a separate process, and follow it."""
        command = [sys.executable, "-m", "models_init", *arguments]

        def become() -> None:
            submit_to_tracing()
            os.execve(sys.executable, command, {"PATH": os.environ["PATH"], **self.environment})

        run = self.start(first=become)
        return run.ended(follow(run.pid, directory, before))

    def followed(self, directory: str, before: Before, *arguments: str) -> RunResult:
        """Run it, and call `before` before each change below `directory`; see `follow`."""
        run = self.start(*arguments, first=submit_to_tracing)
        return run.ended(follow(run.pid, directory, before))

    def _become(
        self, arguments: Sequence[str], first: Callable[[], object], out: io.BufferedRandom, err: io.BufferedRandom
    ) -> None:
        code = 99
        try:
            if self.one_cpu:
                os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
            if self.broken_locks:
                fcntl.flock = lambda *_: None  # in this fork only
            first()
            code = main(arguments, self.environment)
            sys.stdout.flush()
        except SystemExit as left:
            code = left.code if isinstance(left.code, int) else 1
        except BaseException as error:  # noqa: BLE001 - a fork must not continue as its parent
            os.write(2, f"{error!r}\n".encode())
        finally:
            os._exit(code)


def until(happened: Callable[[], object]) -> None:
    """Wait until the condition is true; fail after a minute."""
    deadline = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < deadline, "it did not happen within a minute"
        time.sleep(0.002)


class Pool:
    """Two worker processes with a warm interpreter each."""

    def __init__(self, count: int = 2) -> None:
        context = multiprocessing.get_context("spawn")
        self._executor = ProcessPoolExecutor(count, mp_context=context, initializer=warm_up)

    def each(self, call: Callable[[U], T], items: Iterable[U]) -> list[T]:
        """Call the function for all items, two at a time."""
        return list(self._executor.map(call, items))

    def do(self, call: Callable[..., T], *arguments: object) -> T:
        """Call the function once."""
        return self._executor.submit(call, *arguments).result()

    def close(self) -> None:
        """End the processes."""
        self._executor.shutdown(cancel_futures=True)


def warm_up() -> None:
    """Import the modules that the program imports on demand."""
    for name in _THIRD_PARTIES:
        importlib.import_module(name)
    for module in pkgutil.walk_packages(models_init.__path__, "models_init."):
        if not module.name.startswith(_NOT_NEEDED):
            importlib.import_module(module.name)


def _unnamed() -> io.BufferedRandom:
    file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - the run closes it
    return io.BufferedRandom(file)


def _said(file: io.BufferedRandom) -> str:
    with file:
        file.seek(0)
        return file.read().decode("utf-8", "replace")
