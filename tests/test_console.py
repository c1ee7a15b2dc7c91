"""The output on a terminal and in logs."""

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
    "traceback",
    "dataclasses",
    "pydantic",
)


def seen(work: Callable[[Observer], None], **settings: Any) -> list[str]:
    """Return the lines that an observer writes to a stream that is not a terminal."""
    stream = io.StringIO()
    with console.watching(stream=stream, **settings) as observer:
        work(observer)
    return stream.getvalue().splitlines()


def reported(error: BaseException, **settings: Any) -> tuple[int, str]:
    """Return the exit code and the text of a fault."""
    stream = io.StringIO()
    return console.fault(error, stream=stream, **settings), stream.getvalue()


def run(script: str, *arguments: str, **streams: Any) -> subprocess.CompletedProcess[str]:
    """Run a script in a new process, with warnings as errors."""
    command = [sys.executable, "-W", "error", "-c", script, *arguments]
    return subprocess.run(command, check=False, text=True, timeout=60, **streams)


def on_terminal(script: str, variables: dict[str, str] | None = None, columns: int = 100) -> str:
    """Return the output of a script on a terminal."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = os.environ | {"TERM": "xterm", "NO_COLOR": "", "TZ": "UTC"} | (variables or {})
    process = subprocess.Popen([sys.executable, "-c", script], stderr=follower, stdout=follower, env=environment)
    os.close(follower)
    written = bytearray()
    try:
        while piece := os.read(leader, 65536):
            written += piece
    except OSError:  # the end of a terminal on Linux
        pass
    os.close(leader)
    assert process.wait() == 0, written.decode()
    return written.decode()


def failing(secret: str) -> Exception:
    """Return an exception with a chain of causes, each of which contains the secret."""
    try:
        try:
            raise ConnectionError(f"GET https://host/c/b?{secret} broke")  # noqa: TRY301 # the test needs a traceback
        except ConnectionError as inner:
            raise RuntimeError(secret, {"url": f"?{secret}"}) from inner
    except RuntimeError as error:
        return error


def test_event_is_one_line_of_text() -> None:
    """Without a terminal, the line has the name and the fields, and nothing else is written."""

    def work(observer: Observer) -> None:
        observer.event("resolved", pack="nl-nl", bytes=MIB)
        observer.expect(MIB)
        observer.advance(MIB)
        observer.event("activated", release="r1")

    assert [line.partition(" ")[2] for line in seen(work)] == [
        "info    resolved pack=nl-nl bytes=1.0MiB",
        "info    activated release=r1",
    ]


def test_event_is_one_object_of_json() -> None:
    """The object has time, level, event and the fields."""
    (line,) = seen(lambda observer: observer.event("resolved", pack="nl-nl", bytes=MIB), log_format="json")
    found = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found.pop("time"))
    assert found == {"level": "info", "event": "resolved", "pack": "nl-nl", "bytes": MIB}


def test_level_of_event_is_respected() -> None:
    """An unknown level counts as info."""

    def work(observer: Observer) -> None:
        observer.event("a", level="debug")
        observer.event("b", level="warning")
        observer.event("c", level="odd")
        observer.event("d", event="x", time="y")

    assert [line.split()[1:3] for line in seen(work)] == [["warning", "b"], ["info", "c"], ["info", "d"]]


def test_progress_is_logged_at_every_interval() -> None:
    """The thread of the heartbeat ends with the observer."""
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
    assert not {thread.name for thread in threading.enumerate()} & {"heartbeat", "stream-writer"}


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


def test_text_on_stderr_becomes_an_event() -> None:
    """Warnings, log records and tracebacks of threads, tasks and destructors are events, and redacted."""
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
def test_token_is_not_printed_at_level_debug(log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The token occurs in exceptions, nested fields, URLs and tracebacks, in several encodings."""
    secret = token()
    register(secret)
    error = failing(secret)

    def work(observer: Observer) -> None:
        observer.event(f"got {secret}", level="debug", exc_info=error, error=error, url=f"https://host/c/b?{secret}")
        observer.event("nested", facts={"query": [secret, {"sig": secret.rpartition("=")[2]}], secret: error})
        observer.event("encoded", raw=secret.encode(), json=json.dumps({"u": f"?{secret}"}), repr=repr(error))
        print(*error.args, file=sys.stderr)  # noqa: T201 # the test is about this output

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


