"""Show a progress bar on a terminal, and write warnings as log lines."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from models_init.core.events import NullObserver
from models_init.core.redaction import redact
from models_init.output.progress import EventLogger
from models_init.output.progress_bar import ByteBar

if TYPE_CHECKING:
    from collections.abc import Iterator


class WarningObserver(NullObserver):
    """An `Observer` that writes warnings, and the end of an outage, as log lines on standard error.

    The command's result reports everything else.
    """

    def __init__(self) -> None:
        self._logger = EventLogger(lambda line: self.write_line(redact(line)), "text", "info")

    def event(self, name: str, **facts: object) -> None:
        """Write a warning; ignore other events."""
        if facts.get("level") == "warning" or name == "recovered":
            self._logger.write(name, facts)

    def write_line(self, line: str) -> None:
        """Write a line that ends in a newline."""
        sys.stderr.write(line)


class BarObserver(WarningObserver):
    """Also draws a bar of bytes below the lines."""

    def __init__(self, bar: ByteBar) -> None:
        super().__init__()
        self._bar = bar

    def expect(self, count: int, _pack: str = "") -> None:
        """Add `count` bytes to the total of the bar."""
        self._bar.total = (self._bar.total or 0) + count
        self._bar.refresh()

    def advance(self, count: int, _pack: str = "") -> None:
        """Advance the bar by `count` bytes."""
        self._bar.update(count)

    def restore(self, count: int, _pack: str = "") -> None:
        """Advance the bar by `count` bytes that are not part of its rate."""
        self._bar.restore(count)

    def write_line(self, line: str) -> None:
        """Write a line above the bar."""
        self._bar.write(line, file=sys.stderr, end="")


@contextmanager
def bar(doing: str) -> Iterator[BarObserver]:
    """Draw a bar while the block runs, only on a terminal, and clear it at the end."""
    # disable=None: no bar unless the stream is a terminal
    with ByteBar(desc=doing, leave=False, file=sys.stderr, disable=None) as shown:
        yield BarObserver(shown)
