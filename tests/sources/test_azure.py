"""Faults of Azure containers: refused tokens, and wrong or misleading HTTP responses."""

from __future__ import annotations

import asyncio
import logging
import traceback
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

import pytest

from models_init.core.errors import (
    AccessError,
    ArchivedError,
    ModelsInitError,
    NotFoundError,
    SourceError,
    UnavailableError,
    UsageError,
    WrongBytesError,
)
from models_init.sources.azure.sas import SasToken
from models_init.sources.azure.source import AzureSource, ContainerAccess, TokenRefresh
from models_init.sources.http.client import TransportOptions
from models_init.sources.wrappers.retry import RetryingSource, RetryPolicy
from tests.services import free_port
from tests.services.faults import (
    Answer,
    Cut,
    Headers,
    OtherRange,
    Raw,
    Reset,
    Stall,
    WholeObject,
    expired,
    not_authenticated,
    not_public,
    redirect,
    refused,
    throttled,
)
from tests.services.faulty import SIGNATURE_MISMATCH, FaultyServer, Reply
from tests.sources.collecting_sink import Collected
from tests.sources.retry_log import RetryLog
from tests.tokens import leaks, token

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from pathlib import Path

    from tests.services.azurite import Azurite
    from tests.services.certificates import Certificates
    from tests.services.faulty import Fault

_KEY = "nl-nl/2026.04/pack.tar.zst"
_DATA = bytes(range(256)) * 4000
_START, _STOP = 1_000, 901_000
_IDLE = 0.3


@dataclass(frozen=True)
class RangeResult:
    """The bytes that a sink received of a range, and the error that ended it."""

    data: bytes
    error: Exception | None = None

    def error_text(self) -> str:
        """Return everything about the error that a program might print."""
        assert self.error
        return f"{self.error} {self.error!r} {''.join(traceback.format_exception(self.error))}"


@asynccontextmanager
async def opened(
    url: str,
    prefix: str = "",
    read_token: Callable[[], str] = token,
    *,
    ca_file: str = "",
    idle_limit: float = _IDLE,
    renewal: TokenRefresh | None = None,
) -> AsyncIterator[AzureSource]:
    source = AzureSource(ContainerAccess(url, prefix, read_token, TransportOptions(idle_limit, ca_file), renewal))
    try:
        yield source
    finally:
        await source.close()


async def fetched(source: AzureSource, start: int = _START, stop: int = _STOP, key: str = _KEY) -> RangeResult:
    sink = Collected()
    try:
        await source.get_range(key, start, stop, sink)
    except Exception as error:  # noqa: BLE001 # the test checks which error it is
        return RangeResult(bytes(sink.data), error)
    return RangeResult(bytes(sink.data))


async def asked(*faults: Fault) -> RangeResult:
    """Request a range once from a server with these faults."""
    async with FaultyServer({_KEY: _DATA}, faults) as server, opened(server.url) as source:
        return await fetched(source)


def tokens(*texts: str) -> Callable[[], str]:
    """Return a reader that yields the tokens one by one, and the last one forever."""
    left = list(texts)
    return lambda: left.pop(0) if len(left) > 1 else left[0]


# -- tokens


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ("", "the SAS token is empty"),
        ("?", "the SAS token is empty"),
        (token(sig=""), "the SAS token has no signature"),
        (token()[:-9], "the SAS token has a broken signature"),
        (token(sp="l"), "the SAS token has no permission to read"),
        (token(sr="b"), "the SAS token is for one blob"),
        (f"{token()}\n{token()}", "the SAS token has a"),
    ],
)
def test_invalid_token_is_reported_before_connecting(bad: str, words: str) -> None:
    """A useless token is refused when the source is created, with a message that states the remedy."""
    with pytest.raises(AccessError, match=words) as flawed:
        AzureSource(ContainerAccess("https://example.invalid/models", "", lambda: bad))
    assert "MODELS_SAS_TOKEN" in str(flawed.value)
    assert not leaks(str(flawed.value))


