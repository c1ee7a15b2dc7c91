"""Faults for `FaultyServer`: corrupted bytes, broken connections, error responses."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tests.services.faulty import FOREVER, Fault, Reply, ServerConnection, part, refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.services.faulty import Seen


@dataclass(frozen=True)
class Answer(Fault):
    """A fixed response instead of the correct one, for any request."""

    reply: Reply

    def spoil(self, _reply: Reply, _whole: bytes) -> Reply:
        """Return the fixed response."""
        return self.reply


@dataclass(frozen=True)
class Headers(Fault):
    """The correct bytes with other headers: a wrong Content-Range, a new ETag, a Content-Encoding."""

    headers: Mapping[str, str]

    def spoil(self, reply: Reply, _whole: bytes) -> Reply:
        """Replace headers; an empty value removes one."""
        merged = {**reply.headers, **self.headers}
        return replace(reply, headers={name: value for name, value in merged.items() if value})


@dataclass(frozen=True)
class OtherRange(Fault):
    """A consistent 206 for a range that begins `later` bytes after the requested one and is `shorter` bytes shorter."""

    later: int = 0
    shorter: int = 0

    def spoil(self, reply: Reply, whole: bytes) -> Reply:
        """Return another range of the object."""
        if reply.status != 206:
            return reply
        first, last = map(int, re.findall(r"\d+", reply.headers["Content-Range"])[:2])
        return part(reply, whole, first + self.later, last + 1 + self.later - self.shorter)


@dataclass(frozen=True)
class WholeObject(Fault):
    """A 200 with the whole object, as from a server without support for ranges."""

    def spoil(self, reply: Reply, whole: bytes) -> Reply:
        """Ignore the range."""
        return Reply(200, {"ETag": reply.headers["ETag"]}, whole) if reply.status == 206 else reply


@dataclass(frozen=True)
class FlippedBit(Fault):
    """One flipped bit in the byte at offset `at` of the body; everything else is correct."""

    at: int = 0

    def spoil(self, reply: Reply, _whole: bytes) -> Reply:
        """Flip the bit."""
        body = bytearray(reply.body)
        body[self.at] ^= 1
        return replace(reply, body=bytes(body))


@dataclass(frozen=True)
class CorruptingCache(Fault):
    """A cache with one flipped bit in byte `at` of the object; only `Cache-Control: no-cache` gets the correct bytes.

    A `stubborn` cache ignores that header.
    """

    at: int = 0
    stubborn: bool = False

    def applies(self, seen: Seen) -> bool:
        """Return True if the cache answers the request itself."""
        return self.stubborn or seen.headers.get("cache-control") != "no-cache"

    def spoil(self, reply: Reply, _whole: bytes) -> Reply:
        """Flip the bit if the range contains it, and add the headers of a cache."""
        found = re.match(r"bytes (\d+)-", reply.headers.get("Content-Range", ""))
        offset, body = self.at - int(found[1] if found else 0), bytearray(reply.body)
        if 0 <= offset < len(body):
            body[offset] ^= 1
        headers = {**reply.headers, "Age": "86400", "Via": "1.1 cache.example (squid/5.7)"}
        return replace(reply, body=bytes(body), headers=headers)


@dataclass(frozen=True)
class Cut(Fault):
    """The connection is closed normally after `at` bytes of the body, or before the response if `at` is None."""

    at: int | None = None

    async def send(self, reply: Reply, line: ServerConnection) -> None:
        """Send a part of the response and close."""
        await line.send(reply, self.at)
        line.close()


@dataclass(frozen=True)
class Reset(Fault):
    """The connection is reset (RST) after `at` bytes of the body, or before the response if `at` is None."""

    at: int | None = None

    async def send(self, reply: Reply, line: ServerConnection) -> None:
        """Send a part of the response and reset."""
        await line.send(reply, self.at)
        line.reset()


@dataclass(frozen=True)
class Stall(Fault):
    """Nothing is sent after `at` bytes of the body (None: nothing at all) until the server closes."""

    at: int | None = None

    async def send(self, reply: Reply, line: ServerConnection) -> None:
        """Send a part of the response and keep the connection open."""
        await line.send(reply, self.at)
        await line.server_closes()


@dataclass(frozen=True)
class Trickle(Fault):
    """After `at` bytes of the body, one byte is sent every `every` seconds: never idle, and never complete."""

    at: int = 0
    every: float = 0.05

    async def send(self, reply: Reply, line: ServerConnection) -> None:
        """Send single bytes until the server closes or the client has disconnected."""
        await line.send(reply, self.at)
        for byte in memoryview(reply.body)[self.at :]:
            if await line.server_closes(self.every):
                break
            await line.write(bytes([byte]))


@dataclass(frozen=True)
class Raw(Fault):
    """Bytes that are not HTTP."""

    data: bytes = b"\x16\x03\x01 this is not HTTP\r\n\r\n"

    async def send(self, _reply: Reply, line: ServerConnection) -> None:
        """Send the bytes, then close."""
        await line.write(self.data)
        line.close()


def refused(status: int, code: str, detail: str = "", *, times: int = FOREVER) -> Answer:
    """An error response of Azure, by default for every request."""
    return Answer(refusal(status, code, detail), times=times)


def expired(*, times: int = FOREVER) -> Answer:
    """Azure's response to a token that expired in 2026."""
    detail = (
        "Signature not valid in the specified time frame: Start [Thu, 01 Jan 2026 00:00:00 GMT] - "
        "Expiry [Fri, 02 Jan 2026 00:00:00 GMT] - Current [Sat, 03 Jan 2026 00:00:00 GMT]"
    )
    return refused(403, "AuthenticationFailed", detail, times=times)


def not_authenticated(*, times: int = FOREVER) -> Answer:
    """Azure's response to a request without a token."""
    return refused(401, "NoAuthenticationInformation", times=times)


def not_public(*, times: int = FOREVER) -> Answer:
    """Azure's other response to a request without a token, if public access is disabled."""
    return refused(409, "PublicAccessNotPermitted", times=times)


def throttled(status: int = 503, *, retry_after: float | str | None = None, times: int = 1) -> Answer:
    """Azure's response under load (503 ServerBusy, or 429), with a Retry-After of seconds or a date."""
    busy = refused(status, "ServerBusy", times=times)
    if retry_after is None:
        return busy
    return replace(busy, reply=replace(busy.reply, headers={**busy.reply.headers, "Retry-After": str(retry_after)}))


def redirect(location: str, *, status: int = 307, times: int = FOREVER) -> Answer:
    """A redirect to `location`."""
    return Answer(Reply(status, {"Location": location}), times=times)
