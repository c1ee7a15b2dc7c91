"""A pack that is republished under the same version while it is fetched."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.network.trial import PublishedPacks, build_incompressible, publish, run
from tests.samples import MIB, upgrade
from tests.services.faultproxy import FaultProxy
from tests.site import DUTCH, PREFIX

if TYPE_CHECKING:
    from pathlib import Path

    from tests.services.azurite import Azurite


async def test_pack_republished_during_install_is_reported_and_not_mixed(
    azurite: Azurite, volume: Path, tmp_path: Path
) -> None:
    """The run ends with exit code 30 and activates nothing; the next one installs the new pack completely."""
    old = build_incompressible(tmp_path / "old", 48 * MIB)
    new = build_incompressible(tmp_path / "new", 48 * MIB, changed=upgrade)
    assert old.manifest(DUTCH).archive != new.manifest(DUTCH).archive
    published = publish(old, azurite)
    async with FaultProxy(published.container.origin) as proxy:
        running = asyncio.create_task(run(published, proxy, volume, MODELS_CONNECTIONS="2", MODELS_IDLE_SECONDS="30"))
        await proxy.carries(20 * MIB)
        proxy.gate.clear()
        await asyncio.to_thread(published.container.put_tree, new.directory, PREFIX)
        proxy.gate.set()
        first = await running
        assert first.done.code == 30, first.done.err
        assert "was replaced while it was fetched" in first.done.fault
        assert not (volume / "current").exists()
        second = await run(PublishedPacks(new, published.container), proxy, volume)
    assert (second.done.code, second.differences) == (0, []), second.done.err
