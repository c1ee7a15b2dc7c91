"""Run a coroutine until it ends or SIGINT or SIGTERM arrives; then stop within two seconds, even if a disk hangs."""

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

_GRACE = 1.5  # seconds; the documented limit is two

_EXIT_CODES = {signal.SIGINT: EXIT_INTERRUPTED, signal.SIGTERM: EXIT_TERMINATED}


class StoppedError(BaseException):
    """A signal asked to stop. Not a subclass of `Exception`, because it is not an error."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.exit_code = _EXIT_CODES[signal.Signals(number)]


def raise_on_signals() -> None:
    """Make SIGINT and SIGTERM raise `StoppedError`. Process 1 of a container would ignore SIGTERM otherwise."""

    def stop(number: int, _frame: FrameType | None) -> NoReturn:
        raise StoppedError(number)

    for number in _EXIT_CODES:
        signal.signal(number, stop)


def run(work: Coroutine[object, object, T]) -> T:
    """Run the coroutine and return its result. A signal cancels it and raises `StoppedError`.

    A thread that waits for a disk cannot be cancelled, so the process exits 1.5 s after the signal in any case. That is
    safe, because the volume is consistent at all times.
    """
    import asyncio  # noqa: PLC0415 - saves a tenth of a second in a start with nothing to do

    before = {number: signal.getsignal(number) for number in _EXIT_CODES}
    try:
        return asyncio.run(_stoppable(work))
    except StoppedError:
        before = dict.fromkeys(before, signal.SIG_IGN)  # the process is ending; ignore further signals
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)  # the event loop has reset them to Python's defaults


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
