"""A pack whose archive the storage account has moved to the archive tier."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.network.trial import publish, run
from tests.services.faultproxy import FaultProxy
from tests.site import DUTCH, PREFIX

if TYPE_CHECKING:
    from pathlib import Path

    from tests.network.trial import PublishedPacks
    from tests.services.azurite import Azurite


@pytest.mark.parametrize("name", ["manifest.json", "pack.tar.zst"])
async def test_archived_blob_ends_install_without_retry(
    azurite: Azurite, published: PublishedPacks, volume: Path, name: str
) -> None:
    """The run ends with exit code 21 at once, and the message names the blob and what the publisher must do."""
    archived = await asyncio.to_thread(publish, published.packs, azurite)
    await asyncio.to_thread(archived.container.archive, f"{PREFIX}{DUTCH.name}/{DUTCH.version}/{name}")
    async with FaultProxy(archived.container.origin) as proxy:
        outcome = await run(archived, proxy, volume)
    assert outcome.done.code == 21, outcome.done.err
    assert f"{DUTCH.version}/{name} is in the archive tier, where it cannot be read; ask" in outcome.done.fault
    assert "retrying" not in outcome.done.steps
