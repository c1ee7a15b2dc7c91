"""Run a coroutine until it ends or SIGINT or SIGTERM arrives; then stop within two seconds, even if a disk hangs."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from models_init.runtime.signals import EXIT_CODES, StoppedError
from models_init.runtime.threads import is_refused_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from types import FrameType

T = TypeVar("T")

_GRACE = 1.5  # seconds; the documented limit is two


def run(start: Callable[[], Coroutine[object, object, T]]) -> T:
    """Run the coroutine that `start` returns, and return its result. A signal cancels it and raises `StoppedError`.

    The coroutine is created on the event loop, because Python warns about a coroutine that a signal prevents from
    running. A thread that waits for a disk cannot be cancelled, so the process exits no later than 1.5 s after the
    signal. That is safe, because the volume is consistent at all times.
    """
    received: list[int] = []
    before = {number: signal.signal(number, lambda number, _: received.append(number)) for number in EXIT_CODES}
    try:
        with _event_loop() as runner:
            return runner.run(_stoppable(start, received))
    except StoppedError:
        before = dict.fromkeys(before, signal.SIG_IGN)  # the process is ending; ignore further signals
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)  # the event loop has reset them to Python's defaults


@contextmanager
def _event_loop() -> Iterator[asyncio.Runner]:
    """Open an event loop; close it without a thread if the system refuses one.

    The thread would only wait for the default executor, which `Workers` has already closed.
    """
    runner = asyncio.Runner()
    try:
        yield runner
    finally:
        try:
            runner.close()
        except RuntimeError as error:
            if not is_refused_thread(error):
                raise


async def _stoppable(start: Callable[[], Coroutine[object, object, T]], received: list[int]) -> T:
    """Run the coroutine until it ends or a signal arrives; `received` contains the signals that arrived before."""
    loop = asyncio.get_running_loop()

    def end(number: int, _frame: FrameType | None) -> None:
        if not received:
            _end_soon(EXIT_CODES[signal.Signals(number)])

    def stop(number: int) -> None:
        received.append(number)
        task.cancel()

    for number in EXIT_CODES:
        loop.add_signal_handler(number, stop, number)
        signal.signal(number, end)  # runs also while a file that does not answer blocks the loop
    if received:
        raise StoppedError(received[0])
    task = asyncio.ensure_future(start())
    try:
        return await task
    except asyncio.CancelledError:
        if received:
            raise StoppedError(received[0]) from None
        raise


def _end_soon(exit_code: int) -> None:
    timer = threading.Timer(_GRACE, os._exit, [exit_code])
    timer.daemon = True
    try:
        timer.start()
    except RuntimeError:  # no thread can be started
        signal.signal(signal.SIGALRM, lambda *_: os._exit(exit_code))
        signal.setitimer(signal.ITIMER_REAL, _GRACE)