def test_terminal_shows_a_bar_below_the_lines() -> None:
    """The bar has the rate and the remaining time, and never goes backwards."""
    written = on_terminal(
        "from models_init.output import console\n"
        "with console.watching(interval=0.001) as observer:\n"
        "    observer.event('fetching', url='?sig=abc')\n"
        "    observer.expect(600 << 20)\n"
        "    for number in range(8):\n"
        "        observer.advance(100 << 20)\n"
        "        observer.event('published', pack='nl-nl')\n"
        "        observer.expect((number == 3) * 200 << 20)\n"
        "console.fault(ValueError())\n"
    )
    plain = re.sub(r"\x1b\[[AJK]", "", written)
    shown = [frame for frame in re.split(r"[\r\n]+", plain) if frame.strip()]
    lines = [frame for frame in shown if "%|" not in frame]
    frames = [frame for frame in shown if "%|" in frame]
    assert [line.split()[2] for line in lines[:-1]] == ["fetching"] + ["published"] * 8
    assert lines[-1].startswith("models-init: \x1b[31merror:\x1b[0m this is a bug")
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
def test_bar_has_the_units_of_the_log_lines(show: str) -> None:
    """Both programs use the same units, e.g. 1.0GiB/4.0GiB and 105.2MiB/s."""
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


EVENTS = """
from models_init.output import console
with console.watching() as observer:
    observer.event("fetching", bytes=1, reused=0, source="https://scriptixmodels.blob.core.windows.net/models/realtime/")
    observer.event("waiting", level="warning", text="another run works on this volume, and this one waits for its end")
    observer.event("wrong", level="error")
    observer.expect(4 << 30)
    observer.advance(1 << 30)
"""


def test_lines_fit_in_a_terminal_of_80_columns() -> None:
    """Lines have a short clock, and continue below the event between words."""
    written = on_terminal(EVENTS, {"NO_COLOR": "1"}, columns=80)
    rows = [row for row in re.split(r"[\r\n]+", re.sub(r"\x1b\[[AJK]", "", written)) if row]
    assert [row for row in rows if len(row) > 80] == []
    assert [re.sub(r"^\d\d:\d\d:\d\d ", "", row) for row in rows[:5]] == [
        "info    fetching bytes=1B reused=0",
        "         source=https://scriptixmodels.blob.core.windows.net/models/realtime/",
        'warning waiting text="another run works on this volume, and this one',
        '         waits for its end"',
        "error   wrong",
    ]
    assert " 25%|" in rows[-1]


