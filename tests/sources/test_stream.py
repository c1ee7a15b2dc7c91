"""Bytes through TLS are right and in time, however the records come."""

from __future__ import annotations

import random
import ssl
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from models_init.sources import stream
from models_init.sources.stream import Tls

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.parts.certificates import Certificates

_DATA = random.Random("stream").randbytes(100_000)
_TICK = 0.25


@dataclass
class Time:
    """A clock that moves by hand."""

    now: float = 1000.0


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    fake = Time()
    monkeypatch.setattr(stream, "monotonic", lambda: fake.now)
    return fake


class Server:
    """The other side below TLS: each call gives `most` bytes at most, and takes `seconds`."""

    def __init__(self, context: ssl.SSLContext, time: Time) -> None:
        self.most, self.seconds = 1 << 20, 0.0
        self._time = time
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)

    def send(self, data: bytes) -> None:
        """See `Stream.send`."""
        self._incoming.write(data)
        with suppress(ssl.SSLWantReadError):
            self.tls.do_handshake()

    def receive(self, into: memoryview, *, full: bool) -> int:  # noqa: ARG002 - nobody may rely on it
        """See `Stream.receive`."""
        self._time.now += self.seconds
        given = self._outgoing.read(min(len(into), self.most))
        if not given:
            raise BlockingIOError
        into[: len(given)] = given
        return len(given)

    @property
    def is_ready(self) -> bool:
        """See `Stream.is_ready`."""
        return self._outgoing.pending > 0


@pytest.fixture
def connect(certificates: Certificates, time: Time) -> Callable[[], tuple[Tls, Server]]:
    def connected() -> tuple[Tls, Server]:
        server = Server(certificates.server_context(), time)
        trusting = ssl.create_default_context(cafile=str(certificates.authority))
        client = Tls(server, trusting, "127.0.0.1", _TICK)
        client.shake_hands(time.now + 10.0)
        return client, server

    return connected


@pytest.mark.parametrize("most", [1, 1000, 1 << 20])
@pytest.mark.parametrize("room", [1, 77, 16_384, 200_000])
def test_what_was_encrypted_comes_out(connect: Callable[[], tuple[Tls, Server]], most: int, room: int) -> None:
    """Whatever the pieces below and the memory above; what was looked for without being taken is not lost."""
    client, server = connect()
    server.tls.write(_DATA[:20_000])
    server.most = most
    data, memory = bytearray(), memoryview(bytearray(room))
    while len(data) < 20_000:
        assert client.is_ready
        data += memory[: client.receive(memory, full=False)]
    assert data == _DATA[:20_000]
    assert not client.is_ready
    with pytest.raises(BlockingIOError):
        client.receive(memory, full=False)


def test_tickets_are_no_bytes(connect: Callable[[], tuple[Tls, Server]]) -> None:
    """A server may send them at any time: a connection on which nothing else came is silent."""
    client, server = connect()
    assert server.is_ready  # they came with the handshake
    assert not client.is_ready
    assert not server.is_ready


def test_a_record_that_drips_is_told_in_time(connect: Callable[[], tuple[Tls, Server]], time: Time) -> None:
    """A byte now and then would else keep the caller from looking at its clock, for hours."""
    client, server = connect()
    assert not client.is_ready
    server.tls.write(_DATA[:16_000])
    server.most, server.seconds, began = 1, 0.2, time.now
    memory = memoryview(bytearray(100))
    with pytest.raises(BlockingIOError):
        client.receive(memory, full=True)
    assert time.now - began < 1.0
    server.most, server.seconds = 1 << 20, 0.0
    assert client.receive(memory, full=True) == 100
    assert memory == _DATA[:100]


def test_what_comes_in_time_is_given_though_not_all_is_there(
    connect: Callable[[], tuple[Tls, Server]], time: Time
) -> None:
    """Who wants its memory full gets what a moment brings."""
    client, server = connect()
    server.tls.write(_DATA[:50])
    memory = memoryview(bytearray(100))
    began = time.now
    assert client.receive(memory, full=True) == 50
    assert memory[:50] == _DATA[:50]
    assert time.now == began
