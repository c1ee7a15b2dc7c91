"""Report errors: lines on stderr, an object for programs, and the termination log of Kubernetes."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from models_init.core.errors import EXIT_BUG, ModelsInitError
from models_init.core.redaction import redact
from models_init.core.units import one_line
from models_init.output import run_log
from models_init.runtime.thread_limits import no_threads
from models_init.runtime.threads import is_refused_thread

if TYPE_CHECKING:
    from collections.abc import Sequence

TERMINATION_LOG_BYTES = 4096  # the part of a termination log that Kubernetes reads
_GAP = b" [...] "


def exit_code_of(error: BaseException) -> int:
    """Return the exit code of an error; unexpected ones are bugs."""
    return error.exit_code if isinstance(error, ModelsInitError) else EXIT_BUG


def faults_of(error: BaseException) -> Sequence[str]:
    """Return the text of an error, one line for each fault."""
    if isinstance(error, ModelsInitError):
        return [one_line(fault) for fault in error.faults]
    return [
        (
            f"this is a bug in this program: {type(error).__name__}: {one_line(error)}; "
            "run it again with log level debug, and report the output"
        )
    ]


def remedy_of(fault: str) -> str:
    """Return the remedy in a message of the form "what: why; remedy"."""
    return fault.rpartition("; ")[2] if "; " in fault else ""


def failure_content(error: BaseException) -> dict[str, object]:
    """Return an error as an object for programs."""
    faults = faults_of(error)
    remedies = dict.fromkeys(filter(None, map(remedy_of, faults)))
    return {"exit_code": exit_code_of(error), "error": "; ".join(faults), "remedy": "; ".join(remedies)}


def expected(error: BaseException) -> BaseException:
    """Return the error to report instead of this one: a refused thread is a limit of the machine and not a bug."""
    return no_threads() if is_refused_thread(error) else error


def log_to_volume(error: BaseException) -> None:
    """Write an error to the log on the volume, with the traceback of a bug."""
    facts: dict[str, object] = {"level": "error", "exit_code": exit_code_of(error), "error": list(faults_of(error))}
    if not isinstance(error, ModelsInitError):
        from traceback import format_exception  # noqa: PLC0415 - for a bug only

        facts["traceback"] = "".join(format_exception(error))
    run_log.end("failed", facts)


def write_termination_log(error: BaseException, path: str) -> None:
    """Write an error to the file `path`, one line for each fault; it remains when the container has ended.

    An empty path means no file. Text that is too long is shortened in the middle, because it begins with the cause and
    ends with the remedy.
    """
    if path:
        text = redact("\n".join(faults_of(error))).encode(errors="backslashreplace")
        with suppress(OSError, ValueError), open(path, "wb") as file:  # stderr and the exit code report it anyway
            file.write(text if len(text) < TERMINATION_LOG_BYTES else _ends(text))


def _ends(text: bytes) -> bytes:
    half = (TERMINATION_LOG_BYTES - len(_GAP) - 1) // 2
    return _GAP.join(part.decode(errors="ignore").encode() for part in (text[:half], text[-half:]))
