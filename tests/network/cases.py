"""All network faults that the fault proxy supports, and the expected result of a run with each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.services.faulty import FOREVER
from tests.services.proxyfaults import fault

if TYPE_CHECKING:
    from tests.services.faultproxy import ProxyFault

ARCHIVES = "*/pack.tar.zst"
"""Paths of the objects that are fetched in ranges."""

ELSEWHERE = "elsewhere"
"""The value of a fault that stands for the origin of another server, which requires no token."""


@dataclass(frozen=True)
class NetworkCase:
    """A fault that affects either `few` archive responses, which a run survives, or every one.

    `code` is the exit code if every one is affected, and `words` a pattern for the error message.
    """

    title: str
    fault: str
    value: str = ""
    few: int = 4
    code: int = 0
    words: str = ""


_OFF = "closed the connection before the end of its response"
_ODD = "something other than HTTP"
_BUSY = "it is overloaded or down"

CASES = (
    NetworkCase("each answer begins 0.3 s late", "latency", "0.3"),
    NetworkCase("4 MB/s on a connection", "rate", "4000000"),
    NetworkCase("nothing more after 3 MB of the body", "stall", "3000000"),
    NetworkCase("no answer at all", "hang", code=20, words="did not answer in time"),
    NetworkCase("closed instead of an answer", "hangup", code=20, words=_OFF),
    NetworkCase("torn down (RST) after 3 MB of the body", "reset", "3000000"),
    NetworkCase("closed after 3 MB of the body", "cut", "3000000"),
    NetworkCase("a body too short, its length says so", "short", "3000000", code=20, words="announced 3000000 bytes"),
    NetworkCase("a shorter range, in itself right", "short-range", "3000000", code=20, words="another range"),
    NetworkCase("another range announced", "other-range", code=20, words="another range"),
    NetworkCase("200 with the whole archive", "whole", code=20, words="answered 200 instead of 206"),
    NetworkCase("200 with a web page", "portal", code=20, words="answered 200 instead of 206"),
    NetworkCase("one bit flipped", "flip", code=30, words="is wrong, also after a second download"),
    NetworkCase("in gzip's format, unasked", "gzip", code=20, words="announced"),
    NetworkCase("429, Retry-After of 1 s", "429", "1", code=20, words=_BUSY),
    NetworkCase("503, Retry-After as a date", "503", "date", code=20, words=_BUSY),
    NetworkCase("500", "500", code=20, words=_BUSY),
    NetworkCase("redirected to the same place", "redirect", code=20, words="redirects in a loop"),
    NetworkCase("redirected to another host, which needs no token", "redirect", ELSEWHERE),
    NetworkCase("random bytes, no HTTP", "garbage", code=20, words=f"{_ODD}|{_OFF}"),
    NetworkCase("a body without status and headers", "no-status", code=20, words=f"{_ODD}|{_OFF}"),
    NetworkCase("a header of 1 MiB", "huge-header", code=20, words=_ODD),
    NetworkCase("sizes of HTTP's chunks are nonsense", "bad-chunks", "3000000"),
    NetworkCase("two lengths that contradict each other", "two-lengths", code=20, words=_ODD),
    NetworkCase("403", "403", few=0, code=22, words="the SAS token"),
)
"""A single slow connection is not one of these cases, because it is detected only while others are faster."""

CRAWL = NetworkCase("20 kB/s on one connection", "rate", "20000", few=1)


def times(case: NetworkCase, *, always: bool) -> int:
    """Return the number of responses that the fault affects."""
    return FOREVER if always else case.few


def at_random(elsewhere: str) -> list[ProxyFault]:
    """Return every transient fault, for any response; `elsewhere` is the origin of a server that requires no token.

    Faults that alter content apply only to archives, because a corrupted document cannot be recognized.
    """
    values = {"latency": "0.1", "rate": "1000000", "429": "1", "503": "0"}
    names = dict.fromkeys(case.fault for case in CASES if case.few)
    faults = [fault(name, values.get(name, ""), on=ARCHIVES if name in _FORGERS else "*") for name in names]
    return [*faults, fault("redirect", elsewhere)]


_FORGERS = {"flip", "gzip", "portal", "short", "short-range"}
