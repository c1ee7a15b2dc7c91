"""A cache between site and container that has wrong bytes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.services.faults import CorruptingCache
from tests.services.faulty import FOREVER, FaultyServer
from tests.site import COMMON, DUTCH, archive_key, in_container
from tests.tokens import token

if TYPE_CHECKING:
    from tests.site import Done, Packs, Site


async def _install(site: Site, packs: Packs, *, stubborn: bool) -> tuple[Done, list[str]]:
    """Install through a cache that has one wrong byte; return the run and the Cache-Control of all ranges."""
    key = archive_key(DUTCH)
    chunk = next(iter(packs.manifest(DUTCH).placements())).chunk
    cache = CorruptingCache(at=chunk.offset + chunk.length // 2, stubborn=stubborn, on=key, times=FOREVER)
    async with FaultyServer(packs.objects(), [cache]) as server:
        done = await asyncio.to_thread(site.but(**in_container(packs, server.url, token())).run)
    return done, [seen.headers.get("cache-control", "") for seen in server.seen if seen.key == key]


async def test_wrong_chunk_of_cache_is_fetched_past_the_cache(site: Site, packs: Packs) -> None:
    """The install succeeds; only the requests after the wrong chunk bypass caches."""
    done, headers = await _install(site, packs, stubborn=False)
    assert done.code == 0, done.err
    assert packs.differences(site, COMMON, DUTCH) == []
    assert headers[0] == ""
    assert headers[-1] == "no-cache"


async def test_wrong_chunk_of_stubborn_cache_names_the_cache(site: Site, packs: Packs) -> None:
    """The message does not blame the publisher first."""
    done, headers = await _install(site, packs, stubborn=True)
    assert done.code == 30
    assert headers[-1] == "no-cache"
    assert "it came through a cache (Via: 1.1 cache.example (squid/5.7), Age: 86400): clear that cache" in done.fault
    assert done.fault.index("clear that cache") < done.fault.index("the publisher must upload")
