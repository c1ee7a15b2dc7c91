"""An observer that records its calls and checks the rules of the interface."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field


@dataclass
class Recorder:
    """The recorded calls: events with their fields, expected and verified bytes of archives."""

    events: list[tuple[str, dict[str, object]]] = field(default_factory=list)
    expected: int = 0
    done: int = 0
    restored: int = 0
    _thread: int = field(default_factory=threading.get_ident)

    @property
    def names(self) -> list[str]:
        """The names of the events, in order."""
        return [name for name, _ in self.events]

    def event(self, name: str, **facts: object) -> None:
        """See `Observer.event`."""
        self._check(0)
        self.events.append((name, facts))

    def expect(self, count: int, _pack: str = "") -> None:
        """See `Observer.expect`."""
        self._check(0)
        self.expected += count
        assert self.expected >= 0, "a negative number of bytes is expected"

    def advance(self, count: int, _pack: str = "") -> None:
        """See `Observer.advance`."""
        self._check(count)
        self.done += count

    def restore(self, count: int, _pack: str = "") -> None:
        """See `Observer.restore`."""
        self._check(count)
        self.done += count
        self.restored += count

    def _check(self, count: int) -> None:
        assert threading.get_ident() == self._thread, "an observer is called in the event loop's thread only"
        assert count >= 0, "progress never decreases"
