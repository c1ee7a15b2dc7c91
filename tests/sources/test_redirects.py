"""Redirects are followed, with credentials only for the first origin, or returned; slow bodies are aborted."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urljoin

import pytest

from models_init.core.errors import SourceError, UnavailableError
from models_init.sources.http.client import Credentials, HttpClient, TransportOptions
from tests.services.faults import Trickle, redirect
from tests.services.faulty import FaultyServer
from tests.tokens import CANARY, leaks, token

if TYPE_CHECKING:
    from tests.services.certificates import Certificates

_KEY = "nl-nl/2026.04/manifest.json"
_DATA = b"0123456789" * 10_000


_SECRET = f"Bearer {CANARY}"


async def asked(server: FaultyServer, *, idle_limit: float = 5.0, size: int = 10) -> bytes:
    """Request the object with a token and an Authorization header."""
    client = HttpClient(server.url, TransportOptions(idle_limit))
    credentials = Credentials(token(), (("Authorization", _SECRET),))
    try:
        response = await client.get(f"{server.url}/{_KEY}", {"Range": f"bytes=0-{size - 1}"}, credentials)
        try:
            return await response.body(1 << 20, "it")
        finally:
            response.release()
    finally:
        await client.close()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirect_on_same_server_keeps_token(status: int) -> None:
    """The second request has the token (once), the Authorization header and the range."""
    async with FaultyServer({_KEY: _DATA, "moved": _DATA}) as server:
        server.script(redirect(f"{server.url}/moved", status=status, times=1))
        assert await asked(server) == _DATA[:10]
        assert [(seen.key, seen.query, seen.range) for seen in server.seen] == [
            (_KEY, token(), (0, 10)),
            ("moved", token(), (0, 10)),
        ]
        assert [seen.headers["authorization"] for seen in server.seen] == [_SECRET] * 2


@pytest.mark.parametrize("query", ["", "?a=b", f"?{token()}", f"?x=1&sig={CANARY}"])
async def test_redirect_to_other_host_carries_no_credentials(query: str) -> None:
    """Another port is another origin: it gets neither query nor credentials, even if the redirect repeats them."""
    async with FaultyServer({_KEY: _DATA}) as server, FaultyServer({_KEY: _DATA}) as other:
        server.script(redirect(f"{other.url}/{_KEY}{query}", times=1))
        assert await asked(server) == _DATA[:10]
        [seen] = other.seen
        assert not leaks(f"{seen.path} {seen.query} {dict(seen.headers)}")
        assert not seen.signed
        assert "authorization" not in seen.headers
        assert seen.range == (0, 10)
        assert seen.query == ("a=b" if query == "?a=b" else "")


async def test_redirect_back_to_first_host_carries_token_again() -> None:
    """Back at the first origin, both credentials are sent again."""
    async with FaultyServer({_KEY: _DATA}) as server, FaultyServer({_KEY: _DATA}) as other:
        server.script(redirect(f"{other.url}/{_KEY}", times=1))
        other.script(redirect(f"{server.url}/{_KEY}", times=1))
        assert await asked(server) == _DATA[:10]
        assert [(seen.query, seen.headers["authorization"]) for seen in server.seen] == [(token(), _SECRET)] * 2


async def test_redirect_loop_is_error() -> None:
    """More than five redirects are a permanent error."""
    async with FaultyServer({_KEY: _DATA}) as server:
        server.script(redirect(f"{server.url}/{_KEY}"))
        with pytest.raises(SourceError, match="redirects in a loop") as error:
            await asked(server)
        assert type(error.value) is SourceError
        assert len(server.seen) == 6
        assert not leaks(str(error.value))


@pytest.mark.parametrize(
    "location",
    [
        *(
            "ftp://example.com/x",
            "file:///etc/passwd",
            "https:///nothing",
            "http://x:99999/",
            "http://x:y/",
            "http://x:0/",
        ),
        *(
            "http://[::1/x",
            "http://[x]/",
            "/a b",
            "/\xe9",
            r"http://a\b/",
            r"http://u\v@a/",
            "http://a[::1]/",
            "http://[::1]a/",
        ),
    ],
)
async def test_redirect_to_invalid_address_is_error(location: str) -> None:
    """Only web addresses are followed."""
    async with FaultyServer({_KEY: _DATA}) as server:
        server.script(redirect(location))
        with pytest.raises(SourceError, match="not a web address"):
            await asked(server)


async def test_fragment_of_redirect_is_ignored() -> None:
    """The token is added to the query, not to the fragment, which is never sent."""
    async with FaultyServer({_KEY: _DATA, "moved": _DATA}) as server:
        server.script(redirect(f"{server.url}/moved#part", times=1))
        assert await asked(server) == _DATA[:10]
        assert (server.seen[1].key, server.seen[1].query) == ("moved", token())


async def test_redirect_from_https_to_http_is_error(certificates: Certificates) -> None:
    """A request that began with https never continues without encryption."""
    async with FaultyServer({_KEY: _DATA}, tls=certificates.server_context()) as server:
        server.script(redirect("http://user:secret@elsewhere.invalid/y"))
        client = HttpClient(server.url, TransportOptions(ca_file=str(certificates.authority)))
        with pytest.raises(SourceError, match=r"redirects to http://elsewhere\.invalid, without encryption"):
            await client.get(f"{server.url}/{_KEY}")
        await client.close()


@pytest.mark.parametrize(
    "location", ["https://elsewhere.invalid/blob?sig=signed", "/blob?sig=signed", "blob?sig=signed"]
)
async def test_redirect_is_returned_if_not_followed(location: str) -> None:
    """With `follow_redirects=False` the caller gets the redirect and its absolute target URL."""
    async with FaultyServer({_KEY: _DATA}) as server:
        server.script(redirect(location))
        client = HttpClient(server.url, TransportOptions())
        response = await client.get(f"{server.url}/nl-nl/{_KEY}", follow_redirects=False)
        response.release()
        await client.close()
        directory = f"{server.url}/nl-nl/nl-nl/2026.04/"
        assert (response.status, response.location) == (307, urljoin(directory, location))
        assert len(server.seen) == 1


async def test_repr_of_credentials_shows_no_secret() -> None:
    """The repr, which may be in a traceback or a log line, shows no credentials."""
    assert not leaks(repr(Credentials(token(), (("Authorization", _SECRET),))))


async def test_slow_body_times_out() -> None:
    """Single bytes keep the idle limit from firing; less than 1 KiB/s is a transient error."""
    async with FaultyServer({_KEY: _DATA}, [Trickle(at=3, every=0.02)]) as server:
        with pytest.raises(UnavailableError, match="sends almost no bytes"):
            await asked(server, idle_limit=0.3, size=10_000)
