"""Run work until it ends or a signal asks to stop; then stop within two seconds, whatever a disk does."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING, NoReturn, TypeVar

from models_init.core.errors import EXIT_INTERRUPTED, EXIT_TERMINATED

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from types import FrameType

T = TypeVar("T")

_GRACE = 1.5  # seconds; the promise is two

_EXIT_CODES = {signal.SIGINT: EXIT_INTERRUPTED, signal.SIGTERM: EXIT_TERMINATED}


class StoppedError(BaseException):
    """A signal asked to stop; no fault, so no `Exception`."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = _EXIT_CODES[signal.Signals(number)]


def raise_on_signals() -> None:
    """Make SIGINT and SIGTERM raise `SpoolClosedError`. Process 1 of a container would ignore SIGTERM otherwise."""

    def stop(number: int, _frame: FrameType | None) -> NoReturn:
        raise StoppedError(number)

    for number in _EXIT_CODES:
        signal.signal(number, stop)


def run(work: Coroutine[object, object, T]) -> T:
    """Run to the end. A signal cancels the work and raises `SpoolClosedError`.

    A thread that a disk holds up cannot be cancelled: after 1.5 s the process ends as it is. Nothing is lost by that,
    for the volume is whole at every moment.
    """
    import asyncio  # noqa: PLC0415 - a tenth of a second that a start with nothing to do need not pay

    before = {number: signal.getsignal(number) for number in _EXIT_CODES}
    try:
        return asyncio.run(_stoppable(work))
    except StoppedError:
        before = dict.fromkeys(before, signal.SIG_IGN)  # the process is ending: one signal is enough
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)  # the loop has reset them to Python's own


async def _stoppable(work: Coroutine[object, object, T]) -> T:
    import asyncio  # noqa: PLC0415 - see above

    loop, task = asyncio.get_running_loop(), asyncio.ensure_future(work)
    received: list[int] = []

    def stop(number: int) -> None:
        if not received:
            _end_soon(_EXIT_CODES[signal.Signals(number)])
        received.append(number)
        task.cancel()

    for number in _EXIT_CODES:
        loop.add_signal_handler(number, stop, number)
    try:
        return await task
    except asyncio.CancelledError:
        if received:
            raise StoppedError(received[0]) from None
        raise


def _end_soon(exit_code: int) -> None:
    timer = threading.Timer(_GRACE, os._exit, [exit_code])
    timer.daemon = True
    timer.start()
