"""Every way in which a network is bad that the fault proxy knows, and what becomes of a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.services.faulty import FOREVER
from tests.services.proxyfaults import fault

if TYPE_CHECKING:
    from tests.services.faultproxy import Fault

ARCHIVES = "*/pack.tar.zst"
"""Paths of what is fetched in ranges."""

ELSEWHERE = "elsewhere"
"""As a fault's value: the origin of another server, which needs no token."""


@dataclass(frozen=True)
class Case:
    """A fault, for `few` answers that bring an archive: the run survives that. Or for every one of them.

    `code` is the exit code then, and `words` (a pattern) what the one line says.
    """

    title: str
    fault: str
    value: str = ""
    few: int = 4
    code: int = 0
    words: str = ""


_OFF = "broke off the connection"
_ODD = "something that is not HTTP"
_BUSY = "it is overloaded or down"

CASES = (
    Case("each answer begins 0.3 s late", "latency", "0.3"),
    Case("4 MB/s on a connection", "rate", "4000000"),
    Case("nothing more after 3 MB of the body", "stall", "3000000"),
    Case("no answer at all", "hang", code=20, words="did not answer in time"),
    Case("closed instead of an answer", "hangup", code=20, words=_OFF),
    Case("torn down (RST) after 3 MB of the body", "reset", "3000000"),
    Case("closed after 3 MB of the body", "cut", "3000000"),
    Case("a body too short, its length says so", "short", "3000000", code=20, words="announced 3000000 bytes"),
    Case("a shorter range, in itself right", "short-range", "3000000", code=20, words="another range"),
    Case("another range announced", "other-range", code=20, words="another range"),
    Case("200 with the whole archive", "whole", code=20, words="answered 200 where 206 is due"),
    Case("200 with a web page", "portal", code=20, words="answered 200 where 206 is due"),
    Case("one bit flipped", "flip", code=30, words="is wrong, and was again when asked anew"),
    Case("in gzip's format, unasked", "gzip", code=20, words="announced"),
    Case("429, Retry-After of 1 s", "429", "1", code=20, words=_BUSY),
    Case("503, Retry-After as a date", "503", "date", code=20, words=_BUSY),
    Case("500", "500", code=20, words=_BUSY),
    Case("redirected to the same place", "redirect", code=20, words="redirects in a circle"),
    Case("redirected to another host, which needs no token", "redirect", ELSEWHERE),
    Case("random bytes, no HTTP", "garbage", code=20, words=f"{_ODD}|{_OFF}"),
    Case("a body without status and headers", "no-status", code=20, words=f"{_ODD}|{_OFF}"),
    Case("a header of 1 MiB", "huge-header", code=20, words=_ODD),
    Case("sizes of HTTP's chunks are nonsense", "bad-chunks", "3000000"),
    Case("two lengths that contradict each other", "two-lengths", code=20, words=_ODD),
    Case("403", "403", few=0, code=22, words="the SAS token"),
)
"""One connection that crawls is in none of these: it shows beside others that do not."""

CRAWL = Case("20 kB/s on one connection", "rate", "20000", few=1)


def times(case: Case, *, always: bool) -> int:
    """How many answers the fault befalls."""
    return FOREVER if always else case.few


def at_random(elsewhere: str) -> list[Fault]:
    """Every fault that may pass, anywhere in an answer; `elsewhere` is the origin of a server that needs no token.

    Faults that make another document of a document befall archives only: nothing tells which document is right.
    """
    values = {"latency": "0.1", "rate": "1000000", "429": "1", "503": "0"}
    names = dict.fromkeys(case.fault for case in CASES if case.few)
    faults = [fault(name, values.get(name, ""), on=ARCHIVES if name in _FORGERS else "*") for name in names]
    return [*faults, fault("redirect", elsewhere)]


_FORGERS = {"flip", "gzip", "portal", "short", "short-range"}
