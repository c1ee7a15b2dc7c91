"""Promises about what people and log collectors see."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from typing import TYPE_CHECKING, Any

import pytest

from models_init.core.errors import AccessError, NoSpaceError, UsageError
from models_init.core.redaction import register
from models_init.output import console
from tests.tokens import leaks, token

if TYPE_CHECKING:
    from collections.abc import Callable

    from models_init.core.events import Observer

MIB = 1 << 20
HEAVY = (
    "structlog",
    "tqdm",
    "asyncio",
    "json",
    "threading",
    "traceback",
    "urllib",
    "dataclasses",
    "pydantic",
)


def seen(work: Callable[[Observer], None], **settings: Any) -> list[str]:
    """Return the lines that a watcher writes to a stream that is no terminal."""
    stream = io.StringIO()
    with console.watching(stream=stream, **settings) as observer:
        work(observer)
    return stream.getvalue().splitlines()


def told(error: BaseException, **settings: Any) -> tuple[int, str]:
    """Return the exit code and the text of a fault."""
    stream = io.StringIO()
    return console.fault(error, stream=stream, **settings), stream.getvalue()


def run(script: str, *arguments: str, **streams: Any) -> subprocess.CompletedProcess[str]:
    """Run a script in a Python of its own, with warnings as errors."""
    command = [sys.executable, "-W", "error", "-c", script, *arguments]
    return subprocess.run(command, check=False, text=True, timeout=60, **streams)


def on_terminal(script: str) -> str:
    """Return what a script writes to a terminal of 100 columns."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    process = subprocess.Popen([sys.executable, "-c", script], stderr=follower, stdout=follower)
    os.close(follower)
    written = bytearray()
    try:
        while piece := os.read(leader, 65536):
            written += piece
    except OSError:  # how a terminal ends on Linux
        pass
    os.close(leader)
    assert process.wait() == 0, written.decode()
    return written.decode()


def failing(secret: str) -> Exception:
    """Return an exception with a chain of causes, each of which holds the secret."""
    try:
        try:
            raise ConnectionError(f"GET https://host/c/b?{secret} broke")  # noqa: TRY301 # a traceback is wanted
        except ConnectionError as inner:
            raise RuntimeError(secret, {"url": f"?{secret}"}) from inner
    except RuntimeError as error:
        return error


def test_each_event_is_a_line() -> None:
    """Where stderr is no terminal, an event is one line with its name and facts, and nothing else is written."""

    def work(observer: Observer) -> None:
        observer.event("resolved", pack="nl-nl", bytes=MIB)
        observer.expect(MIB)
        observer.advance(MIB)
        observer.event("activated", release="r1")

    assert [line.partition(" ")[2] for line in seen(work)] == [
        "info    resolved pack=nl-nl bytes=1.0MiB",
        "info    activated release=r1",
    ]


def test_each_event_is_an_object() -> None:
    """In JSON an event is one object a line, with time, level and event."""
    (line,) = seen(lambda observer: observer.event("resolved", pack="nl-nl", bytes=MIB), log_format="json")
    found = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found.pop("time"))
    assert found == {"level": "info", "event": "resolved", "pack": "nl-nl", "bytes": MIB}


def test_an_event_can_have_a_level() -> None:
    """The fact `level` decides whether the event is written; an unknown one counts as info."""

    def work(observer: Observer) -> None:
        observer.event("a", level="debug")
        observer.event("b", level="warning")
        observer.event("c", level="odd")
        observer.event("d", event="x", time="y")

    assert [line.split()[1:3] for line in seen(work)] == [["warning", "b"], ["info", "c"], ["info", "d"]]


def test_silence_is_broken_by_a_heartbeat() -> None:
    """While the work says nothing, a line comes in every interval, from a thread that ends with the watcher."""
    beaten = threading.Event()

    class Stream(io.StringIO):
        def write(self, text: str) -> int:
            if " progress done=1.0MiB total=4.0MiB " in text:
                beaten.set()
            return super().write(text)

    with console.watching(stream=Stream(), interval=0.001) as observer:
        observer.expect(4 * MIB)
        observer.advance(MIB)
        assert beaten.wait(60)
    assert not {thread.name for thread in threading.enumerate()} & {"heartbeat", "outlet"}


OTHERS = """
import asyncio, logging, sys, threading, warnings
from models_init.output import console
from models_init.core.redaction import register
secret = sys.argv[1]
register(secret)

class Closing:
    def __del__(self):
        raise RuntimeError(f"from a destructor: {secret}")

def fail():
    raise RuntimeError(f"from a thread: {secret}")

async def work():
    async def task():
        raise RuntimeError(f"from a task: {secret}")
    asyncio.create_task(task())
    await asyncio.sleep(0)
    await asyncio.sleep(0)

with console.watching(log_format="json", level="debug"):
    warnings.simplefilter("always")
    warnings.warn(f"from a warning: {secret}")
    logging.getLogger("library").error(f"from a log: {secret}")
    Closing()
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    asyncio.run(work())
    print(f"from a print: {secret}", end="", file=sys.stderr)
print("from the end", file=sys.stderr)
"""


