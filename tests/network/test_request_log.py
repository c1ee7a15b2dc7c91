"""With MODELS_LOG_LEVEL=debug, each request to the source is logged."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from tests.network.cases import ARCHIVES
from tests.network.trial import run
from tests.services.faultproxy import FaultProxy
from tests.services.proxyfaults import fault

if TYPE_CHECKING:
    from pathlib import Path

    from tests.network.trial import PublishedPacks


_PADDING = 64 << 10  # bytes at most of the tar headers and padding that are not fetched


def _requests(log: str) -> list[dict[str, Any]]:
    events = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    return [event for event in events if event["event"] == "request"]


async def test_each_request_is_logged_at_debug_level_without_token(published: PublishedPacks, volume: Path) -> None:
    """Status, bytes, seconds and connection of each request; a failed one has its error, and no line has the token."""
    token = await asyncio.to_thread(published.container.sas)
    async with FaultProxy(published.container.origin, fault("500", times=1, on=ARCHIVES)) as proxy:
        outcome = await run(
            published, proxy, volume, MODELS_SAS_TOKEN=token, MODELS_LOG_LEVEL="debug", MODELS_LOG_FORMAT="json"
        )
        assert outcome.done.code == 0, outcome.done.err
        logged = _requests(outcome.done.err)
        assert sorted((event["url"], event["status"]) for event in logged) == sorted(
            (f"{proxy.origin}{seen.path}", seen.status) for seen in proxy.seen
        )
    assert sum(event["received_bytes"] for event in logged if event["status"] == 206) > published.archives - _PADDING
    assert all(event["took_seconds"] >= 0 and event["connection"] > 0 for event in logged)
    assert {event["level"] for event in logged} == {"debug"}
    assert any(event.get("range", "").startswith("bytes=") for event in logged)
    assert parse_qs(token)["sig"][0] not in outcome.done.err
    assert "sig=" not in outcome.done.err


async def test_check_logs_each_request_at_debug_level(published: PublishedPacks, volume: Path) -> None:
    """The requests of the probe, before the first manifest, are logged as well; there are no other events."""
    async with FaultProxy(published.container.origin) as proxy:
        site = published.site(proxy, volume, MODELS_LOG_LEVEL="debug", MODELS_LOG_FORMAT="json")
        done = await asyncio.to_thread(site.run, "--check")
        assert done.code == 0, done.out
        logged = _requests(done.err)
        assert sorted((event["url"], event["status"]) for event in logged) == sorted(
            (f"{proxy.origin}{seen.path}", seen.status) for seen in proxy.seen
        )
        assert len(logged) == len(done.err.splitlines())
        quiet = await asyncio.to_thread(site.run, "--check", MODELS_LOG_LEVEL="info")
    assert quiet.err == ""


async def test_requests_are_not_logged_at_info_level(published: PublishedPacks, volume: Path) -> None:
    """A pack of some GB needs thousands of requests."""
    async with FaultProxy(published.container.origin) as proxy:
        outcome = await run(published, proxy, volume, MODELS_LOG_FORMAT="json")
    assert outcome.done.code == 0, outcome.done.err
    assert _requests(outcome.done.err) == []


async def test_request_without_response_is_logged_with_its_error(published: PublishedPacks, volume: Path) -> None:
    """The log line has no status and no connection."""
    async with FaultProxy(published.container.origin, fault("hangup", times=16, on=ARCHIVES)) as proxy:
        outcome = await run(published, proxy, volume, MODELS_LOG_LEVEL="debug", MODELS_LOG_FORMAT="json")
    assert outcome.done.code == 0, outcome.done.err
    failed = [event for event in _requests(outcome.done.err) if not event["status"]]
    assert failed
    assert all("closed the connection" in event["error"] for event in failed)