@pytest.fixture(scope="module")
def container(azurite: Azurite) -> Azurite:
    stocked = azurite.fresh_container()
    stocked.put(_KEY, _DATA)
    return stocked


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("expired", ["the SAS token expired at 20"]),
        ("not yet valid", ["the SAS token is not valid before 20"]),
        ("wrong signature", ["its signature is wrong", "another container or account"]),
        ("other container", ["its signature is wrong", "another container or account"]),
    ],
)
async def test_token_refused_by_azurite_is_access_error(container: Azurite, fault: str, words: list[str]) -> None:
    """Each refusal is an `AccessError` with reason and remedy, for documents and ranges.

    A wrong signature and another container's token cause the same response, so their message names both.
    """
    good = container.sas()
    bad = {
        "expired": container.sas(expires_in=-60),
        "not yet valid": container.sas(starts_in=600),
        "wrong signature": good.partition("sig=")[0] + token().rpartition("&")[2],
        "other container": container.fresh_container().sas(),
    }[fault]
    async with opened(container.container_url, read_token=lambda: bad) as source:
        with pytest.raises(AccessError) as read:
            await source.read(_KEY, len(_DATA))
        got = await fetched(source)
    assert isinstance(got.error, AccessError)
    for error in (read.value, got.error):
        assert all(text in str(error) for text in [*words, container.container_url.split("/")[2], "MODELS_SAS_TOKEN"])
        assert "clock" not in str(error)


async def test_token_without_list_permission_can_still_read(container: Azurite) -> None:
    """Without the permission to list, `names` raises an `AccessError` that names it, and reading works."""
    async with opened(container.container_url, read_token=lambda: container.sas("r")) as source:
        with pytest.raises(AccessError, match=r"lacks a permission \(sp=r; r and l are needed\)"):
            await source.names("")
        assert await source.read(_KEY, len(_DATA)) == _DATA


async def test_missing_container_and_missing_blob_have_different_messages(container: Azurite) -> None:
    """A missing container and a missing blob have different messages; both are `NotFoundError`."""
    gone = container.fresh_container()
    good = gone.sas()
    gone.remove()
    async with opened(gone.container_url, read_token=lambda: good) as source:
        with pytest.raises(
            NotFoundError, match=r"the container http://127\.0\.0\.1\S+ does not exist; check MODELS_URL"
        ):
            await source.read(_KEY, 100)
        with pytest.raises(NotFoundError, match=r"the container .* does not exist"):
            await source.names("")
    async with opened(container.container_url, read_token=container.sas) as source:
        with pytest.raises(NotFoundError, match=r"/nl-nl/2026\.04/none does not exist; check its name"):
            await source.read("nl-nl/2026.04/none", 100)


async def test_archived_blob_is_permanent_error(container: Azurite) -> None:
    """Azurite enforces the archive tier; the blob cannot be read for hours, so a retry does not help."""
    archived = container.fresh_container()
    archived.put(_KEY, _DATA)
    archived.archive(_KEY)
    async with opened(archived.container_url, read_token=archived.sas) as source:
        with pytest.raises(ArchivedError, match=r"pack\.tar\.zst is in the archive tier, where it cannot be read; ask"):
            await source.read(_KEY, len(_DATA))
        assert isinstance((await fetched(source)).error, ArchivedError)


