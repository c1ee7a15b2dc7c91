"""Wait for a condition that another process or thread fulfills, without guessing a time."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_PAUSE = 0.002
_LIMIT = 60.0


async def eventually(happened: Callable[[], object], what: str = "the condition") -> None:
    """Return as soon as the condition is true; fail after a minute."""
    deadline = time.monotonic() + _LIMIT
    while not happened():
        assert time.monotonic() < deadline, f"{what} did not happen within {_LIMIT:.0f} s"
        await asyncio.sleep(_PAUSE)


def eventually_sync(happened: Callable[[], object], what: str = "what the test waits for") -> None:
    """Do the same in a test without an event loop."""
    deadline = time.monotonic() + _LIMIT
    while not happened():
        assert time.monotonic() < deadline, f"{what} did not happen within {_LIMIT:.0f} s"
        time.sleep(_PAUSE)
