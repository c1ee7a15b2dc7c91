"""One request as the program makes it: the only place of these tests that knows the HTTP client's interface."""

from __future__ import annotations

from typing import NamedTuple

from models_init.sources.http import Http, Line

_LIMIT = 1 << 20


class Fetched(NamedTuple):
    """An answer, and how the connection was made, in words."""

    status: int
    data: bytes
    way: str


async def fetch_via(url: str, *, ca_file: object = "", times: int = 1) -> Fetched:
    """Ask for a URL with one client, so many times; return the last answer. The proxy is that of the environment."""
    client = Http(url, Line(idle_limit=10.0, ca_file=str(ca_file)))
    try:
        for _ in range(times):
            answer = await client.get(url, "", {})
            try:
                data = await answer.body(_LIMIT, url)
            finally:
                answer.release()
        return Fetched(answer.status, data, client.way)
    finally:
        await client.close()
