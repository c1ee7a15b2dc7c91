"""Where HTTP may lead, and with what: redirects, drips, and a token that stays at home."""

from __future__ import annotations

import pytest

from models_init.errors import SourceError, UnavailableError
from models_init.sources.http import Http, Line
from tests.parts.faults import Trickle, redirect
from tests.parts.faulty import FaultyServer
from tests.tokens import CANARY, leaks, token

_KEY = "nl-nl/2026.04/manifest.json"
_DATA = b"0123456789" * 10_000


async def asked(server: FaultyServer, *, idle_limit: float = 5.0, size: int = 10) -> bytes:
    """Ask a server for the object, with the token."""
    http = Http(server.url, Line(idle_limit))
    try:
        answer = await http.get(f"{server.url}/{_KEY}", token(), {"Range": f"bytes=0-{size - 1}"})
        try:
            return await answer.body(1 << 20, "it")
        finally:
            answer.release()
    finally:
        await http.close()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_on_the_same_server_keeps_the_token(status: int) -> None:
    """The service itself sends on: the second request bears the token too, once, and the range."""
    async with FaultyServer({_KEY: _DATA, "moved": _DATA}) as server:
        server.script(redirect(f"{server.url}/moved", status=status, times=1))
        assert await asked(server) == _DATA[:10]
        assert [(seen.key, seen.query, seen.range) for seen in server.seen] == [
            (_KEY, token(), (0, 10)),
            ("moved", token(), (0, 10)),
        ]


@pytest.mark.parametrize("query", ["", "?a=b", f"?{token()}", f"?x=1&sig={CANARY}"])
async def test_a_redirect_to_another_host_carries_no_token(query: str) -> None:
    """Another port is another server: it gets neither query nor header of ours, even if the redirect repeats it."""
    async with FaultyServer({_KEY: _DATA}) as server, FaultyServer({_KEY: _DATA}) as other:
        server.script(redirect(f"{other.url}/{_KEY}{query}", times=1))
        assert await asked(server) == _DATA[:10]
        [seen] = other.seen
        assert not leaks(f"{seen.path} {seen.query} {dict(seen.headers)}")
        assert not seen.signed
        assert seen.range == (0, 10)
        assert seen.query == ("a=b" if query == "?a=b" else "")


async def test_a_redirect_there_and_back_is_signed_again() -> None:
    """Back at the service the token is due again."""
    async with FaultyServer({_KEY: _DATA}) as server, FaultyServer({_KEY: _DATA}) as other:
        server.script(redirect(f"{other.url}/{_KEY}", times=1))
        other.script(redirect(f"{server.url}/{_KEY}", times=1))
        assert await asked(server) == _DATA[:10]
        assert [seen.query for seen in server.seen] == [token()] * 2


async def test_a_circle_ends() -> None:
    """After five redirects it is an error that will not pass."""
    async with FaultyServer({_KEY: _DATA}) as server:
        server.script(redirect(f"{server.url}/{_KEY}"))
        with pytest.raises(SourceError, match="redirects in a circle") as error:
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
        *("http://[::1/x", "http://[x]/", "/a b", "/\xe9"),
    ],
)
async def test_a_redirect_to_nowhere_is_an_error(location: str) -> None:
    """Only web addresses are followed."""
    async with FaultyServer({_KEY: _DATA}) as server:
        server.script(redirect(location))
        with pytest.raises(SourceError, match="no web address"):
            await asked(server)


async def test_a_redirects_fragment_is_of_no_account() -> None:
    """The token goes into the query, not behind what is never sent."""
    async with FaultyServer({_KEY: _DATA, "moved": _DATA}) as server:
        server.script(redirect(f"{server.url}/moved#part", times=1))
        assert await asked(server) == _DATA[:10]
        assert (server.seen[1].key, server.seen[1].query) == ("moved", token())


async def test_no_redirect_leads_out_of_tls() -> None:
    """What began with https goes on with https, or not at all."""
    http = Http("https://models.invalid/x", Line())
    with pytest.raises(SourceError, match=r"redirects to http://elsewhere\.invalid, without encryption"):
        http._moved("https://models.invalid/x/y", "http://user:secret@elsewhere.invalid/y", token())


async def test_a_drip_is_no_answer() -> None:
    """A byte now and then keeps the idle limit from firing; less than a kibibyte a second is a fault that may pass."""
    async with FaultyServer({_KEY: _DATA}, [Trickle(at=3, every=0.02)]) as server:
        with pytest.raises(UnavailableError, match="sends next to nothing"):
            await asked(server, idle_limit=0.3, size=10_000)
