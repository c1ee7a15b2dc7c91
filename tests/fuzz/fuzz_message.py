"""Any bytes are an HTTP answer that another reader sees alike, or none; never more than came, and never endless."""

from __future__ import annotations

import http.client
import io
import random
import re
from typing import TYPE_CHECKING, NamedTuple

from models_init.sources import message
from models_init.sources.message import Body, NotHttpError
from tests.sources.feed import play

if TYPE_CHECKING:
    from collections.abc import Iterable

    from models_init.sources.wire import Wire

LARGEST = 8 << 10
"""Bytes of an input, at most."""

_BITS = (
    *(b"\r\n", b"\r\n\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b",", b";", b"0\r\n\r\n", b"HTTP/1.1 200 OK\r\n"),
    *(b"HTTP/1.0 ", b"HTTP/1.1 100 \r\n\r\n", b"HTTP/1.1 304 \r\n", b"Content-Length: 5\r\n", b"X: y\r\n"),
    *(b"Content-Length: 5, 5\r\n", b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"\xff", b"+5"),
    *(b"5\r\nhello\r\n", b"5;a=b\r\n"),
)  # fmt: skip


_UNKNOWN = re.compile(rb"(?i)HTTP/1\.[01] 1(?!00)|\r\ntransfer-encoding:[^\r]*[ \t]\r\n")


class Seen(NamedTuple):
    """An answer, and whether its connection could be used for another."""

    status: int
    headers: dict[str, str]
    body: bytes
    is_reusable: bool


def answer(wire: Wire) -> Seen:
    """Read one to its end. Raises `NotHttpError`, `EOFError`."""
    head = message.head(wire)
    body, data, room = Body(wire, head), bytearray(), memoryview(bytearray(1000))
    while count := body.into(room):
        data += room[:count]
    return Seen(head.status, head.headers, bytes(data), body.finish() and head.keeps_alive)


def check(data: bytes) -> None:
    """Read it in one piece and byte by byte; fail where the reader breaks a promise."""
    whole, in_bytes = _read([data]), _read(data[at : at + 1] for at in range(len(data)))
    assert whole == in_bytes, "what is read does not depend on how it comes"
    if whole:
        assert len(whole.body) <= len(data)
        assert all("\n" not in value and "\0" not in value for value in whole.headers.values())
        assert not (whole.status in {204, 304} and whole.body)
        _compare(whole, data)


def _read(pieces: Iterable[bytes]) -> Seen | None:
    try:
        return play(pieces, answer)
    except (NotHttpError, EOFError):
        return None


def _compare(seen: Seen, data: bytes) -> None:
    """Ask the standard library: it knows no lists of lengths, spaces after `chunked`, 1xx but 100, or bodiless 304."""
    if _UNKNOWN.search(data) or "," in seen.headers.get("content-length", "") or seen.status in {204, 304}:
        return
    other = http.client.HTTPResponse(_Sock(data), method="GET")  # type: ignore[arg-type] # it only makes a file of it
    try:
        other.begin()
        if other.status < 200:
            return
        assert (other.status, other.read()) == (seen.status, seen.body), "other readers see the same"
    except http.client.HTTPException:  # stricter, with more than 100 headers
        return


class _Sock:
    """All that the standard library wants of a `socket`."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(io.BytesIO(self._data))


def mutate(data: bytes, seed: int) -> bytes | None:
    """Put in, take out or repeat what matters in HTTP."""
    chance = random.Random(seed)
    changed = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(changed) + 1)
        match chance.randrange(4):
            case 0:
                del changed[at : at + chance.randint(1, 8)]
            case 1:
                changed[at:at] = changed[at : at + chance.randint(1, 40)]
            case _:
                changed[at:at] = chance.choice(_BITS)
    return bytes(changed)
