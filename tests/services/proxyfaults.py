"""The faults that `FaultProxy` can apply to a response, by name.

    fault("stall", "100000", times=1)

`CATALOGUE` documents each fault and its value. If the value is an offset in the body, an empty one means a random one.
"""

from __future__ import annotations

import gzip
import re
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

from tests.services.faultproxy import Head, ProxyFault
from tests.services.faulty import refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.services.faultproxy import Act, Exchange

CATALOGUE: dict[str, tuple[str, Act]] = {}
"""Help text and implementation of each fault, by name."""

_SOON = timedelta(seconds=2)


def fault(name: str, value: str = "", **limits: Any) -> ProxyFault:
    """Make a fault by its name; `limits` are further arguments of `Fault`.

    Raises `ValueError`: the fault does not exist.
    """
    if name not in CATALOGUE:
        raise ValueError(f"there is no fault {name!r}; there are: {', '.join(CATALOGUE)}")
    return ProxyFault(name, value, CATALOGUE[name][1], **limits)


def _named(name: str, description: str) -> Callable[[Act], Act]:
    def enter(act: Act) -> Act:
        CATALOGUE[name] = (description, act)
        return act

    return enter


# -- slow


@_named("latency", "SECONDS: the answer begins so much later")
async def _latency(exchange: Exchange, value: str) -> None:
    await exchange.line.server_closes(float(value or 0.3))
    await exchange.pass_on()


@_named("rate", "BYTES: this connection carries so many a second from now on")
async def _rate(exchange: Exchange, value: str) -> None:
    exchange.line.rate = float(value or 50_000)
    await exchange.pass_on()


@_named("stall", "BYTES: after so many of the body nothing more comes")
async def _stall(exchange: Exchange, value: str) -> None:
    if await _broken_off(exchange, value):
        await exchange.line.server_closes()


@_named("hang", "nothing comes at all")
async def _hang(exchange: Exchange, _value: str) -> None:
    await exchange.line.server_closes()


# -- interrupted


@_named("hangup", "the connection is closed instead of an answer")
async def _hangup(exchange: Exchange, _value: str) -> None:
    exchange.line.close()


@_named("reset", "BYTES: the connection is torn down (RST) after so many of the body")
async def _reset(exchange: Exchange, value: str) -> None:
    if await _broken_off(exchange, value):
        exchange.line.reset()


@_named("cut", "BYTES: the connection is closed in order after so many of the body, fewer than Content-Length says")
async def _cut(exchange: Exchange, value: str) -> None:
    if await _broken_off(exchange, value):
        exchange.line.close()


@_named("short", "BYTES: the body has so many, and Content-Length says so, too; Content-Range does not")
async def _short(exchange: Exchange, value: str) -> None:
    head = await exchange.ask()
    count = exchange.within(value, head)
    await exchange.head(head.but(content_length=str(count)))
    await exchange.body(count)


@_named("short-range", "BYTES: the body has so many, and Content-Length and Content-Range agree with it")
async def _short_range(exchange: Exchange, value: str) -> None:
    head = await exchange.ask()
    count = max(1, exchange.within(value, head))
    changes = {"content_length": str(count)}
    if found := re.match(r"bytes (\d+)-\d+/(\d+)", head.get("content-range")):
        changes["content_range"] = f"bytes {found[1]}-{int(found[1]) + count - 1}/{found[2]}"
    await exchange.head(head.but(**changes))
    await exchange.body(count)


# -- wrong


@_named("flip", "BYTES: one bit is wrong, so far from the body's start")
async def _flip(exchange: Exchange, value: str) -> None:
    head = await exchange.ask()
    at = exchange.within(value, head)

    def flipped(piece: bytes, start: int) -> bytes:
        if not start <= at < start + len(piece):
            return piece
        changed = bytearray(piece)
        changed[at - start] ^= 1 << exchange.chance.randrange(8)
        return bytes(changed)

    await exchange.head(head)
    await exchange.body(spoil=flipped)


@_named("whole", "a 200 with the whole object instead of a range")
async def _whole(exchange: Exchange, _value: str) -> None:
    head = await exchange.ask(whole=True)
    await exchange.head(head)
    await exchange.body()


