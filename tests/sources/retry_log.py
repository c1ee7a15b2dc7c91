"""A clock that records the retries of a source."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.clock import FakeClock

if TYPE_CHECKING:
    from models_init.sources.wrappers.retry import Retry


@dataclass
class RetryLog(FakeClock):
    """A clock that is also a `RetryObserver`: `reported` has the retries, `recoveries` the times of recovery."""

    reported: list[Retry] = field(default_factory=list)
    recoveries: list[float] = field(default_factory=list)

    def retrying(self, retry: Retry) -> None:
        """Record a retry."""
        self.reported.append(retry)

    def recovered(self) -> None:
        """Record a recovery."""
        self.recoveries.append(self.now)
