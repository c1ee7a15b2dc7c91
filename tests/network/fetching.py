"""Send requests as the program does; no other module of these tests uses the HTTP client's interface."""

from __future__ import annotations

from typing import NamedTuple

from models_init.sources.http.client import HttpClient, TransportOptions

_LIMIT = 1 << 20


class Fetched(NamedTuple):
    """A response, and a description of the connection."""

    status: int
    data: bytes
    way: str


async def fetch_via(url: str, *, ca_file: object = "", times: int = 1) -> Fetched:
    """Request a URL `times` times with one client; return the last response. The proxy is that of the environment."""
    client = HttpClient(url, TransportOptions(idle_limit=10.0, ca_file=str(ca_file)))
    try:
        for _ in range(times):
            response = await client.get(url)
            try:
                data = await response.body(_LIMIT, url)
            finally:
                response.release()
        return Fetched(response.status, data, client.connection_summary)
    finally:
        await client.close()
