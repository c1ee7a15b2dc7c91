"""Bytes in both directions, over TCP and over TLS on top of that, for a thread that waits for them in the kernel.

An event loop is woken for each piece that comes, copies it, and hands it on; that was a third of an install's CPU time.
A thread is woken when the memory that it lends is full, or after a moment.
"""

from __future__ import annotations

import socket
import ssl
import struct
from contextlib import suppress
from time import monotonic
from typing import Protocol

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


class Tcp:
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


class Tls:
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
                self._take_in(due)
            except BlockingIOError:
                if monotonic() >= due:
                    raise TimeoutError("idle") from None

    def receive(self, into: memoryview, *, full: bool) -> int:
        """See `Stream.receive`."""
        got, late = len(self._ahead), monotonic() + self._tick
        into[:got], self._ahead = self._ahead, b""
        while got < len(into):
            count = self._decrypted(into[got:])
            if count is not None:
                got += count
                if not count:
                    break
            elif got and (not full or monotonic() > late):
                break
            else:
                try:
                    self._take_in(late)
                except OSError:
                    if not got:
                        raise
                    break  # it will come again
        return got

    def _decrypted(self, into: memoryview) -> int | None:
        """Lay there what is decrypted; 0 at the end, None where more has to be taken in first."""
        try:
            return int(self.tls.read(len(into), into))
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLEOFError:
            return 0

    def send(self, data: bytes) -> None:
        """See `Stream.send`."""
        self.tls.write(data)
        self._flush()

    @property
    def is_ready(self) -> bool:
        """See `Stream.is_ready`; tickets and the like, of which the reader sees nothing, are no bytes."""
        try:
            while not self._ahead:
                try:
                    self._ahead = self.tls.read(1)
                except ssl.SSLWantReadError:
                    if not self._below.is_ready:
                        return False
                    self._take_in(monotonic() + self._tick)
                else:
                    break
        except OSError:
            pass
        return True

    def _take_in(self, late: float) -> None:
        """Take in what comes; `BlockingIOError` once it is so late: a record may come byte by byte."""
        if monotonic() > late:
            raise BlockingIOError
        self._flush()
        count = self._below.receive(self._memory, full=False)
        if count:
            self._incoming.write(self._memory[:count])
        else:
            self._incoming.write_eof()

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._below.send(self._outgoing.read())
