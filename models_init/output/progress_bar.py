"""Show tqdm bars for bytes, with the units of the log lines: `512.0MiB/4.0GiB`, `105.2MiB/s`.

tqdm's own `unit_scale` writes `512M/4.00G`, and scales the rate by 1000 while the sizes are scaled by 1024.

Importing this module imports tqdm (0.05 s), so import it only when a bar is shown.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from models_init.core.units import human_rate, human_size
from models_init.output.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, MutableMapping

    from models_init.output.stream_writer import StreamWriter

_UP, _CLEAR_BELOW, _CLEAR_ROW = "\x1b[A", "\x1b[J", "\x1b[K"
_FORMAT = "{l_bar}{bar}| {done}/{whole} [{elapsed}<{remaining}, {speed}]"
_PACK_FORMAT = "{l_bar}{bar}| {done}/{whole}"

_MOST_PACKS = 8
"""Largest number of bars for packs; further packs are only part of the bar for all bytes."""


_SMOOTHING = 0.05  # of the rate, as tqdm defines it


class ByteBar(tqdm):  # type: ignore[type-arg] # generic in its stubs only
    """A tqdm bar that counts bytes. Takes tqdm's arguments, except those about units and the width."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**({"bar_format": _FORMAT} | arguments))

    @staticmethod
    def status_printer(file: Any) -> Callable[[str], None]:
        """Return a function that replaces the bar. After the terminal was narrowed, the old bar takes several rows."""
        terminal, length = Terminal(file.fileno()), 0

        def show(text: str) -> None:
            nonlocal length
            rows_above = max(length - 1, 0) // terminal.width()
            clear = _UP * rows_above + _CLEAR_BELOW if rows_above else _CLEAR_ROW
            file.write(f"\r{clear}{text}")
            file.flush()
            length = len(text)

        return show

    def expect(self, count: int) -> None:
        """Add `count` bytes, which may be negative, to the total."""
        self.total = (self.total or 0) + count
        if count > 0:  # a smaller total is followed by another change
            self.refresh()

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


class PackBar(ByteBar):
    """A bar below the one for all bytes, which clears the rows of both after the terminal was narrowed."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(bar_format=_PACK_FORMAT, leave=False, **arguments)

    @staticmethod
    def status_printer(file: Any) -> Callable[[str], None]:
        """Return a function that replaces the bar in its row."""
        return lambda text: file.write(f"\r{_CLEAR_ROW}{text}")


class ByteBars:
    """A bar for all bytes, and below it one for each pack as soon as there are two packs."""

    def __init__(self, writer: StreamWriter, count: int, pack: str) -> None:
        ByteBar.set_lock(threading.RLock())  # tqdm's default also locks processes: a semaphore and 0.02 s
        ByteBar.monitor_interval = 0  # the heartbeat replaces its monitor thread
        self._writer = writer
        self._all = ByteBar(total=count, file=writer, position=0, smoothing=_SMOOTHING)
        self._packs: dict[str, ByteBar] = {}
        self._waiting = {pack: (count, 0)} if pack else {}
        """Expected and completed bytes of packs that have no bar yet."""

    def expect(self, count: int, pack: str) -> None:
        """Add `count` bytes to the totals."""
        self._all.expect(count)
        if pack in self._packs:
            self._packs[pack].expect(count)
        elif pack and count:
            self._begin(pack, count, 0)

    def advance(self, count: int, pack: str) -> None:
        """Advance by `count` bytes."""
        self._all.update(count)
        if pack in self._packs:
            self._packs[pack].update(count)
        elif pack in self._waiting:
            self._begin(pack, 0, count)

    def restore(self, count: int, pack: str) -> None:
        """Advance by `count` bytes that are not part of the rate."""
        self._all.restore(count)
        if pack in self._packs:
            self._packs[pack].restore(count)
        elif pack:
            self._begin(pack, 0, count)

    def refresh(self) -> None:
        """Draw the bars again."""
        for bar in self._shown():
            bar.refresh()

    def close(self) -> None:
        """Remove the bars of packs, and leave the one for all bytes on the screen."""
        for bar in self._packs.values():
            bar.close()
        self._all.close()

    def write_above(self, line: str) -> None:
        """Write a line above the bars."""
        self._all.write(line, file=self._writer, end="")

    def _shown(self) -> Iterator[ByteBar]:
        yield self._all
        yield from list(self._packs.values())

    def _begin(self, pack: str, expected: int, done: int) -> None:
        """Collect the bytes of a pack; show the bars of packs as soon as there is a second one."""
        before = self._waiting.get(pack, (0, 0))
        self._waiting[pack] = (before[0] + expected, before[1] + done)
        if not self._packs and len(self._waiting) < 2:
            return
        for name, (total, initial) in list(self._waiting.items()):
            if len(self._packs) < _MOST_PACKS:
                place = len(self._packs) + 1
                self._packs[name] = PackBar(desc=name, total=total, initial=initial, file=self._writer, position=place)
                del self._waiting[name]


def _short(figure: str) -> str:
    return figure.replace(" ", "")
