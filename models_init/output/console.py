"""Terminal output: progress, log lines and errors on stderr; the result on stdout.

All output passes through `redact`. Expensive imports are deferred until there is something to show.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import ExitStack, closing, contextmanager, redirect_stderr, suppress
from io import TextIOBase
from typing import TYPE_CHECKING, TextIO

from models_init.core.errors import EXIT_BUG, UsageError
from models_init.core.redaction import redact
from models_init.output import run_log
from models_init.output.failure import exit_code_of, faults_of, remedy_of
from models_init.output.progress import BarReporter, EventLogger, Heartbeat, LineReporter
from models_init.output.stream_writer import StreamWriter
from models_init.output.terminal import terminal_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models_init.core.events import Observer

HEARTBEAT_SECONDS = 10.0
FRAME_SECONDS = 1.0
_QUIET = ("warning", "error")


@contextmanager
def watching(
    *,
    log_format: str = "text",
    level: str = "info",
    stream: TextIO | None = None,
    interval: float = HEARTBEAT_SECONDS,
) -> Iterator[Observer]:
    """Open an observer on `stream` (stderr): a bar on a terminal, else lines with a heartbeat every `interval` seconds.

    `log_format` is `text` or `json` (always lines), `level` is `debug`, `info`, `warning` or `error`; there is no bar
    at the last two. While the observer is open, everything else that is written to `sys.stderr` (by asyncio, or
    Python's warnings) becomes an event, too.
    """
    stream = sys.stderr if stream is None else stream
    terminal = terminal_of(stream) if log_format == "text" else None
    with ExitStack() as stack:
        writer = stack.enter_context(closing(StreamWriter(stream)))
        observer: BarReporter | LineReporter
        if terminal and terminal.cursor and level not in _QUIET:
            observer, interval = BarReporter(writer, level, terminal), FRAME_SECONDS
        else:
            observer = LineReporter(writer, log_format, level, terminal=terminal)
        stack.callback(_report_losses, writer, observer)
        stack.enter_context(closing(observer))
        stack.enter_context(closing(Heartbeat(observer.beat, interval)))
        captured = stack.enter_context(closing(_StderrCapture(observer)))
        stack.enter_context(redirect_stderr(captured))
        yield observer


def fault(
    error: BaseException,
    *,
    log_format: str = "text",
    level: str = "info",
    stream: TextIO | None = None,
    program: str = "models-init",
) -> int:
    """Report an error on `stream` (stderr), one line for each fault, and return its exit code.

    Call it after the observer is closed. The traceback of a bug is written at level `debug` only.
    """
    stream = sys.stderr if stream is None else stream
    code, terminal = exit_code_of(error), terminal_of(stream)
    traceback = _traceback(error) if level == "debug" and code == EXIT_BUG else ""
    for text in faults_of(error):
        if log_format == "json":
            facts: dict[str, object] = {"error": text, "remedy": remedy_of(text), "exit_code": code}
            _log(
                stream,
                log_format,
                "failed",
                {"level": "error"} | facts | ({"traceback": traceback} if traceback else {}),
            )
        else:
            label = terminal.colored("error:", "error") if terminal else "error:"
            _write_safely(stream, f"{traceback}{program}: {label} {text}\n")
    return code


def note(
    event: str, facts: dict[str, object], *, log_format: str = "text", level: str = "info", stream: TextIO | None = None
) -> None:
    """Log one event without an observer, unless its level is below `level`; the fact `level` names it, by default info.

    The logger is not imported for an event without this fact if `level` is `warning` or `error`.
    """
    if "level" in facts or level not in _QUIET:
        _log(sys.stderr if stream is None else stream, log_format, event, facts, level)


def result(value: object, *, as_json: bool = False, stream: TextIO | None = None) -> None:
    """Write only the result to `stream` (stdout): as text, or as one line of JSON.

    Values that JSON does not support are converted to text. A closed reader (`| head`) is not an error. Raises
    `UsageError`: the stream cannot be written.
    """
    text = _json(value) if as_json else str(value)
    with _result_faults():
        _write(sys.stdout if stream is None else stream, f"{text}\n")


def archive(data: bytes) -> None:
    """Write only an archive, whose members are redacted, to stdout. A closed reader is not an error.

    Raises `UsageError`: stdout is closed or cannot be written.
    """
    with _result_faults():
        if sys.stdout is None:
            raise ValueError("it is closed")
        try:
            sys.stdout.buffer.write(data)
            sys.stdout.flush()
        except OSError:
            _redirect_to_null(sys.stdout)
            raise


@contextmanager
def _result_faults() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        pass
    except (OSError, ValueError) as error:
        raise UsageError(f"the result cannot be written: {error}; check where standard output goes") from error


def _log(stream: TextIO | None, log_format: str, event: str, facts: dict[str, object], lowest: str = "info") -> None:
    """Log one event without an observer."""
    terminal = terminal_of(stream) if log_format == "text" else None
    EventLogger(lambda line: _write_safely(stream, line), log_format, lowest, terminal).event(event, **facts)


def _report_losses(writer: StreamWriter, observer: BarReporter | LineReporter) -> None:
    if writer.lost:
        observer.event("output_lost", level="warning", pieces=writer.lost)


class _StderrCapture(TextIOBase):
    """Replaces `sys.stderr`: each line becomes an event."""

    def __init__(self, observer: BarReporter | LineReporter) -> None:
        self._event_logger = observer.event_logger
        self._rest = ""

    def write(self, text: str) -> int:
        *complete, self._rest = (self._rest + text).split("\n")
        for line in filter(str.strip, complete):
            run_log.event("stderr", {"level": "warning", "text": line})
            self._event_logger.write("stderr", {"level": "warning", "text": line})
        return len(text)

    def close(self) -> None:
        self.write("\n")
        super().close()


def _traceback(error: BaseException) -> str:
    from traceback import format_exception  # noqa: PLC0415 - for a bug only

    return "".join(format_exception(error))


def _json(value: object) -> str:
    return json.dumps(value, default=str, ensure_ascii=False, separators=(",", ":"))


def _write_safely(stream: TextIO | None, text: str) -> None:
    with suppress(OSError, ValueError):  # without a usable stream, the exit code still reports it
        _write(stream, text)


def _write(stream: TextIO | None, text: str) -> None:
    if stream is None:  # Python sets it to None if the descriptor is closed at the start
        return
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        stream.write(redact(text).encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
    except (OSError, ValueError):
        _redirect_to_null(stream)
        raise


def _redirect_to_null(stream: TextIO) -> None:
    """Redirect the stream to /dev/null: Python flushes it again at exit and would turn a failure into exit code 120."""
    with suppress(OSError, ValueError), open(os.devnull, "wb") as null:
        os.dup2(null.fileno(), stream.fileno())
