"""Write redacted text to a stream without blocking or raising."""

from __future__ import annotations

import os
import select
from contextlib import suppress
from queue import SimpleQueue
from typing import TextIO

from models_init.core.redaction import redact
from models_init.runtime.threads import start_thread

PENDING = 1000
"""Largest number of pieces of text that wait for a slow reader; further ones are dropped and counted."""

GRACE_SECONDS = 1.0
"""Time for which `close` waits for a reader that does not read."""


class StreamWriter:
    """Writes in a separate thread, so that a full pipe (or Ctrl-S) blocks neither the downloads nor the exit.

    It has the methods of a file that tqdm needs. Errors of the stream are ignored.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self.lost = 0
        self.encoding = getattr(stream, "encoding", None) or "utf-8"
        self._stream = stream
        self._descriptor = _private_descriptor(stream)
        # Unlike `Queue`, it is reentrant: a warning from the garbage collector may call it in the same thread.
        self._queue: SimpleQueue[str | None] = SimpleQueue()
        self._thread = start_thread(self._run, "stream-writer")

    def write(self, text: str) -> int:
        """Queue the text; never waits and never raises. If the system refuses a thread, write it directly."""
        if not self._thread:
            self._put_redacted(text)
        elif self._queue.qsize() < PENDING:
            self._queue.put(text)
        else:
            self.lost += 1
        return len(text)

    def flush(self) -> None:
        """Do nothing: text is written as soon as the stream accepts it."""

    def fileno(self) -> int:
        """Return the descriptor of the stream, for querying the width of the terminal. Raises `OSError`."""
        if self._descriptor is None:
            raise OSError("this stream has no descriptor")
        return self._descriptor

    def close(self) -> None:
        """Write the queued text, waiting at most `GRACE_SECONDS`."""
        self._queue.put(None)
        if self._thread:
            self._thread.join(GRACE_SECONDS)
        else:
            self._run()

    def _run(self) -> None:
        while (text := self._queue.get()) is not None:
            self._put_redacted(text)
        if self._descriptor is not None:
            os.close(self._descriptor)

    def _put_redacted(self, text: str) -> None:
        with suppress(OSError, ValueError):  # ValueError: the stream was closed
            self._put(redact(text).encode(self.encoding, "backslashreplace"))

    def _put(self, data: bytes) -> None:
        if self._descriptor is not None:
            _write_all(self._descriptor, data)
        elif self._stream is not None:
            self._stream.write(data.decode(self.encoding))
            self._stream.flush()


def _private_descriptor(stream: TextIO | None) -> int | None:
    """Return a duplicate of the stream's descriptor, or None if it has none.

    A descriptor is used because a thread that is blocked in a stream's `write` makes the interpreter abort at exit. It
    is a duplicate because a descriptor number that is closed elsewhere may be reused for another file.
    """
    if stream is None:
        return None
    with suppress(OSError, ValueError, AttributeError):
        stream.flush()
        return os.dup(stream.fileno())
    return None


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(descriptor, data) :]
        except BlockingIOError:  # another process made the pipe or terminal non-blocking
            select.select([], [descriptor], [])
