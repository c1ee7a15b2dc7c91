"""How a source is reached, and with what credential: asked before anything is fetched from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from models_init.sources.source import Source


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What a source says about itself: where it is and how it is reached, for people; its time if it has a clock."""

    where: str
    way: str = ""
    time: datetime | None = None


@dataclass(frozen=True, slots=True)
class Credential:
    """What a token says about itself: what it opens, for people; `flaw` is what makes it useless at any time.

    `time_flaw` tells what is wrong with it at a time, or nothing.
    """

    scope: str
    flaw: str
    expires: datetime | None
    time_flaw: Callable[[datetime], str]


class EndpointProbe(Protocol):
    """What can be asked about a source besides its objects."""

    async def ping(self) -> ProbeResult:
        """Reach it, without a credential. Raises the source's errors and `UsageError`."""

    def credential(self) -> Credential | None:
        """What it is opened with, None where that is nothing. Raises `UsageError`."""


class UnauthenticatedProbe:
    """See `EndpointProbe`: a source that wants no credential and has no clock, such as a folder."""

    def __init__(self, source: Source) -> None:
        self._source = source

    async def ping(self) -> ProbeResult:
        """See `EndpointProbe.ping`."""
        await self._source.names("")
        return ProbeResult(self._source.name)

    def credential(self) -> None:
        """See `EndpointProbe.credential`."""
