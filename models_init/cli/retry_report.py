"""Report retries: one log line per host and interval, and one when the host answers again."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from models_init.core.events import Observer
    from models_init.sources.wrappers.retry import Retry
    from models_init.transfer.concurrency import ConnectionLimiter

INTERVAL = 15.0
"""Seconds between two lines about one host. With sixteen connections, an outage causes dozens of retries a minute."""

_OUTAGE = 1.0  # seconds without any byte; the end of a shorter outage is not reported


@dataclass(slots=True)
class _Outage:
    """The retries since a host failed: `began` and `next_line` are times, `unreported` is a number of failures."""

    began: float
    next_line: float
    unreported: int = 0
    is_over: bool = False


class RetryReport:
    """Counts retries in `count`, and reports them to `observer`."""

    def __init__(self, observer: Observer, clock: Callable[[], float] = monotonic) -> None:
        self.count = 0
        self._observer = observer
        self._clock = clock
        self._outages: dict[str, _Outage] = {}

    def retrying(self, host: str, retry: Retry) -> None:
        """Count a retry of a request to `host`. Report it, at most once per `INTERVAL` and host."""
        self.count += 1
        now = self._clock()
        outage = self._outages.setdefault(host, _Outage(now, now))
        if outage.is_over:
            outage.began, outage.is_over = now, False
        outage.unreported += 1
        if now < outage.next_line:
            return
        self._observer.event(
            "retrying",
            level="warning",
            host=host,
            error=str(retry.error),
            failures=outage.unreported,
            wait_seconds=round(retry.wait, 1),
            left_seconds=round(retry.left, 1),
        )
        outage.unreported, outage.next_line = 0, now + INTERVAL

    def recovered(self, host: str) -> None:
        """Report that the host answers again, unless the outage was short."""
        outage, now = self._outages[host], self._clock()
        outage.is_over = True
        if now - outage.began >= _OUTAGE:
            self._observer.event("recovered", source=host, outage_seconds=round(now - outage.began, 1))
            del self._outages[host]


@dataclass(frozen=True, slots=True)
class SourceRetries:
    """Passes the retries of requests to `host` to the report, and overload to the limiter of connections, if any."""

    host: str
    report: RetryReport
    connections: ConnectionLimiter | None = None

    def retrying(self, retry: Retry) -> None:
        """See `RetryObserver.retrying`."""
        if retry.error.overloaded and self.connections:
            self.connections.overloaded()
        self.report.retrying(self.host, retry)

    def recovered(self) -> None:
        """See `RetryObserver.recovered`."""
        self.report.recovered(self.host)