@pytest.mark.parametrize("code", ["KeyBasedAuthenticationNotPermitted", "AccountIsDisabled"])
async def test_source_does_not_wait_for_new_token_if_none_would_help(code: str) -> None:
    """The account refuses every token of this kind, also one that worked before."""
    waiting = Waiting(token(sv="2026-01-01"))
    async with (
        FaultyServer({_KEY: _DATA}) as server,
        opened(server.url, read_token=waiting.read, renewal=waiting.renewal()) as source,
    ):
        assert (await fetched(source)).error is None
        server.script(refused(403, code))
        assert isinstance((await fetched(source)).error, AccessError)
        assert (waiting.sleeps, waiting.refusals) == (0, [])


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (expired(), "the SAS token is not valid at this time"),
        (
            refused(403, "AuthenticationFailed", SIGNATURE_MISMATCH),
            "its signature is wrong, or it was made for another",
        ),
        (refused(403, "AuthenticationFailed"), "its signature is wrong, or it was made for another"),
        (not_authenticated(), "does not fit the container"),
        (not_public(), "does not fit the container"),
        (refused(403, "AuthorizationPermissionMismatch"), "lacks a permission"),
        (refused(403, "AuthorizationResourceTypeMismatch"), "is not for this type of resource"),
        (refused(403, "AuthorizationServiceMismatch"), "is not for the blob service"),
        (refused(403, "AuthorizationProtocolMismatch"), "is for https only"),
        (refused(403, "AuthorizationSourceIPMismatch"), "another IP address"),
        (Answer(Reply(403, {}, b"<html>no</html>"), times=9), "does not fit the container"),
        (
            Answer(Reply(403, {}, b'<?xml version="1.0" encoding="GB2312"?><html/>'), times=9),
            "does not fit the container",
        ),
        (
            Answer(Reply(403, {}, b'<?xml version="1.0" encoding="unheard-of"?><a/>'), times=9),
            "does not fit the container",
        ),
        (Answer(Reply(401, {}), times=9), "does not fit the container"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
async def test_each_refusal_of_azure_is_access_error(fault: Fault, words: str) -> None:
    """Every refusal of a token by Azure is an `AccessError` (22) without retry and without bytes for the sink."""
    async with FaultyServer({_KEY: _DATA}, [fault]) as server, opened(server.url) as source:
        got = await fetched(source)
        assert isinstance(got.error, AccessError)
        assert words in str(got.error)
        assert got.data == b""
        assert len(server.seen) == 1


async def test_token_expiry_is_judged_by_service_clock() -> None:
    """Expiry is determined by the service's Date, and a wrong local clock is reported.

    The token is valid by this machine's clock, which is an hour behind.
    """
    now = datetime.now(UTC)
    until = format_datetime(now + timedelta(hours=1), usegmt=True)
    good_here = token(se=f"{now + timedelta(minutes=30):%Y-%m-%dT%H:%M:%SZ}")
    refusal = Answer(Reply(403, {"x-ms-error-code": "AuthorizationFailure", "Date": until}))
    async with FaultyServer({}, [refusal]) as server, opened(server.url, read_token=lambda: good_here) as source:
        error = (await fetched(source)).error
    assert "the SAS token expired at" in str(error)
    assert "(this machine's clock is 3" in str(error)
    assert "s behind the service's)" in str(error)


async def test_wrong_local_clock_is_reported() -> None:
    """If the service reports a wrong time, the message states the difference of the clocks."""
    past = format_datetime(datetime.now(UTC) - timedelta(minutes=10), usegmt=True)
    refusal = expired()
    reply = Reply(403, {**refusal.reply.headers, "Date": past}, refusal.reply.body)
    error = (await asked(Answer(reply))).error
    assert "the SAS token is not valid at this time (this machine's clock is 6" in str(error)
    assert "s ahead of the service's)" in str(error)


async def test_renewed_token_is_used_immediately() -> None:
    """After a 403 the token is read again; a newer one is used at once, without an error."""
    old, new = token(), token(sv="2026-01-01")
    async with (
        FaultyServer({_KEY: _DATA}, token=new) as server,
        opened(server.url, read_token=tokens(old, new)) as source,
    ):
        got = await fetched(source)
        assert (got.error, got.data) == (None, _DATA[_START:_STOP])
        assert [(seen.query, seen.status) for seen in server.seen] == [(old, 403), (new, 206)]
        assert (await fetched(source)).error is None
        assert server.seen[-1].query == new


async def test_renewed_token_is_used_by_all_concurrent_requests() -> None:
    """Concurrent requests are all refused; each uses the newer token, whichever request read it first."""
    old, new = token(), token(sv="2026-01-01")
    async with (
        FaultyServer({_KEY: _DATA}, token=new) as server,
        opened(server.url, read_token=tokens(old, new)) as source,
    ):
        results = await asyncio.gather(*(fetched(source) for _ in range(16)))
        assert [got.error for got in results] == [None] * 16
        assert len(server.seen) == 32


async def test_refused_token_is_not_sent_again() -> None:
    """The same token, or a useless one, is not sent after a 403."""
    for later in (token(), "", token()[:-9]):
        async with (
            FaultyServer({_KEY: _DATA}, token="other") as server,
            opened(server.url, read_token=tokens(token(), later)) as source,
        ):
            assert isinstance((await fetched(source)).error, AccessError)
            assert len(server.seen) == 1


class Waiting:
    """A token file that is replaced, if `later` has tokens, while the source waits; it counts sleeps and reports."""

    def __init__(self, *later: str) -> None:
        self.text = token()
        self.sleeps = 0
        self.refusals: list[AccessError] = []
        self._later = list(later)

    def read(self) -> str:
        """Return the token, or raise the error of a file that is being replaced."""
        if self.text == "gone":
            raise UsageError("no such file")
        return self.text

    async def sleep(self, _seconds: float) -> None:
        """Count the sleep, and replace the token."""
        self.sleeps += 1
        await asyncio.sleep(0)
        if self._later:
            self.text = self._later.pop(0)

    def renewal(self, seconds: float = 60.0) -> TokenRefresh:
        """Return the refresh policy, with this object's sleep."""
        return TokenRefresh(seconds, self.refusals.append, self.sleep)


async def test_source_waits_for_new_token_when_working_token_expires() -> None:
    """All requests wait together for a new token in the file, report this once, and continue with it."""
    old, new = token(), token(sv="2026-01-01")
    waiting = Waiting(old, "gone", "", old, new)
    async with (
        FaultyServer({_KEY: _DATA}, token=old) as server,
        opened(server.url, read_token=waiting.read, renewal=waiting.renewal()) as source,
    ):
        assert (await fetched(source)).error is None
        server.token = new
        results = await asyncio.gather(*(fetched(source) for _ in range(8)))
        assert [(got.error, got.data) for got in results] == [(None, _DATA[_START:_STOP])] * 8
        assert len(waiting.refusals) == 1
        assert waiting.sleeps == 5


async def test_waiting_for_new_token_has_time_limit() -> None:
    """Without a new token, every request gets the refusal after one common wait."""
    waiting = Waiting()
    async with (
        FaultyServer({_KEY: _DATA}, token=token()) as server,
        opened(server.url, read_token=waiting.read, renewal=waiting.renewal(seconds=0.2)) as source,
    ):
        assert (await fetched(source)).error is None
        server.token = "another"
        results = await asyncio.gather(*(fetched(source) for _ in range(8)))
        assert {type(got.error) for got in results} == {AccessError}
        assert len(waiting.refusals) == 1
        assert len(server.seen) == 1 + 8


async def test_token_that_never_worked_is_reported_immediately() -> None:
    """A wrong token at the start is reported at once."""
    waiting = Waiting(token(sv="2026-01-01"))
    async with (
        FaultyServer({_KEY: _DATA}, token="another") as server,
        opened(server.url, read_token=waiting.read, renewal=waiting.renewal()) as source,
    ):
        assert isinstance((await fetched(source)).error, AccessError)
        assert (waiting.sleeps, waiting.refusals) == (0, [])


def test_https_only_token_over_http_is_reported_before_connecting() -> None:
    """Over http, the service would refuse it."""
    with pytest.raises(AccessError, match="is for https only"):
        AzureSource(ContainerAccess("http://127.0.0.1:1/models", "", lambda: token(spr="https")))
    AzureSource(ContainerAccess("http://127.0.0.1:1/models", "", lambda: token(spr="https,http")))


async def test_accepted_token_is_read_once() -> None:
    """Unless a request is refused, the token's file is not read again."""
    reads = 0

    def read_token() -> str:
        nonlocal reads
        reads += 1
        return token()

    async with FaultyServer({_KEY: _DATA}) as server, opened(server.url, read_token=read_token) as source:
        assert (await fetched(source)).error is None
        await source.read(_KEY, len(_DATA))
    assert reads == 1


# -- a service that is overloaded or down


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_overload_status_is_transient(status: int) -> None:
    """A transient status is an `UnavailableError` that names it, also without a Retry-After."""
    error = (await asked(throttled(status))).error
    assert isinstance(error, UnavailableError)
    assert error.retry_after is None
    assert f"answered {status} ServerBusy" in str(error)


async def test_retry_after_header_is_parsed_into_error() -> None:
    """Retry-After in seconds or as a date becomes `retry_after`; an invalid value is None, a past date zero."""
    in_a_minute = format_datetime(datetime.now(UTC) + timedelta(seconds=60), usegmt=True)
    for text, least, most in [("7", 7.0, 7.0), ("0", 0.0, 0.0), (in_a_minute, 50.0, 61.0)]:
        error = (await asked(throttled(retry_after=text))).error
        assert isinstance(error, UnavailableError)
        assert error.retry_after is not None
        assert least <= error.retry_after <= most
    long_ago = (await asked(throttled(429, retry_after="Thu, 01 Jan 2026 00:00:00 GMT"))).error
    assert isinstance(long_ago, UnavailableError)
    assert long_ago.retry_after == 0.0
    for nonsense in ("soon", "-5", "1.5", ""):
        error = (await asked(throttled(retry_after=nonsense))).error
        assert isinstance(error, UnavailableError)
        assert error.retry_after is None


@pytest.mark.parametrize("status", [400, 405, 409, 410, 418])
async def test_unknown_client_error_is_permanent(status: int) -> None:
    """An unknown status is a permanent `SourceError` that names it."""
    async with FaultyServer({_KEY: _DATA}, [refused(400, "InvalidQueryParameterValue")]) as server:
        server.script(Answer(Reply(status if status != 418 else 400, {})))
        async with opened(server.url) as source:
            error = (await fetched(source)).error
    assert type(error) is SourceError


# -- misleading responses


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        pytest.param(WholeObject(), UnavailableError, id="200 for a range"),
        pytest.param(OtherRange(later=5), UnavailableError, id="another range"),
        pytest.param(OtherRange(shorter=5), UnavailableError, id="a short 206 that agrees with itself"),
        pytest.param(Headers({"Content-Range": ""}), UnavailableError, id="no Content-Range"),
        pytest.param(Headers({"Content-Range": "bytes */9"}), UnavailableError, id="Content-Range of nothing"),
        pytest.param(Headers({"Content-Range": f"bytes {_START}-{_STOP - 1}/*"}), UnavailableError, id="no total"),
        pytest.param(
            Headers({"Content-Range": f"bytes {_START}-{_STOP}/1024000"}), UnavailableError, id="one too many"
        ),
        pytest.param(Headers({"Content-Length": "5"}), UnavailableError, id="short Content-Length"),
        pytest.param(Headers({"Content-Length": "NaN"}), UnavailableError, id="Content-Length: NaN"),
        pytest.param(Cut(), UnavailableError, id="closed before the answer"),
        pytest.param(Cut(at=0), UnavailableError, id="closed after the head"),
        pytest.param(Cut(at=500_000), UnavailableError, id="closed in the body"),
        pytest.param(Cut(at=899_999), UnavailableError, id="closed before the last byte"),
        pytest.param(Reset(), UnavailableError, id="reset before the answer"),
        pytest.param(Reset(at=500_000), UnavailableError, id="reset in the body"),
        pytest.param(Stall(), UnavailableError, id="silent before the answer"),
        pytest.param(Stall(at=0), UnavailableError, id="silent after the head"),
        pytest.param(Stall(at=500_000), UnavailableError, id="silent in the body"),
        pytest.param(Raw(), UnavailableError, id="no HTTP"),
        pytest.param(Raw(b""), UnavailableError, id="nothing"),
        pytest.param(Raw(b"HTTP/1.1 206 Partial\r\nContent-Ra"), UnavailableError, id="half a head"),
        pytest.param(redirect("http://127.0.0.1:1/elsewhere"), UnavailableError, id="redirect"),
        pytest.param(Answer(Reply(204, {})), UnavailableError, id="no content"),
        pytest.param(Answer(Reply(304, {})), UnavailableError, id="not modified"),
    ],
)
async def test_misleading_response_is_rejected(fault: Fault, kind: type[ModelsInitError]) -> None:
    """Each faulty response causes the right error, and the sink has received a correct prefix or nothing.

    A GET is repeated automatically if a kept connection breaks, so the fault is applied several times.
    """
    async with FaultyServer({_KEY: _DATA}, [replace(fault, times=9)]) as server, opened(server.url) as source:
        got = await fetched(source)
        server.script()
        assert type(got.error) is kind
        assert _DATA[_START:_STOP].startswith(got.data)
        assert len(got.data) < _STOP - _START
        assert not leaks(got.error_text())
        again = await fetched(source)
        assert (again.error, again.data) == (None, _DATA[_START:_STOP]), "the source can be used after the fault"


