"""Shows on a terminal how far the work is."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from models_init.output.progress_bar import ByteBar

if TYPE_CHECKING:
    from collections.abc import Iterator


class BarObserver:
    """A `Observer` that draws a bar of bytes on standard error."""

    def __init__(self, bar: ByteBar) -> None:
        self._bar = bar

    def event(self, name: str, **facts: object) -> None:
        """Ignore it: the result says what happened."""

    def expect(self, count: int) -> None:
        """Lengthen the bar."""
        self._bar.total = (self._bar.total or 0) + count
        self._bar.refresh()

    def advance(self, count: int) -> None:
        """Fill the bar."""
        self._bar.update(count)


@contextmanager
def bar(doing: str) -> Iterator[BarObserver]:
    """Draw a bar while the block runs, on a terminal only; it leaves nothing behind."""
    # disable=None: no bar on anything but a terminal
    with ByteBar(desc=doing, leave=False, file=sys.stderr, disable=None) as shown:
        yield BarObserver(shown)
