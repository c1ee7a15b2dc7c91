"""Show a progress bar on a terminal."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from models_init.output.progress_bar import ByteBar

if TYPE_CHECKING:
    from collections.abc import Iterator


class BarObserver:
    """An `Observer` that draws a bar of bytes on standard error."""

    def __init__(self, bar: ByteBar) -> None:
        self._bar = bar

    def event(self, name: str, **facts: object) -> None:
        """Ignore the event, because the command's result reports what happened."""

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


@contextmanager
def bar(doing: str) -> Iterator[BarObserver]:
    """Draw a bar while the block runs, only on a terminal, and clear it at the end."""
    # disable=None: no bar unless the stream is a terminal
    with ByteBar(desc=doing, leave=False, file=sys.stderr, disable=None) as shown:
        yield BarObserver(shown)
