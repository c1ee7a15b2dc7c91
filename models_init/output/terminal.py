"""Find out whether a stream is a terminal, how wide it is, and whether it shows colors."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import NamedTuple, TextIO

_DEFAULT_WIDTH = 80
_WARNING, _ERROR, _RESET = "\x1b[33m", "\x1b[31m", "\x1b[0m"


class Terminal(NamedTuple):
    """A terminal behind a descriptor.

    `colors` is True if text may be colored, `cursor` if the cursor can be moved.
    """

    descriptor: int
    colors: bool = False
    cursor: bool = True

    def width(self) -> int:
        """Return the number of columns, which changes when the window is resized."""
        with suppress(OSError):
            return os.get_terminal_size(self.descriptor).columns or _DEFAULT_WIDTH
        return _DEFAULT_WIDTH

    def colored(self, text: str, level: str) -> str:
        """Return the text in the color of a level: warnings are yellow, errors red."""
        color = {"warning": _WARNING, "error": _ERROR}.get(level) if self.colors else None
        return f"{color}{text}{_RESET}" if color else text


def terminal_of(stream: TextIO | None) -> Terminal | None:
    """Return the terminal of a stream, or None if it is not a terminal."""
    with suppress(ValueError, OSError, AttributeError):  # closed, or without a descriptor
        if stream is not None and stream.isatty():
            capable = os.environ.get("TERM") != "dumb"
            return Terminal(stream.fileno(), colors=capable and not os.environ.get("NO_COLOR"), cursor=capable)
    return None
