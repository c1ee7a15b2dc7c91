"""The interface by which long operations report events and progress."""

from __future__ import annotations

from typing import Protocol


class Observer(Protocol):
    """Receives events and progress. Called from the event loop's thread only; must not block or raise.

    `pack` names the pack, with its version, to which the counted bytes belong; empty if they belong to none.
    """

    def event(self, name: str, **facts: object) -> None:
        """Report that a step began or ended. `name` is a constant; all variable data is passed in `facts`."""

    def expect(self, count: int, pack: str = "", /) -> None:
        """Add `count`, which may be negative, to the number of archive bytes that have to be fetched and verified."""

    def advance(self, count: int, pack: str = "", /) -> None:
        """Add `count` to the number of archive bytes fetched and verified. It never decreases."""

    def restore(self, count: int, pack: str = "", /) -> None:
        """Count `count` expected bytes as done because an earlier run fetched them; the rate does not include them."""


class NullObserver:
    """An observer that ignores everything."""

    def event(self, name: str, **facts: object) -> None:
        """Do nothing."""

    def expect(self, count: int, pack: str = "", /) -> None:
        """Do nothing."""

    def advance(self, count: int, pack: str = "", /) -> None:
        """Do nothing."""

    def restore(self, count: int, pack: str = "", /) -> None:
        """Do nothing."""
