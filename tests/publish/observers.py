"""An observer that counts."""

from __future__ import annotations

from models_init.core.events import NullObserver


class CountingObserver(NullObserver):
    """Counts expected and completed bytes, and how often the total changed."""

    def __init__(self) -> None:
        self.expected = self.done = self.totals = 0

    def expect(self, count: int, _pack: str = "") -> None:
        """Add to the expected bytes."""
        self.expected += count
        self.totals += 1

    def advance(self, count: int, _pack: str = "") -> None:
        """Add to the completed bytes."""
        self.done += count