def _answer_in_chunks(*pieces: bytes) -> Raw:
    head = (
        f"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {_START}-{_STOP - 1}/{len(_DATA)}\r\n"
        "Transfer-Encoding: chunked\r\n\r\n"
    ).encode()
    return Raw(head + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (*pieces, b"")))


async def test_chunked_response_is_limited_to_requested_range() -> None:
    """Without a Content-Length, bytes are counted: too few are an error, and excess bytes are not passed on."""
    right = _DATA[_START:_STOP]
    exact = await asked(_answer_in_chunks(right[:100], right[100:]))
    assert (exact.error, exact.data) == (None, right)
    more = await asked(_answer_in_chunks(right, b"and more"))
    assert (more.error, more.data) == (None, right)
    less = await asked(_answer_in_chunks(right[:-1]))
    assert type(less.error) is UnavailableError
    assert less.data == right[:-1]


async def test_blob_replaced_between_ranges_is_reported() -> None:
    """Every range after the first must be of the same blob, by ETag and If-Match, or it is a `WrongBytesError`."""
    async with FaultyServer({_KEY: _DATA}) as server, opened(server.url) as source:
        assert (await fetched(source)).error is None
        assert "if-match" not in server.seen[0].headers
        assert (await fetched(source)).error is None
        etag = server.seen[1].headers["if-match"]
        server.objects[_KEY] = bytes(len(_DATA))
        replaced = await fetched(source)
        assert (server.seen[2].headers["if-match"], server.seen[2].status) == (etag, 412)
        assert type(replaced.error) is WrongBytesError
        assert "was replaced while it was fetched; run again" in str(replaced.error)
        assert replaced.data == b""


