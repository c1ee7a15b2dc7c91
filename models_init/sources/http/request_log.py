"""Records of single requests, for the log at level debug. They never contain a query, which may be a token."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable

LOCAL_PORT: ContextVar[int] = ContextVar("local_port", default=0)
"""The local port of the connection that the current task has used last."""


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """A request that has ended; `received` counts bytes of the body, `connection` is the local port (0: none).

    `status` is 0 if there was no response; `error` then contains the reason.
    """

    method: str
    url: str
    requested_range: str
    status: int
    received: int
    seconds: float
    connection: int
    error: str = ""


@dataclass(frozen=True, slots=True)
class RequestTimer:
    """Reports one logged request when it ends."""

    report: Callable[[RequestRecord], None]
    clock: Callable[[], float]
    method: str
    url: str
    requested_range: str
    began: float

    def ended(self, status: int, received: int, connection: int, error: str = "") -> None:
        """Report the request."""
        plain = urlsplit(self.url)._replace(query="", fragment="")
        host = plain.netloc.rpartition("@")[2]
        self.report(
            RequestRecord(
                self.method,
                plain._replace(netloc=host).geturl(),
                self.requested_range,
                status,
                received,
                self.clock() - self.began,
                connection,
                error,
            )
        )
