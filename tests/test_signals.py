"""Signals: the process stops within two seconds, with the exit code of the signal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from models_init.runtime.event_loop import run
from models_init.runtime.signals import StoppedError

if TYPE_CHECKING:
    from collections.abc import Iterator

_LIMIT = 2.0  # seconds
_PROGRAM = """
import asyncio, os, signal, sys, tempfile, time
from concurrent.futures import ThreadPoolExecutor
from models_init.runtime.event_loop import run
from models_init.runtime.signals import StoppedError, raise_on_signals

def say(text):
    print(text, flush=True)

async def waits():
    say("ready")
    try:
        await asyncio.Event().wait()
    finally:
        say("cleaned up")

async def ignores():
    while True:
        try:
            say("ready")
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            say("ignored")

async def blocks_a_thread():
    with ThreadPoolExecutor() as pool:
        say("ready")
        await asyncio.get_running_loop().run_in_executor(pool, time.sleep, 60)

async def cleans_up_slowly():
    try:
        say("ready")
        await asyncio.Event().wait()
    finally:
        say("cleaning")
        await asyncio.sleep(60)

async def blocks_the_loop():
    path = tempfile.mkdtemp() + "/fifo"
    os.mkfifo(path)
    say("ready")
    open(path).read()

def before_the_loop():
    say("ready")
    time.sleep(60)

async def interrupted_early():
    raise RuntimeError("not reached")

def as_the_loop_begins():
    make = asyncio.new_event_loop
    def new_event_loop():
        os.kill(os.getpid(), signal.SIGTERM)
        return make()
    asyncio.new_event_loop = asyncio.events.new_event_loop = new_event_loop
    say("ready")
    run(interrupted_early)

def after_the_loop():
    run(lambda: asyncio.sleep(0))
    say("ready")
    time.sleep(60)

raise_on_signals()
try:
    work = globals()[sys.argv[1]]
    run(work) if asyncio.iscoroutinefunction(work) else work()
except StoppedError as stopped:
    say(f"stopped by {stopped}")
    sys.exit(stopped.exit_code)
"""


@pytest.fixture
def started(request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """Start a process with one kind of work, and wait until the work has begun."""
    command = [sys.executable, "-c", _PROGRAM, request.param]
    with subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        yield process
        process.kill()


@pytest.mark.parametrize(
    ("started", "number", "code", "output"),
    [
        ("waits", signal.SIGTERM, 143, ["cleaned up", "stopped by SIGTERM"]),
        ("waits", signal.SIGINT, 130, ["cleaned up", "stopped by SIGINT"]),
        ("ignores", signal.SIGTERM, 143, None),
        ("blocks_a_thread", signal.SIGINT, 130, None),
        ("blocks_the_loop", signal.SIGINT, 130, []),
        ("blocks_the_loop", signal.SIGTERM, 143, []),
        ("cleans_up_slowly", signal.SIGTERM, 143, ["cleaning"]),
        ("before_the_loop", signal.SIGTERM, 143, ["stopped by SIGTERM"]),
        ("before_the_loop", signal.SIGINT, 130, ["stopped by SIGINT"]),
        ("after_the_loop", signal.SIGTERM, 143, ["stopped by SIGTERM"]),
        ("after_the_loop", signal.SIGINT, 130, ["stopped by SIGINT"]),
    ],
    indirect=["started"],
)
def test_signal_stops_the_process_within_two_seconds(
    started: subprocess.Popen[str], number: signal.Signals, code: int, output: list[str] | None
) -> None:
    """A signal ends the program without a traceback, whether the work waits, blocks, ignores it or has not begun."""
    started.send_signal(number)
    began = time.monotonic()
    out, err = started.communicate(timeout=30)
    assert time.monotonic() - began < _LIMIT
    assert (started.returncode, err) == (code, "")
    if output is not None:
        assert out.splitlines() == output


def test_signal_before_the_work_begins_causes_no_warning() -> None:
    """A coroutine that never runs would cause `RuntimeWarning: coroutine was never awaited`."""
    command = [sys.executable, "-c", _PROGRAM, "as_the_loop_begins"]
    done = subprocess.run(command, text=True, capture_output=True, timeout=30, check=False)
    assert (done.returncode, done.stdout.splitlines(), done.stderr) == (143, ["ready", "stopped by SIGTERM"], "")


@pytest.mark.parametrize("started", ["cleans_up_slowly"], indirect=True)
def test_second_signal_changes_nothing(started: subprocess.Popen[str]) -> None:
    """Pressing Ctrl-C twice gives the same exit code and no traceback."""
    assert started.stdout
    started.send_signal(signal.SIGINT)
    assert started.stdout.readline() == "cleaning\n"
    started.send_signal(signal.SIGTERM)
    _, err = started.communicate(timeout=30)
    assert (started.returncode, err) == (130, "")


_REPORTED = """
import os, signal, sys
from models_init.cli.main import main
from models_init.output import console

original, number = getattr(console, sys.argv[1]), signal.Signals[sys.argv[2]]
def with_signal(*arguments, **options):
    result = original(*arguments, **options)
    os.kill(os.getpid(), number)
    return result

setattr(console, sys.argv[1], with_signal)
if sys.argv[3] == "--wait":  # a first signal, which is then reported
    from models_init.cli.commands import wait
    wait.run = lambda *_: os.kill(os.getpid(), signal.SIGTERM)
code = main(sys.argv[3:], os.environ)
os.kill(os.getpid(), number)
sys.exit(code)
"""


@pytest.mark.parametrize(
    ("function", "arguments", "code"),
    [
        ("result", ["--wait", "--json"], 143),
        ("note", ["--wait"], 143),
        ("fault", ["--bogus"], 2),
    ],
)
@pytest.mark.parametrize("number", ["SIGINT", "SIGTERM"])
def test_signal_while_the_end_is_reported_changes_nothing(
    function: str, arguments: list[str], code: int, number: str
) -> None:
    """A person presses Ctrl-C again, or a service manager repeats SIGTERM: no traceback and no second result."""
    packs = {"REALTIME_LANGUAGES": "nl-nl@1", "REALTIME_COMMON_VERSION": "1"}
    command = [sys.executable, "-c", _REPORTED, function, number, *arguments]
    done = subprocess.run(command, env=os.environ | packs, text=True, capture_output=True, timeout=30, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False)
    assert done.stdout.count("\n") == ("--json" in arguments)


def test_run_returns_the_result_and_raises_the_error_of_the_work() -> None:
    """The error is the same object."""
    error = KeyError("a bug")

    async def good() -> str:
        return "done"

    async def bad() -> None:
        raise error

    assert run(good) == "done"
    with pytest.raises(KeyError) as raised:
        run(bad)
    assert raised.value is error


def test_stopped_error_passes_handlers_of_exceptions() -> None:
    """The text of the error is the name of the signal."""
    assert not issubclass(StoppedError, Exception)
    assert (str(StoppedError(signal.SIGTERM)), StoppedError(signal.SIGTERM).exit_code) == ("SIGTERM", 143)
    assert (str(StoppedError(signal.SIGINT)), StoppedError(signal.SIGINT).exit_code) == ("SIGINT", 130)
