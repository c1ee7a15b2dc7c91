"""What the work tells whoever watches: events, and bytes that were verified."""

from __future__ import annotations

from typing import Protocol


class Observer(Protocol):
    """Called from the event loop's thread only; must not block and must not raise."""

    def event(self, name: str, **facts: object) -> None:
        """Something began or ended. `name` is constant, what varies stands in `facts`."""

    def expect(self, count: int) -> None:
        """Announce `count` more archive bytes that will have to be fetched and verified."""

    def advance(self, count: int) -> None:
        """Count archive bytes that have been fetched and verified: never taken back, so that progress never sinks."""


class NullObserver:
    """Watches nothing: for callers that do not care."""

    def event(self, name: str, **facts: object) -> None:
        """Ignore it."""

    def expect(self, count: int) -> None:
        """Ignore it."""

    def advance(self, count: int) -> None:
        """Ignore it."""
