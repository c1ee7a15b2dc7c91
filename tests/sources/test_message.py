"""HTTP heads and bodies: exact in whatever pieces they come; anything else is refused at once, in little memory."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models_init.sources.message import Head, NotHttpError
from models_init.sources.wire import Wire
from tests.fuzz import fuzz_message
from tests.fuzz.fuzz_message import Seen, answer
from tests.sources.feed import Feed, play

if TYPE_CHECKING:
    from collections.abc import Iterable

_TOKEN = st.text("!#$%&'*+-.^_`|~abcXYZ019", min_size=1, max_size=12)
_VALUE = st.text(st.characters(max_codepoint=0xFF, exclude_categories=["Cc"]), max_size=20).map(
    lambda text: text.strip(" \t")
)
_FRAMING = {"content-length", "transfer-encoding", "connection"}


class Sent(NamedTuple):
    """What a server sends, and what is to be made of it."""

    raw: bytes
    seen: Seen


@st.composite
def chunked(draw: st.DrawFn, body: bytes) -> bytes:
    """Cut a body into chunks, with extensions and trailers."""
    cuts = sorted({0, len(body), *draw(st.lists(st.integers(0, len(body)), max_size=4))})
    raw = b""
    for start, stop in itertools.pairwise(cuts):
        size = draw(st.sampled_from(["%x", "%X", "00%x"])) % (stop - start)
        extension = draw(st.sampled_from(["", ";a", "; a=b", ' ;a="b;c"']))
        raw += f"{size}{extension}\r\n".encode() + body[start:stop] + b"\r\n"
    return raw + b"0\r\n" + draw(st.sampled_from([b"", b"X-Sum: 1\r\n", b"A: b\r\nC:\r\n"])) + b"\r\n"


@st.composite
def answers(draw: st.DrawFn, *, endless: bool = False) -> Sent:
    """Make an answer; only an `endless` one ends with its connection."""
    status = draw(st.sampled_from([200, 206, 404, 503]))
    body = draw(st.binary(max_size=300))
    headers = draw(st.dictionaries(_TOKEN.filter(lambda name: name.lower() not in _FRAMING), _VALUE, max_size=4))
    headers = {name.lower(): value for name, value in headers.items()}
    if endless:
        content = body
    elif draw(st.booleans()):
        content = body
        headers |= {"content-length": draw(st.sampled_from(["%d", "000%d", "%d, %1$d"][:2])) % len(body)}
    else:
        content = draw(chunked(body))
        headers |= {"transfer-encoding": "chunked"}
    interim = draw(st.sampled_from([b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 \r\nLink: </a>\r\n\r\n" * 2]))
    space = draw(st.sampled_from(["", " ", "\t "]))
    lines = "".join(f"{name}:{space}{value}{space}\r\n" for name, value in headers.items())
    first = draw(st.sampled_from(["", " ", " Fine, thanks"]))
    raw = interim + f"HTTP/1.1 {status}{first}\r\n{lines}\r\n".encode("latin-1") + content
    return Sent(raw, Seen(status, headers, body, is_reusable=not endless))


@st.composite
def pieces(draw: st.DrawFn, raw: bytes) -> list[bytes]:
    """Cut bytes anywhere, or everywhere."""
    if draw(st.booleans()):
        return [raw[at : at + 1] for at in range(len(raw))]
    cuts = sorted({0, len(raw), *draw(st.lists(st.integers(0, len(raw)), max_size=6))})
    return [raw[start:stop] for start, stop in itertools.pairwise(cuts)]


def read(raw: Iterable[bytes], count: int = 1) -> list[Seen]:
    return play(raw, lambda wire: [answer(wire) for _ in range(count)])


@given(st.data())
def test_answers_come_exactly_in_any_pieces(data: st.DataObject) -> None:
    """Heads and bodies, one after the other on one connection, are what was sent, wherever TCP cuts them."""
    sent = data.draw(st.lists(answers(), min_size=1, max_size=3))
    raw = b"".join(one.raw for one in sent)
    assert read(data.draw(pieces(raw)), len(sent)) == [one.seen for one in sent]


@given(st.data())
def test_a_body_without_a_length_ends_with_its_connection(data: st.DataObject) -> None:
    """All that comes until the end is the body; the connection is not used again."""
    sent = data.draw(answers(endless=True))
    assert read(data.draw(pieces(sent.raw))) == [sent.seen]


@given(st.data())
def test_an_answer_that_breaks_off_is_none(data: st.DataObject) -> None:
    """A prefix of an answer whose length is known is never taken for the whole."""
    sent = data.draw(answers())
    cut = data.draw(st.integers(0, len(sent.raw) - 1))
    with pytest.raises(EOFError):
        read([sent.raw[:cut]])


@given(st.binary(max_size=200))
def test_any_bytes_are_an_answer_or_none(data: bytes) -> None:
    """What is no answer ends at once with an error that says so; what is one, another reader sees alike."""
    fuzz_message.check(data)


@given(st.data(), st.integers(0, 2**32))
def test_what_is_nearly_an_answer_is_one_or_none(data: st.DataObject, seed: int) -> None:
    """The same for answers that were tampered with."""
    changed = fuzz_message.mutate(data.draw(answers()).raw, seed)
    assert changed is not None
    fuzz_message.check(changed)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", id="two framings"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", id="two lengths"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\n", id="two lengths in one"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", id="below nothing"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n", id="with a sign"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 1\xa0\r\n\r\n", id="with a space that is none"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 0x1\r\n\r\n", id="hexadecimal"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n", id="no length"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 1_0\r\n\r\n", id="a length that Python reads"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", id="compressed"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n", id="identity"),
        pytest.param(b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", id="chunks of old"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n", id="folded"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX : a\r\n\r\n", id="space before the colon"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX\r\n\r\n", id="no colon"),
        pytest.param(b"HTTP/1.1 200 OK\r\n: a\r\n\r\n", id="no name"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: a\nY: b\r\n\r\n", id="bare line feed"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: a\rY: b\r\n\r\n", id="bare carriage return"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: a\0\r\n\r\n", id="NUL"),
        pytest.param(b"HTTP/1.1 200 OK\n\n\r\n\r\n", id="line feeds"),
        pytest.param(b"HTTP/2 200\r\n\r\n", id="version 2"),
        pytest.param(b"HTTP/1.1 20 OK\r\n\r\n", id="two digits"),
        pytest.param(b"HTTP/1.1 2000 OK\r\n\r\n", id="four digits"),
        pytest.param(b"\r\nHTTP/1.1 200 OK\r\n\r\n", id="empty line before"),
        pytest.param(b"HTTP/1.1 101 Switching\r\n\r\n", id="another protocol"),
        pytest.param(b"\r\n\r\n", id="nothing"),
    ],
)
def test_what_can_be_read_in_two_ways_is_no_answer(raw: bytes) -> None:
    """Somebody in between would read it in the other way."""
    with pytest.raises(NotHttpError):
        read([raw + b"1\r\na\r\n0\r\n\r\n"])


@pytest.mark.parametrize(
    "chunks",
    [
        *(b"-1\r\na\r\n", b"+1\r\na\r\n", b"0x1\r\na\r\n", b" 1\r\na\r\n", b"1_0\r\na\r\n", b"\r\n", b"g\r\n"),
        *(b"1\na\r\n", b"1\r\nab\r\n0\r\n\r\n", b"1\r\na\n0\r\n\r\n", b"f" * 13 + b"\r\n"),
        *(b"1;" + b"x" * 5000 + b"\r\na\r\n", b"0\r\nX\r\n\r\n", b"0\r\nX: a\nb\r\n\r\n"),
        b"0\r\n" + b"X: y\r\n" * 99 + b"\r\n",
    ],
)  # fmt: skip
def test_chunks_are_judged_as_strictly(chunks: bytes) -> None:
    """Sizes, ends of lines and trailers that are not quite right are refused."""
    with pytest.raises(NotHttpError):
        read([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks])


@pytest.mark.parametrize(
    ("raw", "is_reusable"),
    [
        (b"HTTP/1.1 204 No Content\r\n\r\n", True),
        (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", True),
        (b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: x, Close\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", False),
    ],
)
def test_an_answer_without_a_body_ends_with_its_head(raw: bytes, is_reusable: bool) -> None:  # noqa: FBT001 - a fact
    """Nothing is waited for, whatever is announced; the next answer begins right there."""
    seen = read([raw + b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"], 2)
    assert (seen[0].body, seen[0].is_reusable, seen[1].body) == (b"", is_reusable, b"x")


@pytest.mark.parametrize("pattern", [b"x" * 99, b"HTTP/1.1 100 \r\n\r\n", b"HTTP/1.1 200 OK\r\nX: y" + b"y" * 9999])
def test_an_endless_head_is_refused(pattern: bytes) -> None:
    """What never gets to the point is given up, in little memory."""
    feed = Feed(itertools.repeat(pattern))
    with pytest.raises(NotHttpError):
        answer(Wire(feed, 60.0))
    assert feed.given <= 128 << 10


def test_a_head_of_blanks_is_judged_at_once() -> None:
    """No pattern tries all ways to share them out: that would take hours."""
    for end in (b"\0", b"x", b""):
        with pytest.raises((NotHttpError, EOFError)):
            read([b"HTTP/1.1 200 OK\r\nX: " + b" \t" * 30_000 + end + b"\r\n\r\n1"], 2)


def test_headers_have_no_case_and_may_stand_twice() -> None:
    """Names are found however they are written; values of the same name are one list."""
    head = Head(b'HTTP/1.1 200 OK\r\neTAG: "a"\r\nX: 1\r\nContent-length: 5\r\nx:\t2 \r\nContent-Length: 5, 5\r\n\r\n')
    assert (head.get("ETag"), head.get("X"), head.get("none"), head.length) == ('"a"', "1, 2", "", 5)