async def test_non_ascii_etag_is_compared_but_not_sent() -> None:
    """Such an ETag cannot be sent in a header; a changed blob is detected by the ETag of the response."""
    odd, new = Headers({"ETag": '"\xe9"'}, times=2), Headers({"ETag": '"new"'}, after=2)
    async with FaultyServer({_KEY: _DATA}, [odd, new]) as server, opened(server.url) as source:
        assert [(await fetched(source)).error for _ in range(2)] == [None, None]
        assert isinstance((await fetched(source)).error, WrongBytesError)
        assert not any("if-match" in seen.headers for seen in server.seen)


async def test_changed_etag_is_detected_if_server_ignores_if_match() -> None:
    """If a server ignores If-Match, the ETag of its response is checked before any byte is passed on."""
    async with (
        FaultyServer({_KEY: _DATA}, [Headers({"ETag": '"new"'}, after=1)]) as server,
        opened(server.url) as source,
    ):
        assert (await fetched(source)).error is None
        got = await fetched(source)
    assert type(got.error) is WrongBytesError
    assert got.data == b""


async def test_etags_are_kept_per_blob() -> None:
    """ETags are stored per blob."""
    async with FaultyServer({_KEY: _DATA, "other": _DATA[::-1]}) as server, opened(server.url) as source:
        assert (await fetched(source)).error is None
        other = await fetched(source, key="other")
        assert (other.error, other.data) == (None, _DATA[::-1][_START:_STOP])