@pytest.mark.parametrize(("variables", "colored"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_colors_follow_the_terminal_and_no_color(variables: dict[str, str], colored: bool) -> None:  # noqa: FBT001 - a parameter
    """Only the levels warning and error are colored."""
    written = on_terminal(EVENTS, variables)
    assert ("\x1b[33mwarning\x1b[0m waiting" in written) == colored
    assert ("\x1b[31merror  \x1b[0m wrong" in written) == colored
    assert ("\x1b[3" in written) == colored


PACKS = """
from models_init.output import console
with console.watching(interval=60) as observer:
    observer.expect(4 << 20, "common 2026.04")
    observer.advance(1 << 20, "common 2026.04")
    observer.expect(8 << 20, "nl-nl 2026.04")
    observer.restore(2 << 20, "nl-nl 2026.04")
    observer.advance(3 << 20, "common 2026.04")
    observer.event("published", pack="common")
    observer.expect(-2 << 20, "nl-nl 2026.04")
    observer.advance(4 << 20, "nl-nl 2026.04")
"""


def test_each_pack_has_a_bar_below_that_of_all() -> None:
    """Restored bytes count; the bars of packs are removed at the end, and the one of all bytes stays."""
    written = on_terminal(PACKS, {"NO_COLOR": "1"}, columns=80)
    frames = [re.sub(r"\x1b\[[AJK]", "", frame) for frame in re.split(r"[\r\n]+", written)]
    for state in ("0%|.* 0B/4.0MiB ", "50%|.* 6.0MiB/12.0MiB ", "100%|.* 10.0MiB/10.0MiB "):
        assert any(re.match(f" *{state}".replace("|", "\\|"), frame) for frame in frames), state
    assert any(re.match(r"common 2026.04: 100%\|█+\| 4.0MiB/4.0MiB", frame) for frame in frames)
    assert any(re.match(r"nl-nl 2026.04:  25%\|█+.* \| 2.0MiB/8.0MiB", frame) for frame in frames)
    assert max(map(len, frames)) < 80
    assert [frame for frame in frames if frame.strip()][-1].startswith("100%|")


def test_single_pack_has_no_bar_of_its_own() -> None:
    """A bar for the only pack would repeat the bar for all bytes."""
    written = on_terminal("\n".join(line for line in PACKS.splitlines() if "nl-nl" not in line))
    assert "4.0MiB/4.0MiB [" in written
    assert "common 2026.04" not in written


def test_narrowed_terminal_shows_no_fragment_of_the_bar() -> None:
    """The rows of the old bar are cleared before the new bar is drawn in the new width."""
    written = on_terminal(
        "import fcntl, struct, sys, termios\n"
        "from models_init.output import console\n"
        "def resize(columns):\n"
        "    fcntl.ioctl(sys.__stderr__, termios.TIOCSWINSZ, struct.pack('HHHH', 40, columns, 0, 0))\n"
        "with console.watching(interval=60) as observer:\n"
        "    observer.expect(400)\n"
        "    resize(45)\n"
        "    observer.expect(400)\n"
        "    observer.advance(800)\n"
    )
    frames = [frame for frame in written.split("\r") if "%|" in frame]
    assert [len(re.sub(r"\x1b\[[AJK]", "", frame).rstrip()) for frame in (frames[0], frames[-1])] == [99, 44]
    assert frames[1].startswith("\x1b[A\x1b[A\x1b[J")
    assert frames[-1].startswith("\x1b[K")


def test_terminal_without_a_size_shows_a_bar_of_80_columns() -> None:
    """Serial consoles and `script` may report a width of 0."""
    written = on_terminal(EVENTS, {"NO_COLOR": "1"}, columns=0)
    assert len(re.findall(r"[^\r\x1b]*%\|[^\r\x1b]*", written)[-1].rstrip("\n").removeprefix("[K")) == 79


def test_quiet_terminal_shows_no_bar() -> None:
    """The output at level warning consists of warnings and errors only."""
    written = on_terminal(EVENTS.replace("watching()", "watching(level='warning')"), {"NO_COLOR": "1"})
    assert [line.split()[1] for line in written.splitlines()] == ["warning", "error"]


def test_terminal_shows_json_lines_without_a_bar() -> None:
    written = on_terminal(
        "from models_init.output import console\n"
        "with console.watching(log_format='json') as observer:\n"
        "    observer.expect(600 << 20)\n"
        "    observer.event('fetching')\n"
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
def test_each_fault_is_one_line(error: Exception, code: int, lines: list[str]) -> None:
    """Each fault is one object if the format is JSON. The exit code is that of the error."""
    assert reported(error) == (code, "".join(f"models-init: error: {line}\n" for line in lines))
    found, text = reported(error, log_format="json")
    objects = [json.loads(line) for line in text.splitlines()]
    assert found == code
    assert [each.pop("error") for each in objects] == lines
    assert [each.pop("remedy") for each in objects] == ["" for _ in lines]
    assert all(
        {**each, "time": ""} == {"time": "", "level": "error", "event": "failed", "exit_code": code} for each in objects
    )


def test_unexpected_exception_is_reported_as_a_bug() -> None:
    """The output is one line, and the exit code is 1; the traceback is written at level debug only."""
    error = failing("sig=abc")
    code, text = reported(error, program="models-pack")
    assert code == 1
    assert text.count("\n") == 1
    assert text.startswith("models-pack: error: this is a bug in this program: RuntimeError: ")
    code, text = reported(error, level="debug")
    assert code == 1
    assert text.startswith("Traceback (most recent call last):\n")
    assert "abc" not in text
    code, text = reported(error, level="debug", log_format="json")
    assert json.loads(text)["traceback"].startswith("Traceback")


def test_note_is_logged_without_an_observer() -> None:
    """The note is dropped at level warning."""
    stream = io.StringIO()
    console.note("up to date", {"release": "r1"}, stream=stream)
    console.note("up to date", {"release": "r1"}, stream=stream, level="warning")
    assert stream.getvalue().partition(" ")[2] == "info    up to date release=r1\n"


def test_only_the_result_is_written_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    """The result is text, or one line of JSON; both are redacted."""
    console.result("two\nlines ?sig=abc")
    console.result({"sig": "abc", "packs": ("a",), "path": io}, as_json=True)
    text, _, document = capsys.readouterr().out.partition("\n{")
    assert text == "two\nlines ?[redacted]"
    assert json.loads("{" + document) == {"sig": "[redacted]", "packs": ["a"], "path": str(io)}


def test_unwritable_stdout_is_reported() -> None:
    """If stdout is on a full disk, the run must not end with exit code 0 and half a result."""
    with open("/dev/full", "w") as full, pytest.raises(UsageError, match="No space left"):
        console.result("lost", stream=full)


CHATTY = """
import sys
from models_init.output import console
with console.watching() as observer:
    for number in range(3000):
        observer.event("chatting", number=number)
try:
    console.result("chatty " * 10000)
finally:
    sys.exit(console.fault(ValueError()) + 40)
"""


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_closed_reader_does_not_change_the_exit_code(name: str) -> None:
    """The reader is `| head`, or a log collector that has ended."""
    reader, writer = os.pipe()
    os.close(reader)
    other = "stderr" if name == "stdout" else "stdout"
    ended = run(CHATTY, **{name: writer, other: subprocess.PIPE})
    os.close(writer)
    assert ended.returncode == 41
    assert "BrokenPipe" not in (ended.stderr or "")


def test_closed_streams_do_not_change_the_exit_code() -> None:
    ended = run(
        "import subprocess, sys; sys.exit(subprocess.run([sys.executable, '-c', sys.argv[1]], preexec_fn=lambda: "
        "__import__('os').closerange(1, 3)).returncode)",
        CHATTY,
    )
    assert ended.returncode == 41


def test_blocked_reader_does_not_block_the_program() -> None:
    """The pipe is full; the program still ends with its own exit code."""
    reader, writer = os.pipe()
    script = CHATTY.replace("sys.exit(console.fault(ValueError()) + 40)", "sys.exit(41)")
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
        ("console.result({'release': 'r1'}, as_json=True)", ()),
        ("console.watching().__enter__()", ()),
    ],
)
def test_expensive_modules_are_imported_on_demand(use: str, needed: tuple[str, ...]) -> None:
    """A start with nothing to do imports no library that only a long operation needs."""
    script = (
        f"import sys; from models_init.output import console; from models_init.core.errors import UsageError\n{use}\n"
    )
    script += f"sys.stdout.write('LOADED ' + ' '.join(sorted(set({HEAVY!r}) & set(sys.modules))))"
    ended = run(script, capture_output=True)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.partition("LOADED ")[2].split() == sorted(needed)
