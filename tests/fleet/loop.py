"""An event loop whose clock is simulated: it does not wait, but advances to the time of the next timer."""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


class SimulatedLoop(asyncio.SelectorEventLoop):
    """Runs coroutines in simulated time, which begins at 0. They must not use sockets, threads or real clocks."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(_TimeSelector(self))

    def time(self) -> float:
        """Return the simulated time in seconds."""
        return self.now


class _TimeSelector(selectors.SelectSelector):
    """Advances the loop's clock instead of waiting."""

    def __init__(self, loop: SimulatedLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("every coroutine waits for another one; no timer is left")
        self._loop.now += max(0.0, timeout)
        return []


def run_simulated(main: Coroutine[object, object, T]) -> T:
    """Run a coroutine to its end in simulated time."""
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        return runner.run(main)