async def test_blob_with_content_encoding_is_not_decoded(container: Azurite) -> None:
    """A blob with Content-Encoding: gzip is not decoded, because digests are of the stored bytes."""
    container.put("encoded", _DATA, encoding="gzip")
    async with opened(container.container_url, read_token=container.sas) as source:
        assert await source.read("encoded", len(_DATA)) == _DATA
        assert (await fetched(source, key="encoded")).data == _DATA[_START:_STOP]


@pytest.mark.parametrize("fault", [Cut(at=10), Reset(at=10), Stall(at=10), Raw(), throttled()], ids=repr)
async def test_incomplete_document_is_never_returned(fault: Fault) -> None:
    """An incomplete document is never returned."""
    async with FaultyServer({_KEY: _DATA}, [fault, fault]) as server, opened(server.url) as source:
        with pytest.raises(UnavailableError):
            await source.read(_KEY, len(_DATA))


# -- lists


def _page(*names: str, marker: str = "") -> Answer:
    entries = "".join(f"<BlobPrefix><Name>{name}</Name></BlobPrefix>" for name in names)
    body = f"<Blobs>{entries}</Blobs><NextMarker>{escape(marker)}</NextMarker>"
    return Answer(Reply(200, {}, f"<?xml version='1.0'?><EnumerationResults>{body}</EnumerationResults>".encode()))


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [(not_public(), SourceError), (refused(404, "BlobNotFound"), SourceError), (throttled(), UnavailableError)],
)
async def test_error_of_redirect_target_does_not_blame_token(refusal: Answer, kind: type[ModelsInitError]) -> None:
    """The other host did not receive the token, so its refusal is reported as the host's own."""
    async with FaultyServer({_KEY: _DATA}) as server, FaultyServer({_KEY: _DATA}, [refusal]) as other:
        server.script(redirect(f"{other.url}/{_KEY}"))
        async with opened(server.url) as source:
            error = (await fetched(source)).error
    assert type(error) is kind
    assert "redirects to 127.0.0.1" in str(error)
    assert "the SAS token" not in str(error)


async def test_web_page_instead_of_document_is_transient_error() -> None:
    """A captive portal answers 200 with a web page: a transient error that names the page."""
    page = Answer(Reply(200, {"Content-Type": "text/html; charset=utf-8"}, b"<html>please log in</html>"))
    async with FaultyServer({_KEY: _DATA}, [page]) as server, opened(server.url) as source:
        with pytest.raises(UnavailableError, match="answered with a web page instead of"):
            await source.read(_KEY, len(_DATA))
        assert await source.read(_KEY, len(_DATA)) == _DATA


