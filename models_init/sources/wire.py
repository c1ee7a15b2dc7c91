"""One connection: what came and was not taken, how long it may take, and whether it can be used again."""

from __future__ import annotations

from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING

from models_init.sources.stream import Tcp, Tls

if TYPE_CHECKING:
    import socket
    import ssl

    from models_init.sources.stream import Carrier, Stream

_TICK = 0.25
"""Seconds for which one call of the kernel waits at most: what has come by then is told, so that a pace can be seen."""

_HEAD = 16 << 10  # bytes that are asked for at once where a head is to come


class Wire:
    """Bytes that come, in order, each until it is taken; who waits `idle_limit` seconds in vain gets `TimeoutError`.

    All but `abort` is for one thread at a time. The end of TLS is an end like any other, announced or not: who reads to
    the end must know from what was read that nothing is missing.
    """

    def __init__(self, carrier: Carrier, idle_limit: float) -> None:
        self.idle_limit = idle_limit
        self.idle_since: float | None = None  # the end of an earlier request, on the monotonic clock
        self.tls: ssl.SSLObject | None = None  # the innermost encryption
        self._carrier = carrier
        self._stream: Stream = carrier
        self._ahead = bytearray()  # what came behind a head
        self._is_aborted = False

    @classmethod
    def of(cls, sock: socket.socket, idle_limit: float) -> Wire:
        """Take over a connected socket."""
        return cls(Tcp(sock, _tick(idle_limit)), idle_limit)

    def until(self, mark: bytes, limit: int) -> bytes:
        """Take all up to `mark`, and that; `ValueError` if that is more than `limit` bytes, `EOFError` at the end.

        All of it must come within `idle_limit`: a byte now and then is no progress here. Raises `OSError`, too.
        """
        due, room = monotonic() + self.idle_limit, memoryview(bytearray(_HEAD))
        while True:
            found = self._ahead.find(mark, 0, limit)
            if found >= 0:
                return self._take(found + len(mark))
            if len(self._ahead) >= limit:
                raise ValueError(f"no end within {limit} bytes")
            _check(due)
            count = self._receive(room, due, full=False)
            if not count:
                raise EOFError
            self._ahead += room[:count]

    def into(self, room: memoryview) -> int:
        """Lay the next bytes there, as many as a moment brings; 0 at the end. Raises `OSError`."""
        if self._ahead:
            there = self._take(min(len(room), len(self._ahead)))
            room[: len(there)] = there
            return len(there)
        return self._receive(room, monotonic() + self.idle_limit, full=True)

    def skip(self, data: bytes) -> bool:
        """Take exactly this, if it is there already."""
        if len(self._ahead) < len(data) and self._stream.is_ready:
            room = memoryview(bytearray(len(data) - len(self._ahead)))
            with suppress(OSError):
                self._ahead += room[: self._stream.receive(room, full=False)]
        is_there = self._ahead.startswith(data)
        if is_there:
            self._take(len(data))
        return is_there

    def write(self, data: bytes) -> None:
        """Send. Raises `OSError`."""
        self._stream.send(data)

    @property
    def is_silent(self) -> bool:
        """Whether it is open, and nothing came that nobody asked for."""
        return not self._ahead and not self._is_aborted and not self._stream.is_ready

    def encrypt(self, context: ssl.SSLContext, host: str | None) -> None:
        """Speak TLS from now on, on a wire that `is_silent`: what came before would pass for encrypted.

        Raises `OSError`.
        """
        encrypted = Tls(self._stream, context, host, _tick(self.idle_limit))
        encrypted.shake_hands(monotonic() + self.idle_limit)
        self._stream, self.tls = encrypted, encrypted.tls

    def abort(self) -> None:
        """Have whoever waits for bytes find the end; from any thread."""
        self._is_aborted = True
        self._carrier.abort()

    def close(self) -> None:
        """Give the socket back."""
        self._carrier.close()

    def _take(self, count: int) -> bytes:
        taken = bytes(self._ahead[:count])
        del self._ahead[:count]
        return taken

    def _receive(self, room: memoryview, due: float, *, full: bool) -> int:
        while True:
            try:
                return self._stream.receive(room, full=full)
            except BlockingIOError:
                _check(due)


def _tick(idle_limit: float) -> float:
    return min(_TICK, idle_limit / 4)


def _check(due: float) -> None:
    if monotonic() >= due:
        raise TimeoutError("idle")
