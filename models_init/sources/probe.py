"""Check that a source is reachable and describe its credential, before anything is fetched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from models_init.sources.source import Source


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """The result of a probe: the source's location and connection, for display, and its time if it has a clock."""

    where: str
    way: str = ""
    time: datetime | None = None


@dataclass(frozen=True, slots=True)
class Credential:
    """The properties of a token.

    `scope` is a readable description of the access that it gives. `flaw` is the reason why it is unusable at any time,
    or empty. `time_flaw` returns the reason why it is unusable at a given time, or an empty string.
    """

    scope: str
    flaw: str
    expires: datetime | None
    time_flaw: Callable[[datetime], str]


class EndpointProbe(Protocol):
    """Checks a source's reachability and credential without reading objects."""

    async def ping(self) -> ProbeResult:
        """Connect to the source without a credential. Raises the source's errors and `UsageError`."""

    def credential(self) -> Credential | None:
        """Return the credential for the source, or None if it needs none. Raises `UsageError`."""


class UnauthenticatedProbe:
    """See `EndpointProbe`: for a source without credential and clock, such as a directory."""

    def __init__(self, source: Source) -> None:
        self._source = source

    async def ping(self) -> ProbeResult:
        """See `EndpointProbe.ping`."""
        await self._source.names("")
        return ProbeResult(self._source.name)

    def credential(self) -> None:
        """See `EndpointProbe.credential`."""
