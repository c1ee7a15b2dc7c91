"""Terminal output: progress, log lines and errors on stderr; the result on stdout.

All output passes through `redact`. Expensive imports are deferred until there is something to show.
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, closing, contextmanager, redirect_stderr, suppress
from io import TextIOBase
from typing import TYPE_CHECKING, TextIO

from models_init.core.errors import EXIT_BUG, ModelsInitError, UsageError
from models_init.core.redaction import redact
from models_init.core.units import human_rate, human_size, human_time, one_line, table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from models_init.core.events import Observer
    from models_init.output.progress import BarReporter, LineReporter
    from models_init.output.stream_writer import StreamWriter

__all__ = [
    "fault",
    "human_rate",
    "human_size",
    "human_time",
    "note",
    "result",
    "table",
    "watching",
    "write_termination_log",
]

HEARTBEAT_SECONDS = 10.0
TERMINATION_LOG_BYTES = 4096  # the part of a termination log that Kubernetes reads
FRAME_SECONDS = 1.0
_GAP = b" [...] "
_LEVELS = ("debug", "info", "warning", "error")


@contextmanager
def watching(
    *,
    log_format: str = "text",
    level: str = "info",
    stream: TextIO | None = None,
    interval: float = HEARTBEAT_SECONDS,
) -> Iterator[Observer]:
    """Open an observer on `stream` (stderr): a bar on a terminal, else lines with a heartbeat every `interval` seconds.

    `log_format` is `text` or `json` (always lines), `level` is `debug`, `info`, `warning` or `error`. While the
    observer is open, everything else that is written to `sys.stderr` (by asyncio, or Python's warnings) becomes an
    event, too.
    """
    from models_init.output.progress import BarReporter, Heartbeat, LineReporter  # noqa: PLC0415 - for an observer only
    from models_init.output.stream_writer import StreamWriter  # noqa: PLC0415 - for an observer only

    stream = sys.stderr if stream is None else stream
    with_bar = log_format == "text" and _is_terminal(stream)
    with ExitStack() as stack:
        writer = stack.enter_context(closing(StreamWriter(stream)))
        observer = (BarReporter if with_bar else LineReporter)(writer, log_format, level)
        stack.callback(_tell_losses, writer, observer)
        stack.enter_context(closing(observer))
        stack.enter_context(closing(Heartbeat(observer.beat, FRAME_SECONDS if with_bar else interval)))
        stray = stack.enter_context(closing(_StderrCapture(observer)))
        stack.enter_context(redirect_stderr(stray))
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

    Call it after the observer is closed. An error that is not a `ModelsInitError` is a bug; its traceback is written at
    level `debug` only.
    """
    stream = sys.stderr if stream is None else stream
    code = error.exit_code if isinstance(error, ModelsInitError) else EXIT_BUG
    traceback = _traceback(error) if level == "debug" and not isinstance(error, ModelsInitError) else ""
    for text in _faults(error):
        if log_format == "json":
            facts = {"error": text, "exit_code": code} | ({"traceback": traceback} if traceback else {})
            _log(stream, log_format, "error", "failed", facts)
        else:
            _tell(stream, f"{traceback}{program}: error: {text}\n")
    return code


def write_termination_log(error: BaseException, path: str) -> None:
    """Write an error to the file `path`, one line for each fault, so that the cause outlives the container.

    An empty path means no file. Text that is too long is shortened in the middle, because it begins with the cause and
    ends with the remedy.
    """
    if path:
        told = redact("\n".join(_faults(error))).encode(errors="backslashreplace")
        with suppress(OSError, ValueError), open(path, "wb") as file:  # stderr and the exit code report it anyway
            file.write(told if len(told) < TERMINATION_LOG_BYTES else _ends(told))


def _ends(text: bytes) -> bytes:
    half = (TERMINATION_LOG_BYTES - len(_GAP) - 1) // 2
    return _GAP.join(part.decode(errors="ignore").encode() for part in (text[:half], text[-half:]))


def note(
    event: str, facts: dict[str, object], *, log_format: str = "text", level: str = "info", stream: TextIO | None = None
) -> None:
    """Log one event without an observer; the fact `level` sets its level, by default info."""
    severity = str(facts.get("level", "info"))
    if _LEVELS.index(severity) >= _LEVELS.index(level):
        others = {name: value for name, value in facts.items() if name != "level"}
        _log(sys.stderr if stream is None else stream, log_format, severity, event, others)


def result(value: object, *, as_json: bool = False, stream: TextIO | None = None) -> None:
    """Write only the result to `stream` (stdout): as text, or as one line of JSON.

    Values that JSON does not support are converted to text. A closed reader (`| head`) is not an error. Raises
    `UsageError`: the stream cannot be written.
    """
    text = _json(value) if as_json else str(value)
    try:
        _put(sys.stdout if stream is None else stream, f"{text}\n")
    except BrokenPipeError:
        pass
    except (OSError, ValueError) as error:
        raise UsageError(f"the result cannot be written: {error}; check where standard output goes") from error


def _log(stream: TextIO | None, log_format: str, level: str, event: str, facts: dict[str, object]) -> None:
    """Log one event without an observer."""
    from models_init.output.log_format import logger  # noqa: PLC0415 - 0.13 s, for when there is something to log

    log = logger(lambda line: _tell(stream, line), log_format, level).bind(**facts)
    getattr(log, level)(event)


def _is_terminal(stream: TextIO | None) -> bool:
    with suppress(ValueError):  # closed
        return stream is not None and stream.isatty()
    return False


def _tell_losses(writer: StreamWriter, observer: BarReporter | LineReporter) -> None:
    if writer.lost:
        observer.event("output lost", level="warning", pieces=writer.lost)


class _StderrCapture(TextIOBase):
    """Replaces `sys.stderr`: each line becomes an event."""

    def __init__(self, observer: BarReporter | LineReporter) -> None:
        self._event_logger = observer.event_logger
        self._rest = ""

    def write(self, text: str) -> int:
        *whole, self._rest = (self._rest + text).split("\n")
        for each in filter(str.strip, whole):
            self._event_logger.write("stderr", {"level": "warning", "text": each})
        return len(text)

    def close(self) -> None:
        self.write("\n")
        super().close()


def _faults(error: BaseException) -> Iterable[str]:
    if isinstance(error, ModelsInitError):
        return map(one_line, error.faults)
    return [
        (
            f"this is a bug in this program: {type(error).__name__}: {one_line(error)}; "
            "run it again with log level debug, and report what it prints"
        )
    ]


def _traceback(error: BaseException) -> str:
    from traceback import format_exception  # noqa: PLC0415 - for a bug only

    return "".join(format_exception(error))


def _json(value: object) -> str:
    import json  # noqa: PLC0415 - for JSON only

    return json.dumps(value, default=str, ensure_ascii=False, separators=(",", ":"))


def _tell(stream: TextIO | None, text: str) -> None:
    with suppress(OSError, ValueError):  # without a usable stream, the exit code still reports it
        _put(stream, text)


def _put(stream: TextIO | None, text: str) -> None:
    if stream is None:  # Python sets it to None if the descriptor is closed at the start
        return
    encoding = getattr(stream, "encoding", None) or "utf-8"
    try:
        stream.write(redact(text).encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
    except (OSError, ValueError):
        _abandon(stream)
        raise


def _abandon(stream: TextIO) -> None:
    """Redirect the stream to /dev/null: Python flushes it again at exit and would turn a failure into exit code 120."""
    with suppress(OSError, ValueError), open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())
