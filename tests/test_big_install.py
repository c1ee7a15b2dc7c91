"""Installs of realistic size: packs of over 1 GiB in a real container, and a process that is killed repeatedly."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import big
from tests.big import COMMON, DUTCH
from tests.samples import MIB, same_tree
from tests.services.faultproxy import FaultProxy
from tests.site import COMMON as OLD_COMMON
from tests.site import DUTCH as OLD_DUTCH
from tests.site import Site

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.services.azurite import Azurite
    from tests.site import Packs

_KILLS = 20
_IN_FLIGHT = 64 * MIB
"""Bytes that a kill may cost at most."""


@pytest.fixture(scope="module")
def ground() -> Iterator[Path]:
    """A temporary directory for gigabytes of data, which pytest would keep."""
    with tempfile.TemporaryDirectory(prefix="big-") as directory:
        yield Path(directory)


@pytest.fixture(scope="module")
def big_packs(ground: Path) -> Packs:
    return big.build(ground / "vendor")


@pytest.fixture(scope="module")
def published(azurite: Azurite, big_packs: Packs) -> Azurite:
    container = azurite.fresh_container()
    big.publish(big_packs, container)
    return container


@pytest.fixture
def volume(ground: Path) -> Iterator[Path]:
    directory = ground / "models"
    yield directory
    shutil.rmtree(directory)


def differences(packs: Packs, site: Site) -> str:
    """Compare the active packs with the published ones by `diff -r`."""
    pairs = [(packs.trees[ref], site.active(ref.name).resolve()) for ref in (COMMON, DUTCH)]
    runs = [subprocess.run(["diff", "-r", *pair], capture_output=True, text=True, check=False) for pair in pairs]
    return "".join(done.stdout + done.stderr for done in runs)


def test_packs_of_real_size_are_installed_unchanged(published: Azurite, big_packs: Packs, volume: Path) -> None:
    """Two packs of over 1 GiB and 3,000 files, one of them over 512 MiB, equal the published ones, in one release."""
    manifests = [big_packs.manifest(ref) for ref in (COMMON, DUTCH)]
    assert sum(manifest.size for manifest in manifests) > 1 << 30
    assert sum(len(manifest.files) for manifest in manifests) > 3000
    assert max(file.size for manifest in manifests for file in manifest.files) > 512 * MIB
    site = Site(volume, big.environment(published.container_url, published.sas("rl")))
    done = site.run("--json")
    assert (done.code, done.json["activated"]) == (0, True)
    assert differences(big_packs, site) == ""
    assert [same_tree(big_packs.trees[ref], site.active(ref.name).resolve()) for ref in (COMMON, DUTCH)] == [[], []]
    assert done.json["bytes_fetched"] <= sum(manifest.archive.size for manifest in manifests)


async def test_twenty_kills_lose_only_data_in_flight(
    published: Azurite, big_packs: Packs, packs: Packs, volume: Path
) -> None:
    """After each of 20 kills `current` is complete; then one run completes the install, and the trees are identical.

    All runs together transfer the archives and at most 64 MiB for each kill.
    """
    old = Site(volume, packs.environment)
    assert old.run().code == 0
    assert packs.differences(old, OLD_COMMON, OLD_DUTCH) == []
    absent: list[int] = []

    def look() -> None:
        if not (volume / "current/nl-nl/am").is_dir():
            absent.append(proxy.carried)

    async with FaultProxy(published.origin, on_piece=look) as proxy:
        url = proxy.url(published.container_url)
        site = Site(volume, {**big.environment(url, published.sas("rl")), "MODELS_LOG_FORMAT": "json"})
        for share in _shares():
            await _killed(site, proxy, share)
            assert _is_complete(site, packs, big_packs), f"current is not whole after a kill at {proxy.carried} bytes"
        done = await asyncio.to_thread(site.run, "--json")
        assert done.code == 0
        total = proxy.carried
    assert absent == []
    assert differences(big_packs, site) == ""
    archives = sum(big_packs.manifest(ref).archive.size for ref in (COMMON, DUTCH))
    assert archives <= total <= archives + _KILLS * _IN_FLIGHT


def _shares() -> list[float | None]:
    """Return for each run the share of the missing bytes after which to kill it; None: when a pack is complete."""
    chance = random.Random("twenty kills")
    return [min(2 * chance.random() / left, 0.99) for left in range(_KILLS - 2, 0, -1)] + [None, None]


async def _killed(site: Site, proxy: FaultProxy, share: float | None) -> None:
    """Start a run and kill it after a share of the missing bytes has arrived; None: when a pack is published."""
    with site.start("--json") as process:
        missing = await _wait_for_event(process, "fetching")
        if share is None:  # the previous run may have succeeded before its kill; then this one has nothing to do
            assert missing is not None or await asyncio.to_thread(process.wait) == 0
            await _wait_for_event(process, "published", "activated")
        else:
            assert missing is not None, "the process ended before fetching"
            await proxy.carries(int(share * missing))
        process.kill()
        await asyncio.to_thread(process.wait)


async def _wait_for_event(process: subprocess.Popen[str], *events: str) -> int | None:
    """Wait for one of these events; return its bytes, None if the process ends without it."""
    assert process.stderr
    while line := await asyncio.to_thread(process.stderr.readline):
        logged = json.loads(line)
        if logged["event"] in events:
            return int(logged.get("bytes", 0))
    return None


def _is_complete(site: Site, packs: Packs, big_packs: Packs) -> bool:
    """Return True if the active packs are the old or the new ones, as published."""
    if site.active("nl-nl").resolve().name == OLD_DUTCH.version:
        return packs.differences(site, OLD_COMMON, OLD_DUTCH) == []
    return big_packs.differences(site, COMMON, DUTCH) == []