@_named("other-range", "BYTES: Content-Range says that the body lies so much later than what was asked for")
async def _other_range(exchange: Exchange, value: str) -> None:
    head = await exchange.ask()
    if found := re.match(r"bytes (\d+)-(\d+)/(\d+)", head.get("content-range")):
        first, last = (int(found[n]) + int(value or 1) for n in (1, 2))
        head = head.but(content_range=f"bytes {first}-{last}/{found[3]}")
    await exchange.head(head)
    await exchange.body()


@_named("gzip", "the body's beginning is in gzip's format, though nobody asked for that")
async def _gzip(exchange: Exchange, _value: str) -> None:
    head = await exchange.ask()
    body = gzip.compress(await exchange.read(1 << 20), 1)  # a part: compressing all would be slow
    await exchange.head(head.but(content_encoding="gzip", content_length=str(len(body))))
    await exchange.line.write(body)


@_named("portal", "a 200 with a web page, as a hotel's network says hello")
async def _portal(exchange: Exchange, _value: str) -> None:
    page = b"<!DOCTYPE html><html><body>Please accept our terms of use.</body></html>"
    await exchange.head(Head(200, [("content-type", "text/html"), ("content-length", str(len(page)))]))
    await exchange.line.write(page)


# -- refused


def _refused(status: int, code: str) -> Act:
    async def refuse(exchange: Exchange, value: str) -> None:
        soon = format_datetime(datetime.now(UTC) + _SOON, usegmt=True)
        reply = refusal(status, code)
        headers = [*reply.headers.items(), ("content-length", str(len(reply.body)))]
        if value:
            headers.append(("retry-after", soon if value == "date" else value))
        await exchange.head(Head(status, headers))
        if exchange.seen.method != "HEAD":
            await exchange.line.write(reply.body)

    return refuse


_named("429", "SECONDS: too many requests, with Retry-After; `date`: with the date two seconds ahead")(
    _refused(429, "TooManyRequests")
)
_named("500", "SECONDS: an error of the server, with Retry-After as above")(_refused(500, "InternalError"))
_named("503", "SECONDS: the server is busy, with Retry-After as above")(_refused(503, "ServerBusy"))
_named("403", "the token is refused")(_refused(403, "AuthenticationFailed"))


@_named("redirect", "ORIGIN: sent to the same path there (http://host:port), or here; `ORIGIN?`: with the same query")
async def _redirect(exchange: Exchange, value: str) -> None:
    query = f"?{exchange.seen.query}" if value.endswith("?") else ""
    location = f"{value.rstrip('?') or exchange.proxy.origin}{exchange.seen.path}{query}"
    await exchange.head(Head(307, [("location", location), ("content-length", "0")]))


# -- not HTTP


@_named("garbage", "random bytes instead of HTTP")
async def _garbage(exchange: Exchange, _value: str) -> None:
    await exchange.line.write(exchange.chance.randbytes(4096))
    exchange.line.close()


@_named("no-status", "the body without a status line and headers")
async def _no_status(exchange: Exchange, _value: str) -> None:
    await exchange.ask()
    await exchange.body(4096)
    exchange.line.close()


@_named("huge-header", "a header of a MiB")
async def _huge_header(exchange: Exchange, _value: str) -> None:
    head = await exchange.ask()
    await exchange.head(head.but(x_padding="a" * (1 << 20)))
    await exchange.body()


@_named("bad-chunks", "BYTES: a body in HTTP's chunks, whose sizes are nonsense after so many")
async def _bad_chunks(exchange: Exchange, value: str) -> None:
    head = await exchange.ask()
    count = max(1, exchange.within(value, head))
    await exchange.head(head.but(content_length="", transfer_encoding="chunked"))
    await exchange.line.write(f"{count:x}\r\n".encode())
    await exchange.body(count)
    await exchange.line.write(b"\r\nwhat?\r\n")
    exchange.line.close()


@_named("two-lengths", "two Content-Lengths that contradict each other")
async def _two_lengths(exchange: Exchange, _value: str) -> None:
    head = await exchange.ask()
    await exchange.head(head._replace(headers=[*head.headers, ("content-length", str((head.length or 0) + 1))]))
    await exchange.body()
    exchange.line.close()


async def _broken_off(exchange: Exchange, value: str) -> bool:
    """Forward the beginning of a response; return True if that is not all of it."""
    head = await exchange.ask()
    await exchange.head(head)
    await exchange.body(exchange.within(value, head))
    return head.length is None or exchange.sent < head.length