async def test_all_pages_of_blob_list_are_read() -> None:
    """The next page is requested with the previous page's marker, whatever characters it has."""
    pages = [_page("realtime/b/", marker="2!8&=?+/"), _page(marker="3"), _page("realtime/a/", "realtime/c/")]
    async with FaultyServer({}, pages) as server, opened(server.url, "realtime/") as source:
        assert await source.names("") == ["a", "b", "c"]
        assert [query.partition("marker=")[2].partition("&")[0] for query in (seen.query for seen in server.seen)] == [
            "", "2%218%26%3D%3F%2B%2F", "3",
        ]  # fmt: skip
        assert all("prefix=realtime%2F&" in seen.query for seen in server.seen)


_UNKNOWN_ENCODINGS = [b'<?xml version="1.0" encoding="%b"?><a/>' % name for name in (b"Shift_JIS", b"unheard-of")]
"""Of pages by proxies; expat cannot decode them."""


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff\xfe", b'{"json": 1}', b"<a>" * 1000, *_UNKNOWN_ENCODINGS])
async def test_unreadable_blob_list_is_permanent_error(body: bytes) -> None:
    """A response that is not the XML of a list is not retried, because it only adds advice to another error."""
    async with FaultyServer({}, [Answer(Reply(200, {}, body))]) as server, opened(server.url) as source:
        with pytest.raises(SourceError, match="something else than a list of blobs") as error:
            await source.names("")
        assert not isinstance(error.value, UnavailableError)


@pytest.mark.parametrize("suffix", ["", "/", "//"])
@pytest.mark.parametrize("prefix", ["", "realtime/", "a/b c/"])
async def test_url_and_prefix_are_joined(suffix: str, prefix: str) -> None:
    """A slash at the URL's end changes nothing; the prefix may be empty, or need encoding."""
    async with FaultyServer({f"{prefix}{_KEY}": _DATA}) as server, opened(server.url + suffix, prefix) as source:
        assert (await fetched(source)).error is None
        assert source.name == f"{server.url}/{prefix}"


# -- TLS and proxies


async def test_untrusted_certificate_is_not_retried(certificates: Certificates) -> None:
    """An unknown authority is a permanent error that names the remedy and is not retried."""
    async with FaultyServer({_KEY: _DATA}, tls=certificates.server_context()) as server, opened(server.url) as source:
        clock = RetryLog()
        patient = RetryingSource(source, RetryPolicy(sleep=clock.sleep, clock=clock), clock)
        with pytest.raises(SourceError, match=r"certificate of .* is not trusted.*MODELS_CA_FILE") as refused:
            await patient.read(_KEY, len(_DATA))
        assert type(refused.value) is SourceError
    assert clock.reported == []


@asynccontextmanager
async def without_tls(answer: bytes) -> AsyncIterator[str]:
    """Serve an https URL whose TLS handshakes are answered with these bytes."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/models"


@pytest.mark.parametrize("answer", [b"", b"\x16\x03\x03"], ids=["at once", "amid a record"])
async def test_interrupted_tls_handshake_is_transient(certificates: Certificates, answer: bytes) -> None:
    """A connection that ends during the TLS handshake is a transient error, and no certificate is blamed."""
    async with without_tls(answer) as url, opened(url, ca_file=str(certificates.authority)) as source:
        error = (await fetched(source)).error
    assert type(error) is UnavailableError
    assert "certificate" not in str(error)


async def test_https_to_server_without_tls_is_reported(certificates: Certificates) -> None:
    """If a server has no TLS, the message does not blame a certificate."""
    answer = b"HTTP/1.1 400 Bad Request\r\n\r\n"
    async with without_tls(answer) as url, opened(url, ca_file=str(certificates.authority)) as source:
        error = (await fetched(source)).error
    assert isinstance(error, SourceError)
    assert "certificate" not in str(error)
    assert "TLS" in str(error)


async def test_http_to_server_with_tls_is_source_error(certificates: Certificates) -> None:
    """If a server requires TLS, its answer to http is not HTTP."""
    async with (
        FaultyServer({_KEY: _DATA}, tls=certificates.server_context()) as server,
        opened(server.url.replace("https:", "http:")) as source,
    ):
        assert isinstance((await fetched(source)).error, SourceError)


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
async def test_unusable_ca_file_is_reported_before_request(tmp_path: Path, content: bytes | None) -> None:
    """A CA file that is missing or contains no certificate is a `UsageError` that names it; nothing is sent."""
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    async with FaultyServer({_KEY: _DATA}) as server, opened(server.url, ca_file=str(path)) as source:
        with pytest.raises(
            UsageError, match=rf"MODELS_CA_FILE={path} (cannot be read|is empty|contains no certificate)"
        ):
            await source.read(_KEY, 100)
        assert server.seen == []


async def test_unreachable_server_is_transient() -> None:
    """A refused connection and an unknown name are `UnavailableError`s that name the host."""
    for url in (f"http://127.0.0.1:{free_port()}/models", "http://nowhere.invalid/models"):
        async with opened(url) as source:
            error = (await fetched(source)).error
        assert isinstance(error, UnavailableError)
        assert url.split("/")[2] in str(error)


async def test_unreachable_proxy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment's proxy is used, and if it cannot be reached, the message names only the proxy."""
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    async with opened("http://example.invalid/models") as source:
        error = (await fetched(source)).error
    assert isinstance(error, UnavailableError)
    assert "the proxy cannot be reached" in str(error)