def test_what_others_write_to_stderr_becomes_an_event() -> None:
    """Warnings, log records, tracebacks of threads, tasks and destructors: all are lines like others, and redacted."""
    secret = token()
    *lines, end = run(OTHERS, secret, stderr=subprocess.PIPE).stderr.splitlines()
    events = [json.loads(line) for line in lines]
    assert {(event["event"], event["level"]) for event in events} == {("stderr", "warning")}
    texts = "\n".join(event["text"] for event in events)
    for origin in ("a warning", "a log", "a destructor", "a thread", "a task", "a print"):
        assert f"from {origin}: [redacted]" in texts
    assert leaks(texts) == []
    assert end == "from the end"


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_the_canary_is_never_seen(log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    """At level debug, with exceptions, nested facts, URLs and tracebacks, no form of the token is printed."""
    secret = token()
    register(secret)
    error = failing(secret)

    def work(observer: Observer) -> None:
        observer.event(f"got {secret}", level="debug", exc_info=error, error=error, url=f"https://host/c/b?{secret}")
        observer.event("nested", facts={"query": [secret, {"sig": secret.rpartition("=")[2]}], secret: error})
        observer.event("encoded", raw=secret.encode(), json=json.dumps({"u": f"?{secret}"}), repr=repr(error))
        print(*error.args, file=sys.stderr)  # noqa: T201 # the subject

    lines = seen(work, log_format=log_format, level="debug")
    assert len(lines) >= 4
    console.fault(error, log_format=log_format, level="debug")
    console.fault(AccessError(f"{secret} is expired"), log_format=log_format)
    console.note("noted", {"token": secret}, log_format=log_format)
    console.result({"url": f"?{secret}", "error": error}, as_json=log_format == "json")
    everything = capsys.readouterr()
    assert everything.out
    assert everything.err.count("Traceback") == 2  # an exception and its cause
    assert leaks("\n".join([*lines, everything.out, everything.err])) == []


def test_a_terminal_gets_a_bar_below_the_lines() -> None:
    """On a terminal the bytes are a bar with rate and remaining time that never runs back, and lines stand above it."""
    written = on_terminal(
        "from models_init.output import console\n"
        "with console.watching(interval=0.001) as watcher:\n"
        "    watcher.event('fetching', url='?sig=abc')\n"
        "    watcher.expect(600 << 20)\n"
        "    for number in range(8):\n"
        "        watcher.advance(100 << 20)\n"
        "        watcher.event('published', pack='nl-nl')\n"
        "        watcher.expect((number == 3) * 200 << 20)\n"
        "console.fault(ValueError())\n"
    )
    shown = [frame for frame in re.split(r"[\r\n]+", written) if frame.strip()]
    lines = [frame for frame in shown if "%|" not in frame]
    frames = [frame for frame in shown if "%|" in frame]
    assert [line.split()[2] for line in lines[:-1]] == ["fetching"] + ["published"] * 8
    assert lines[-1].startswith("models-init: error: this is a bug")
    done = [float(re.findall(r"([\d.]+)(?:B|MiB)/", frame)[0]) for frame in frames]
    assert done == sorted(done)
    assert done[-1] == 800
    assert all(len(frame) <= 100 and re.search(r"<[\d:?]+, (\?|[\d.]+)([KMG]i)?B/s\]", frame) for frame in frames)
    assert " 800.0MiB/800.0MiB " in frames[-1]
    assert "progress" not in written
    assert "sig=abc" not in written


@pytest.mark.parametrize(
    "show",
    [
        "with console.watching() as bar:\n",
        "with progress.bar('build') as bar:\n",
    ],
    ids=["models-init", "models-pack"],
)
def test_a_bar_has_the_units_of_the_log_lines(show: str) -> None:
    """Both programs write sizes and rates as log lines do, e.g. 1.0GiB/4.0GiB and 105.2MiB/s."""
    written = on_terminal(
        "from models_init.output import console\n"
        "from models_init.publish.cli import progress\n"
        f"{show}"
        "    bar.expect(4 << 30)\n"
        "    bar.advance(1 << 30)\n"
        "    bar.expect(0)\n"
    )
    assert re.search(r" 25%\|.*\| 1\.0GiB/4\.0GiB \[\d\d:\d\d<\d\d:\d\d, \d+\.\d[MGT]iB/s\]", written)
    assert not re.search(r"\d[kMGT](B|/)", written)


def test_a_terminal_gets_json_if_it_is_asked_for() -> None:
    """JSON is lines alone, wherever it goes."""
    written = on_terminal(
        "from models_init.output import console\n"
        "with console.watching(log_format='json') as watcher:\n"
        "    watcher.expect(600 << 20)\n"
        "    watcher.event('fetching')\n"
    )
    assert [json.loads(line)["event"] for line in written.splitlines()] == ["fetching"]


@pytest.mark.parametrize(
    ("error", "code", "lines"),
    [
        (UsageError("A is not set", "B is odd"), 2, ["A is not set", "B is odd"]),
        (NoSpaceError("3.0 GiB\nare missing"), 41, ["3.0 GiB are missing"]),
        (AccessError("?sv=1&sig=abc is expired"), 22, ["?[redacted] is expired"]),
    ],
)
def test_a_fault_is_a_line(error: Exception, code: int, lines: list[str]) -> None:
    """Each fault is one line with the program's name, or one object; the exit code is the error's."""
    assert told(error) == (code, "".join(f"models-init: error: {line}\n" for line in lines))
    found, text = told(error, log_format="json")
    objects = [json.loads(line) for line in text.splitlines()]
    assert found == code
    assert [each.pop("error") for each in objects] == lines
    assert all(
        {**each, "time": ""} == {"time": "", "level": "error", "event": "failed", "exit_code": code} for each in objects
    )


def test_a_bug_is_called_a_bug() -> None:
    """An unexpected exception is one line and exit code 1; its traceback comes at level debug alone."""
    error = failing("sig=abc")
    code, text = told(error, program="models-pack")
    assert code == 1
    assert text.count("\n") == 1
    assert text.startswith("models-pack: error: this is a bug in this program: RuntimeError: ")
    code, text = told(error, level="debug")
    assert code == 1
    assert text.startswith("Traceback (most recent call last):\n")
    assert "abc" not in text
    code, text = told(error, level="debug", log_format="json")
    assert json.loads(text)["traceback"].startswith("Traceback")


def test_a_note_needs_no_watcher() -> None:
    """One event can be logged without a watcher; it is dropped where only warnings are wanted."""
    stream = io.StringIO()
    console.note("up to date", {"release": "r1"}, stream=stream)
    console.note("up to date", {"release": "r1"}, stream=stream, level="warning")
    assert stream.getvalue().partition(" ")[2] == "info    up to date release=r1\n"


def test_the_result_stands_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """The result is all that goes to stdout: text as it is, or one line of JSON, both redacted."""
    console.result("two\nlines ?sig=abc")
    console.result({"sig": "abc", "packs": ("a",), "path": io}, as_json=True)
    text, _, document = capsys.readouterr().out.partition("\n{")
    assert text == "two\nlines ?[redacted]"
    assert json.loads("{" + document) == {"sig": "[redacted]", "packs": ["a"], "path": str(io)}


def test_a_result_that_cannot_be_written_is_a_fault() -> None:
    """A full disk behind stdout is told, rather than an exit code of 0 beside half a result."""
    with open("/dev/full", "w") as full, pytest.raises(UsageError, match="No space left"):
        console.result("lost", stream=full)


SPEAKING = """
import sys
from models_init.output import console
with console.watching() as watcher:
    for number in range(3000):
        watcher.event("speaking", number=number)
try:
    console.result("spoken " * 10000)
finally:
    sys.exit(console.fault(ValueError()) + 40)
"""


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_reader_that_has_gone_changes_no_exit_code(name: str) -> None:
    """Behind `| head` or a dead log collector the program ends as it would have, and says nothing more."""
    reader, writer = os.pipe()
    os.close(reader)
    other = "stderr" if name == "stdout" else "stdout"
    ended = run(SPEAKING, **{name: writer, other: subprocess.PIPE})
    os.close(writer)
    assert ended.returncode == 41
    assert "BrokenPipe" not in (ended.stderr or "")


def test_closed_streams_change_no_exit_code() -> None:
    """Without stdout and stderr the program works as with them."""
    ended = run(
        "import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', sys.argv[1]], preexec_fn=lambda: "
        "__import__('os').closerange(1, 3)).returncode)",
        SPEAKING,
    )
    assert ended.returncode == 41


def test_a_reader_that_does_not_read_does_not_hold_the_program() -> None:
    """Behind a full pipe the work goes on and the program ends with its own exit code."""
    reader, writer = os.pipe()
    script = SPEAKING.replace("sys.exit(console.fault(ValueError()) + 40)", "sys.exit(41)")
    ended = run(script, stderr=writer, stdout=subprocess.DEVNULL)
    os.close(writer)
    os.close(reader)
    assert ended.returncode == 41


@pytest.mark.parametrize(
    ("use", "needed"),
    [
        ("", ()),
        ("console.note('up to date', {'release': 'r1', 'bytes': 1}, level='warning')", ()),
        ("console.fault(UsageError('odd'))", ()),
        ("console.fault(ValueError('odd'))", ()),
        ("console.result(console.table([(console.human_size(1),)], ['SIZE']))", ()),
        ("console.result({'release': 'r1'}, as_json=True)", ("json",)),
        ("console.watching().__enter__()", ("threading",)),
    ],
)
def test_what_is_heavy_is_imported_by_need(use: str, needed: tuple[str, ...]) -> None:
    """A start with nothing to do pays for no library that only a watcher needs."""
    script = (
        f"import sys; from models_init.output import console; from models_init.core.errors import UsageError\n{use}\n"
    )
    script += f"sys.stdout.write('LOADED ' + ' '.join(sorted(set({HEAVY!r}) & set(sys.modules))))"
    ended = run(script, capture_output=True)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.partition("LOADED ")[2].split() == sorted(needed)
