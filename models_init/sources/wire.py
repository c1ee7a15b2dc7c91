"""One connection, read by a thread that waits in the kernel, straight into the memory where the bytes are wanted.

An event loop is woken for each piece that comes, copies it, and hands it on; that was a third of an install's CPU time.
A thread is woken when the memory is full, or after a moment (`_TICK`): the loop is then asked twice for each range.
"""

from __future__ import annotations

import socket
import ssl
import struct
from contextlib import suppress
from time import monotonic
from typing import Protocol

_TICK = 0.25
"""Seconds for which one call of the kernel waits at most: what has come by then is told, so that a pace can be seen."""

_HEAD = 16 << 10  # bytes that are asked for at once where a head is to come
_SEALED = 256 << 10
"""Bytes of TLS that are taken in at once: 16 records for a call, where OpenSSL itself makes two calls for a record."""


class Stream(Protocol):
    """Bytes in both directions. Raises `OSError`."""

    def receive(self, into: memoryview, *, full: bool) -> int:
        """Wait for bytes and lay them there; 0 at the end. `BlockingIOError` where a moment brings none.

        What is there will do, unless it is to be `full`: then all that comes within a moment is waited for.
        """

    def send(self, data: bytes) -> None:
        """Send all of it."""

    @property
    def is_ready(self) -> bool:
        """Whether `receive` would not wait: for there are bytes, or an end."""


class Carrier(Stream, Protocol):
    """A stream that can be ended."""

    def abort(self) -> None:
        """Have whoever waits for bytes find the end; from any thread."""

    def close(self) -> None:
        """Give back what it takes."""


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
        return cls(_Tcp(sock, _tick(idle_limit)), idle_limit)

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
        encrypted = _Tls(self._stream, context, host, _tick(self.idle_limit))
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


class _Tcp:
    """The socket itself; the kernel keeps the time, which spares a call of poll(2) for each of recv(2)."""

    def __init__(self, sock: socket.socket, tick: float) -> None:
        self._sock = sock
        sock.setblocking(True)
        seconds, fraction = divmod(tick, 1.0)
        timeval = struct.pack("@ll", int(seconds), int(fraction * 1e6))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval)

    def receive(self, into: memoryview, *, full: bool) -> int:
        """See `Stream.receive`."""
        return self._sock.recv_into(into, 0, socket.MSG_WAITALL if full else 0)

    def send(self, data: bytes) -> None:
        """See `Stream.send`."""
        self._sock.sendall(data)

    @property
    def is_ready(self) -> bool:
        """See `Stream.is_ready`."""
        try:
            self._sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    def abort(self) -> None:
        """See `Carrier.abort`."""
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """See `Carrier.close`."""
        self._sock.close()


class _Tls:
    """TLS over a stream, be that a socket or TLS with a proxy."""

    def __init__(self, below: Stream, context: ssl.SSLContext, host: str | None, tick: float) -> None:
        self._below = below
        self._tick = tick
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._memory = memoryview(bytearray(_SEALED))
        self._ahead = b""  # a byte that was found by looking
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)

    def shake_hands(self, due: float) -> None:
        """Agree on keys, and on who the other side is. Raises `OSError`."""
        while True:
            try:
                self.tls.do_handshake()
                return self._flush()
            except ssl.SSLWantReadError:
                self._flush()
            except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
                raise ConnectionResetError from None
            except ssl.SSLError:
                with suppress(OSError):
                    self._flush()  # the other side is told why
                raise
            try:
                self._take_in()
            except BlockingIOError:
                _check(due)

    def receive(self, into: memoryview, *, full: bool) -> int:
        """See `Stream.receive`."""
        got, late = len(self._ahead), monotonic() + self._tick
        into[:got], self._ahead = self._ahead, b""
        while got < len(into):
            try:
                count = self.tls.read(len(into) - got, into[got:])
            except ssl.SSLWantReadError:
                if got and (not full or monotonic() > late):
                    return got
                try:
                    self._take_in()
                except OSError:
                    if got:  # it will come again
                        return got
                    raise
                continue
            except ssl.SSLEOFError:
                return got
            if not count:
                return got
            got += int(count)
        return got

    def send(self, data: bytes) -> None:
        """See `Stream.send`."""
        self.tls.write(data)
        self._flush()

    @property
    def is_ready(self) -> bool:
        """See `Stream.is_ready`; tickets and the like, of which the reader sees nothing, are no bytes."""
        while not self._ahead:
            try:
                self._ahead = self.tls.read(1)
            except ssl.SSLWantReadError:
                if not self._below.is_ready:
                    return False
                try:
                    self._take_in()
                except OSError:
                    return True
                continue
            except OSError:
                return True
            return True
        return True

    def _take_in(self) -> None:
        self._flush()
        count = self._below.receive(self._memory, full=False)
        if count:
            self._incoming.write(self._memory[:count])
        else:
            self._incoming.write_eof()

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._below.send(self._outgoing.read())


def _tick(idle_limit: float) -> float:
    return min(_TICK, idle_limit / 4)


def _check(due: float) -> None:
    if monotonic() >= due:
        raise TimeoutError("idle")