async def test_proxy_of_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests go through the environment's proxy, unless the host is exempt."""
    async with FaultyServer({f"http://nowhere.invalid/models/{_KEY}": _DATA, _KEY: _DATA}) as server:
        monkeypatch.setenv("http_proxy", server.url.removesuffix("/models"))
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        for url in ("http://nowhere.invalid/models", server.url):
            async with opened(url) as source:
                assert (await fetched(source)).error is None
        assert [seen.key for seen in server.seen] == [f"http://nowhere.invalid/models/{_KEY}", _KEY]


@pytest.mark.parametrize("status", [403, 407])
async def test_refusal_by_proxy_is_permanent_and_named(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    """A proxy that refuses the host or requires a password is a permanent error that names the proxy."""
    answer = f"HTTP/1.1 {status} No\r\nContent-Length: 0\r\n\r\n".encode()
    async with without_tls(answer) as proxy:
        monkeypatch.setenv("https_proxy", proxy.replace("https:", "http:").removesuffix("/models"))
        monkeypatch.delenv("no_proxy", raising=False)
        async with opened("https://nowhere.invalid/models") as source:
            error = (await fetched(source)).error
    assert type(error) is SourceError
    assert f"the proxy refuses to connect to nowhere.invalid: it answered {status}" in str(error)


async def test_netrc_credentials_are_not_sent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Credentials in ~/.netrc are not sent: Azure refuses them in addition to a token, and they are for other uses."""
    (tmp_path / "netrc").write_text("default login anonymous password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    async with FaultyServer({_KEY: _DATA}) as server, opened(server.url) as source:
        assert (await fetched(source)).error is None
        assert "authorization" not in server.seen[0].headers


# -- the secret


async def test_token_appears_in_no_error_or_log(caplog: pytest.LogCaptureFixture) -> None:
    """The token is in no message, repr or traceback of any error, and in no log at debug level, including asyncio's."""
    caplog.set_level(logging.DEBUG)
    asyncio.get_running_loop().set_debug(enabled=True)
    texts: list[str] = []
    faults: Sequence[Fault] = [
        *(expired(times=1), not_public(times=1), refused(400, "InvalidInput", times=1), throttled()),
        *(redirect("http://127.0.0.1:1/?sig=x", times=1), Raw(), WholeObject(), OtherRange(later=1)),
        *(Cut(times=2), Cut(at=10), Reset(times=2), Reset(at=10), Stall(), Stall(at=10)),
    ]
    async with FaultyServer({_KEY: _DATA}, faults) as server, opened(server.url, idle_limit=0.05) as source:
        while (got := await fetched(source)).error is not None:
            texts.append(got.error_text())
        texts += [repr(source), str(source), source.name, repr(SasToken.make(token()))]
    async with opened(f"http://127.0.0.1:{free_port()}/models") as source:
        texts.append((await fetched(source)).error_text())
    repeated = 2  # aiohttp itself repeats a request once if the connection ends before the response
    assert len(texts) == sum(fault.times for fault in faults) - repeated + 4 + 1
    assert not [text for text in texts if leaks(text)]
    assert not leaks("\n".join(f"{record.name} {record.getMessage()} {record.exc_text}" for record in caplog.records))


async def test_requests_have_user_agent_and_accept_no_compression() -> None:
    """Each request has the program's name, and asks for bytes as they are stored."""
    async with FaultyServer({_KEY: _DATA}) as server, opened(server.url) as source:
        await fetched(source)
        headers = server.seen[0].headers
        assert headers["user-agent"].startswith("models_init/")
        assert headers["accept-encoding"] == "identity"
        assert headers["range"] == f"bytes={_START}-{_STOP - 1}"
