"""A missing version is reported without delay, even if the source cannot list the versions that exist."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.services.faults import Answer
from tests.services.faulty import FOREVER, FaultyServer, Reply
from tests.site import DUTCH, in_container
from tests.tokens import token

if TYPE_CHECKING:
    from tests.site import Packs, Site


@pytest.mark.parametrize(
    "page", [b"<html><body>Welcome</body>", b'{"items": []}', b""], ids=["HTML", "JSON", "nothing"]
)
async def test_missing_version_is_reported_without_retry_if_list_is_not_xml(
    site: Site, packs: Packs, page: bytes
) -> None:
    """The list only adds advice; a response that is not a list is not requested again."""
    not_a_list = Answer(Reply(200, {"Content-Type": "text/html"}, page), on="", times=FOREVER)
    async with FaultyServer(packs.objects(), [not_a_list]) as server:
        away = site.but(**in_container(packs, server.url, token())).but(REALTIME_LANGUAGE_VERSION="1999.01")
        done = await asyncio.to_thread(away.run)
        url, lists = server.url, [seen for seen in server.seen if "comp=list" in seen.query]
    assert done.code == 21
    assert done.fault.startswith(f"{DUTCH.name} 1999.01 is not at {url}/realtime/ (")
    assert "retrying" not in done.steps
    assert len(lists) == 1
