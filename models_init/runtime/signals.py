"""Make SIGINT and SIGTERM end the program by an exception, so that everything that is open is closed."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, NoReturn

from models_init.core.errors import EXIT_INTERRUPTED, EXIT_TERMINATED

if TYPE_CHECKING:
    from types import FrameType

EXIT_CODES = {signal.SIGINT: EXIT_INTERRUPTED, signal.SIGTERM: EXIT_TERMINATED}


class StoppedError(BaseException):
    """The process received SIGINT or SIGTERM. Not a subclass of `Exception`, because it is not an error."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = EXIT_CODES[signal.Signals(number)]


def exit_on_signals() -> None:
    """Make SIGINT and SIGTERM end the process at once and without a traceback, as long as nothing is open."""
    for number in EXIT_CODES:
        signal.signal(number, lambda number, _: os._exit(EXIT_CODES[signal.Signals(number)]))


def ignore_signals() -> None:
    """Ignore SIGINT and SIGTERM, because the process is ending and its exit code is known.

    Unlike `SIG_IGN`, a function is not inherited by other programs.
    """
    for number in EXIT_CODES:
        signal.signal(number, lambda *_: None)


def raise_on_signals() -> None:
    """Make SIGINT and SIGTERM raise `StoppedError`. Process 1 of a container would ignore SIGTERM otherwise."""

    def stop(number: int, _frame: FrameType | None) -> NoReturn:
        raise StoppedError(number)

    for number in EXIT_CODES:
        signal.signal(number, stop)


def restore_ignored_signals() -> None:
    """Stop ignoring the signals that Python ignores, for a program that takes the place of this one."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)


def keep_signals_pending() -> None:
    """Keep SIGINT and SIGTERM pending for `wait_for_signal` from now on, instead of raising `StoppedError`."""
    signal.pthread_sigmask(signal.SIG_BLOCK, EXIT_CODES)


def wait_for_signal() -> str:
    """Wait for SIGINT or SIGTERM; return its name."""
    return signal.Signals(signal.sigwait(EXIT_CODES)).name
