"""A watcher that remembers what it was told, and insists on the rules for telling."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field


@dataclass
class Recorder:
    """What was told: events with their facts, archive bytes announced, archive bytes verified."""

    events: list[tuple[str, dict[str, object]]] = field(default_factory=list)
    expected: int = 0
    done: int = 0
    restored: int = 0
    _thread: int = field(default_factory=threading.get_ident)

    @property
    def names(self) -> list[str]:
        """The events, in order."""
        return [name for name, _ in self.events]

    def event(self, name: str, **facts: object) -> None:
        """See `Observer.event`."""
        self._judge(0)
        self.events.append((name, facts))

    def expect(self, count: int) -> None:
        """See `Observer.expect`."""
        self._judge(0)
        self.expected += count
        assert self.expected >= 0, "fewer than no bytes are expected"

    def advance(self, count: int) -> None:
        """See `Observer.advance`."""
        self._judge(count)
        self.done += count

    def restore(self, count: int) -> None:
        """See `Observer.restore`."""
        self._judge(count)
        self.done += count
        self.restored += count

    def _judge(self, count: int) -> None:
        assert threading.get_ident() == self._thread, "a watcher is called from the event loop's thread only"
        assert count >= 0, "progress never sinks"
