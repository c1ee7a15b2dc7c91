"""A clock for code that takes one as a parameter; no test waits in real time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field


@dataclass
class FakeClock:
    """A clock in seconds that advances only if a test sets `now`, or by `sleep`."""

    now: float = 1000.0
    waits: list[float] = field(default_factory=list)
    """The seconds of each `sleep`, in order."""

    def __call__(self) -> float:
        """Return the time, as `time.monotonic` does."""
        return self.now

    async def sleep(self, seconds: float) -> None:
        """Advance the clock at once; concurrent sleeps overlap, as those of `asyncio.sleep` do."""
        end = self.now + seconds
        self.waits.append(seconds)
        await asyncio.sleep(0)
        self.now = max(self.now, end)
