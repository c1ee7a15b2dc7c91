"""Write the events of this run to a log on the volume, in a thread, so that the log cannot slow down or fail the run.

There is one log per process, opened by the first event. Everything is redacted. Errors of the volume are ignored.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from io import TextIOBase
from typing import TYPE_CHECKING

from models_init import __version__
from models_init.core.units import text_of
from models_init.volume import run_logs

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from models_init.output.stream_writer import StreamWriter

_RESERVED = 16 << 10
"""Bytes of a log that are reserved for the last event, which reports how the run ended."""


class RunLog:
    """The log of one run of `action` on the volume `root`."""

    def __init__(self, root: Path, action: str) -> None:
        self._file = LogFile(root)
        self._writer: StreamWriter | None = None
        self._action = action

    def event(self, name: str, facts: Mapping[str, object]) -> None:
        """Write an event; the fact `level` is its level, by default info. Never waits and never raises."""
        if not self._writer:
            from models_init.output.stream_writer import StreamWriter  # noqa: PLC0415 - a start with nothing to do has no log

            self._writer = StreamWriter(self._file)  # type: ignore[arg-type] # it uses encoding, write and flush only
            facts_of_run = {"action": self._action, "program": f"models_init {__version__}"}
            self._writer.write(_line("started", facts_of_run))
        self._writer.write(_line(name, facts))

    def end(self, name: str, facts: Mapping[str, object]) -> None:
        """Write the last event if there is a log or the run failed."""
        if self._writer or facts.get("level") == "error":
            self._file.reserved = 0
            self.event(name, facts)

    def close(self) -> None:
        """Write the queued events, waiting at most a second."""
        if self._writer:
            self._writer.close()
            self._file.close()


class LogFile(TextIOBase):
    """A file that is created on first use and stops growing at its limit."""

    encoding = "utf-8"

    def __init__(self, root: Path) -> None:
        self.reserved = _RESERVED
        self._root = root
        self._size = 0
        self._pending = b""
        self._descriptor: int | None = None

    def write(self, text: str) -> int:
        """Append text, unless the file would exceed its limit. Raises `OSError`."""
        data, self._pending = self._pending + text.encode(), b""
        if self._size + len(data) <= run_logs.SIZE_LIMIT - self.reserved:
            self._size += os.write(self._opened(data), data)
        return len(text)

    def _opened(self, data: bytes) -> int:
        """Return the descriptor. While the volume does not exist, keep `data` for the next call and raise `OSError`."""
        if self._descriptor is None:
            try:
                self._descriptor = run_logs.create(self._root)
            except OSError:
                self._pending = data[:_RESERVED]
                raise
        return self._descriptor

    def close(self) -> None:
        """Close the file if it was created."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        super().close()


def _line(name: str, facts: Mapping[str, object]) -> str:
    import json  # noqa: PLC0415 - for a log only

    time = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"
    head = {"time": time, "level": facts.get("level", "info"), "event": name}
    return json.dumps(head | {key: facts[key] for key in facts if key not in head}, default=text_of) + "\n"


_log: RunLog | None = None


def start(root: Path, action: str) -> None:
    """Begin the log of this process; no file is created before the first event."""
    global _log  # noqa: PLW0603 - one log per process, like the standard streams
    _log = RunLog(root, action)


def event(name: str, facts: Mapping[str, object]) -> None:
    """Write an event if a log was started; the first one opens the file."""
    if _log:
        _log.event(name, facts)


def end(name: str, facts: Mapping[str, object]) -> None:
    """Write the last event, and close the log."""
    global _log  # noqa: PLW0603 - see above
    if _log:
        _log.end(name, facts)
        _log.close()
        _log = None
