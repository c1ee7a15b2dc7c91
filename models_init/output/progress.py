"""Report the progress of the work as log lines or as a bar."""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from models_init.output import run_log
from models_init.runtime.threads import start_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import FilteringBoundLogger

    from models_init.output.progress_bar import ByteBars
    from models_init.output.stream_writer import StreamWriter
    from models_init.output.terminal import Terminal

LEVELS = ("debug", "info", "warning", "error")

RATE_BEATS = 6
"""Heartbeats over which the rate is measured: a minute, so that it neither jumps nor includes the slow start."""


class Progress:
    """Counts bytes and measures their rate with `clock` (seconds)."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.done = 0
        self.total = 0
        self.restored = 0
        self._clock = clock
        self._start = clock()
        self._samples: deque[tuple[float, int]] = deque(maxlen=RATE_BEATS + 1)

    def expect(self, count: int) -> None:
        """Add to the total."""
        if not self._samples:  # the rate excludes the hashing before the first bytes
            self._samples.append((self._clock(), self.done - self.restored))
        self.total += count

    def facts(self) -> dict[str, object]:
        """Take a sample, and return the figures; only the elapsed time if no bytes are expected."""
        now, done = self._clock(), self.done
        elapsed = {"elapsed_seconds": round(now - self._start, 1)}
        if not self._samples:
            return {**elapsed}
        fetched = done - self.restored
        self._samples.append((now, fetched))
        since, before = self._samples[0]
        rate = (fetched - before) / (now - since) if now > since else 0.0
        return {
            "done_bytes": done,
            "total_bytes": self.total,
            "rate_bytes_per_second": round(rate),
            "eta_seconds": round(max(self.total - done, 0) / rate, 1) if rate else None,
            **elapsed,
        }


class EventLogger:
    """Logs events; imports structlog with the first one."""

    def __init__(
        self, write: Callable[[str], object], log_format: str, level: str, terminal: Terminal | None = None
    ) -> None:
        self._settings = (write, log_format, level, terminal)
        self._logger: FilteringBoundLogger | None = None
        self._opening = False
        self._waiting: deque[tuple[str, dict[str, object]]] = deque()
        self.last: tuple[str, object] = ("start", None)
        """The last event, and the host that it names."""

    def event(self, name: str, **facts: object) -> None:
        """Log an event of the work; see `log_format` for facts with a special meaning."""
        self.last = name, facts.get("host")
        run_log.event(name, facts)
        self.write(name, facts)

    def write(self, name: str, facts: dict[str, object]) -> None:
        """Log any event; the fact `level` (one of `LEVELS`) sets its level, by default info.

        Importing structlog may itself write to stderr, which calls this method again. Such events, and events of other
        threads during the import, are logged when the import is done.
        """
        self._waiting.append((name, facts))
        if self._opening:
            return
        self._logger = self._logger or self._opened()
        while self._waiting:
            with suppress(IndexError):  # another thread was faster
                self._log(self._logger, *self._waiting.popleft())

    def _opened(self) -> FilteringBoundLogger:
        self._opening = True
        try:
            from models_init.output.log_format import logger  # noqa: PLC0415 - takes 0.13 s

            return logger(*self._settings)
        finally:
            self._opening = False

    @staticmethod
    def _log(logger: FilteringBoundLogger, name: str, facts: dict[str, object]) -> None:
        level = facts.pop("level", "info")
        # Facts are bound first, because a fact may have the name of the method's own argument, `event`.
        getattr(logger.bind(**facts), level if level in LEVELS else "info")(name)


class LineReporter:
    """Writes lines only: one for each event, and a heartbeat."""

    def __init__(
        self,
        writer: StreamWriter,
        log_format: str,
        level: str,
        progress: Progress | None = None,
        terminal: Terminal | None = None,
    ) -> None:
        self.event_logger = EventLogger(writer.write, log_format, level, terminal)
        self._progress = progress or Progress()

    def event(self, name: str, **facts: object) -> None:
        """Write a line."""
        self.event_logger.event(name, **facts)

    def expect(self, count: int, _pack: str = "") -> None:
        """Add to the total."""
        self._progress.expect(count)

    def advance(self, count: int, _pack: str = "") -> None:
        """Add to the completed bytes."""
        self._progress.done += count

    def restore(self, count: int, _pack: str = "") -> None:
        """Add to the completed bytes, but not to the rate."""
        self._progress.restored += count
        self._progress.done += count

    def beat(self) -> None:
        """Write the progress; called from another thread."""
        facts = self._progress.facts()
        if "total_bytes" in facts:
            self.event_logger.write("progress", facts)
            return
        step, host = self.event_logger.last
        if host:
            self.event_logger.write("still_waiting", {"for": host, **facts})
        else:
            self.event_logger.write("working", {"step": step, **facts})

    def close(self) -> None:
        """Do nothing."""


class BarReporter:
    """Shows bars at the bottom of a terminal, one for all bytes and one for each pack, and writes lines above them."""

    def __init__(self, writer: StreamWriter, level: str, terminal: Terminal) -> None:
        self._writer = writer
        self.event_logger = EventLogger(self._write_above, "text", level, terminal)
        self._bars: ByteBars | None = None

    def event(self, name: str, **facts: object) -> None:
        """Write a line above the bars."""
        self.event_logger.event(name, **facts)

    def expect(self, count: int, pack: str = "") -> None:
        """Add to the totals of the bars."""
        if self._bars is None:
            self._bars = _new_bars(self._writer, count, pack)
        else:
            self._bars.expect(count, pack)

    def advance(self, count: int, pack: str = "") -> None:
        """Advance the bars if bytes were expected."""
        if self._bars is not None:
            self._bars.advance(count, pack)

    def restore(self, count: int, pack: str = "") -> None:
        """Move the bars forward and exclude these bytes from their rates."""
        if self._bars is not None:
            self._bars.restore(count, pack)

    def beat(self) -> None:
        """Update the elapsed time while no bytes arrive; called from another thread."""
        if self._bars is not None:
            self._bars.refresh()

    def close(self) -> None:
        """Close the bars and leave the one for all bytes on the screen."""
        if self._bars is not None:
            self._bars.close()

    def _write_above(self, line: str) -> None:
        if self._bars is None:
            self._writer.write(line)
        else:
            self._bars.write_above(line)


def _new_bars(writer: StreamWriter, count: int, pack: str) -> ByteBars:
    from models_init.output.progress_bar import ByteBars  # noqa: PLC0415 - 0.05 s, for a terminal only

    return ByteBars(writer, count, pack)


class Heartbeat:
    """Calls `beat` every `interval` seconds from its own thread, because the event loop may be busy."""

    def __init__(self, beat: Callable[[], None], interval: float, stopped: threading.Event | None = None) -> None:
        self._beat = beat
        self._interval = interval
        self._stopped = stopped or threading.Event()
        self._thread = start_thread(self._run, "heartbeat")  # without a thread, there is no heartbeat

    def close(self) -> None:
        """Stop the thread; `beat` is not called after this."""
        self._stopped.set()
        if self._thread:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(self._interval):
            self._beat()
