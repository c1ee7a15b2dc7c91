"""Show a tqdm bar for bytes, with the units of the log lines: `512.0MiB/4.0GiB`, `105.2MiB/s`.

tqdm's own `unit_scale` writes `512M/4.00G`, and scales the rate by 1000 while the sizes are scaled by 1024.

Importing this module imports tqdm (0.05 s), so import it only when a bar is shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from models_init.core.units import human_rate, human_size
from models_init.output.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

_UP, _CLEAR = "\x1b[A", "\x1b[J"  # to the row above; from the cursor to the end of the screen
_FORMAT = "{l_bar}{bar}| {done}/{whole} [{elapsed}<{remaining}, {speed}]"


class ByteBar(tqdm):  # type: ignore[type-arg] # generic in its stubs only
    """A tqdm bar that counts bytes. Takes tqdm's arguments, except `bar_format` and those about units."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(bar_format=_FORMAT, **arguments)

    @staticmethod
    def status_printer(file: Any) -> Callable[[str], None]:
        """Return a function that replaces the bar. After the terminal was narrowed, the old bar takes several rows."""
        terminal, length = Terminal(file.fileno()), 0

        def show(text: str) -> None:
            nonlocal length
            rows_above = max(length - 1, 0) // terminal.width()
            file.write(f"\r{f'{_UP}' * rows_above}{_CLEAR}{text}")
            file.flush()
            length = len(text)

        return show

    def restore(self, count: int) -> None:
        """Advance by `count` bytes that are not part of the rate."""
        self.initial += count
        self.n += count
        self.refresh()

    @property
    def format_dict(self) -> MutableMapping[str, Any]:
        """Return the fields for the bar, with `done`, `whole` and `speed`, added as tqdm's README describes."""
        fields = super().format_dict
        elapsed = fields["elapsed"]
        rate = fields["rate"] or ((fields["n"] - fields["initial"]) / elapsed if elapsed else None)
        fields.update(
            ncols=Terminal(self.fp.fileno()).width() - 1,
            done=_short(human_size(fields["n"])),
            whole=_short(human_size(fields["total"])) if fields["total"] else "?",
            speed=_short(human_rate(rate)) if rate else "?B/s",
        )
        return fields


def _short(figure: str) -> str:
    return figure.replace(" ", "")
