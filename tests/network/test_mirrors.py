"""Mirrors that work, fail, or send wrong bytes, in front of a real container."""

from __future__ import annotations

import asyncio
import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.network.cases import ARCHIVES
from tests.samples import MIB, Shape, write_tree
from tests.services.faultproxy import FaultProxy, ProxyFault
from tests.services.faulty import FaultyServer
from tests.services.proxyfaults import CATALOGUE
from tests.site import COMMON, DUTCH, Packs, Site, build_packs, stocked

if TYPE_CHECKING:
    from pathlib import Path

    from tests.services.azurite import Azurite
    from tests.services.faultproxy import Exchange
    from tests.services.faulty import Seen, Server, ServerConnection
    from tests.site import Done

_SIZE = 64 * MIB  # of the large archive, in eight ranges
_CHUNK = 256 << 10
_HEADS = 256 << 10  # maximum bytes of manifests and response heads
_MOST_WASTED = 0.05
_RATE = 6e6  # bytes per second on a connection to a mirror


@dataclass(frozen=True)
class MirroredPacks:
    """Packs in a real container."""

    packs: Packs
    container: Azurite

    @property
    def archives(self) -> int:
        """Total size in bytes of the archives that a site installs."""
        return sum(self.packs.manifest(ref).archive.size for ref in (COMMON, DUTCH))


@dataclass(frozen=True)
class Trial:
    """A run with mirrors: `carried` counts the bytes that all servers sent, `from_mirror` those of archives."""

    done: Done
    differences: list[str]
    mirror: Server
    name: str
    carried: int
    from_mirror: int

    @property
    def warnings(self) -> list[str]:
        """The log lines about mirrors."""
        return [line for line in self.done.err.splitlines() if " mirror_" in line]


@dataclass(frozen=True)
class MirrorCase:
    """A fault in every archive response of a mirror, and a pattern for the warning (none: the mirror stays in use)."""

    title: str
    fault: str
    value: str = ""
    words: str = ""
    event: str = "mirror_dropped"


_CASES = (
    MirrorCase("works", "latency", "0"),
    MirrorCase("flips a bit", "flip", "100000", "sent a wrong chunk of nl-nl 2026.04: "),
    MirrorCase("sends fewer bytes", "short", "300000", "announced 300000 bytes instead of"),
    MirrorCase("sends a shorter range", "short-range", "300000", "another range"),
    MirrorCase("sends the whole archive", "whole", "", "answered 200 instead of 206"),
    MirrorCase("sends a web page", "portal", "", "answered 200 instead of 206"),
    MirrorCase("stalls", "stall", "3000000", "did not answer in time"),
    MirrorCase("never answers", "hang", "", "did not answer in time"),
    MirrorCase("closes the connection", "hangup", "", "closed the connection before the end"),
    MirrorCase("breaks off each response", "reset", "3000000", "closed the connection before the end"),
    MirrorCase("is overloaded", "503", "1", "it is overloaded or down", "mirror_overloaded"),
    MirrorCase("demands a token", "403", "", "a mirror gets no token: allow anonymous access there"),
    MirrorCase("is not a web server", "garbage", "", "other than HTTP|before the end of its response"),
)


_SILENT = {"stall", "hang"}  # faults that end only after the idle limit


def _build(directory: Path, seed: str, size: int) -> Packs:
    shapes = {
        COMMON: Shape(texts=6, weights=(), dense=(100_000,)),
        DUTCH: Shape(texts=24, weights=(), dense=(size // 2, size - size // 2)),
    }
    trees = {ref: write_tree(directory / ref.name, shape, f"{seed} {ref.name}") for ref, shape in shapes.items()}
    return build_packs(directory, trees, level=1, chunk_size=_CHUNK)


@pytest.fixture(scope="module")
def published(azurite: Azurite, ground: Path) -> MirroredPacks:
    """Publish a pack of 64 MiB in a container."""
    packs = _build(ground / "mirrors", "mirrors", _SIZE)
    return MirroredPacks(packs, stocked(azurite, packs))


@pytest.fixture(scope="module")
def stale(ground: Path) -> Packs:
    """Build packs of other content under the same versions."""
    return _build(ground / "stale", "stale", _SIZE + MIB)


def _site(published: MirroredPacks, origin: FaultProxy, volume: Path, *mirrors: str, **variables: str) -> Site:
    usual = {
        "MODELS_URL": origin.url(published.container.container_url),
        "MODELS_SAS_TOKEN": published.container.sas(),
        "MODELS_MIRRORS": ",".join(mirrors),
    }
    return Site(volume, {**published.packs.environment, **usual, **variables})


def _proxied(published: MirroredPacks, case: MirrorCase) -> FaultProxy:
    """Return a mirror that adds its own token, like a site's cache, and has a fault.

    Its connections are limited to a rate; otherwise the loopback buffers would hold megabytes.
    """
    _, act = CATALOGUE[case.fault]

    async def at_rate(exchange: Exchange, value: str) -> None:
        exchange.line.rate = _RATE
        await act(exchange, value)

    broken = ProxyFault(case.fault, case.value, at_rate, on=f"*/nl-nl{ARCHIVES}")
    return FaultProxy(published.container.origin, broken, sign=published.container.sas(), seed=case.title)


async def _trial(published: MirroredPacks, mirror: FaultProxy, volume: Path, **variables: str) -> Trial:
    """Install with this mirror, and count the bytes."""
    async with FaultProxy(published.container.origin) as origin, mirror:
        url = mirror.url(published.container.container_url)
        site = _site(published, origin, volume, url, **variables)
        done = await asyncio.to_thread(site.run, "--json")
        differences = await asyncio.to_thread(published.packs.differences, site, COMMON, DUTCH)
        await asyncio.to_thread(shutil.rmtree, volume, ignore_errors=True)
    assert done.code == 0, done.err
    by_source = done.json["bytes_by_source"]
    assert sum(by_source.values()) == done.json["bytes_fetched"]
    name = f"{url}/realtime/"
    return Trial(done, differences, mirror, name, origin.carried + mirror.carried, by_source[name])


@pytest.fixture(scope="module")
def trials(published: MirroredPacks, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Trial]:
    """Run every case, several at a time, because they mostly wait; return results by title."""
    directory = tmp_path_factory.mktemp("mirrors")

    async def run_all() -> dict[str, Trial]:
        slots = asyncio.Semaphore(4)

        async def one(case: MirrorCase) -> Trial:
            async with slots:
                idle = "1" if case.fault in _SILENT else "30"
                return await _trial(
                    published, _proxied(published, case), directory / case.title, MODELS_IDLE_SECONDS=idle
                )

        done = await asyncio.gather(*map(one, _CASES))
        return {case.title: trial for case, trial in zip(_CASES, done, strict=True)}

    return asyncio.run(run_all())


@pytest.mark.parametrize("case", _CASES, ids=lambda case: case.title)
def test_install_succeeds_with_mirror_that(
    trials: dict[str, Trial], published: MirroredPacks, case: MirrorCase
) -> None:
    """The tree is the published one, at most 5 % of the bytes are wasted, and one line names the mirror and its fault.

    The token is never sent to the mirror, and without a public key no manifest is read from it.
    """
    trial = trials[case.title]
    if case.words:
        _assert_dropped(trial, published, case.words, case.event)
    else:
        assert (trial.warnings, trial.differences) == ([], [])
        assert trial.from_mirror == trial.done.json["bytes_fetched"]


def _assert_dropped(trial: Trial, published: MirroredPacks, words: str, event: str = "mirror_dropped") -> None:
    """Assert that a run gave its mirror up, reported it in one line, and installed everything from the origin."""
    assert trial.differences == []
    assert trial.carried <= (1 + _MOST_WASTED) * published.archives + _HEADS
    assert not any(seen.signed for seen in trial.mirror.seen)
    assert not any(seen.path.endswith(".json") for seen in trial.mirror.seen)
    (line,) = trial.warnings
    assert f" {event} mirror={trial.name} " in line
    assert re.search(words, line), line


async def test_install_succeeds_with_mirror_that_dies_during_the_run(published: MirroredPacks, volume: Path) -> None:
    """The mirror closes its connections after 24 MiB and refuses new ones; the rest comes from the origin."""

    class DyingMirror(FaultProxy):
        async def answer(self, seen: Seen, line: ServerConnection) -> None:
            line.rate = _RATE
            await super().answer(seen, line)

        async def count(self, size: int) -> None:
            await super().count(size)
            if self.carried > 24 * MIB and self._server.is_serving():
                self._server.close()
                for line in self._lines.values():
                    line.close()

    mirror = DyingMirror(published.container.origin, sign=published.container.sas())
    trial = await _trial(published, mirror, volume)
    _assert_dropped(trial, published, "closed the connection before the end|cannot be reached")
    assert 16 * MIB < trial.from_mirror < 32 * MIB


async def test_install_succeeds_with_mirror_that_has_other_packs_of_the_version(
    published: MirroredPacks, stale: Packs, volume: Path
) -> None:
    """The manifests of the mirror, which match its archives, are not read, so every chunk from it is wrong."""
    async with FaultyServer(stale.objects()) as server:
        _, act = CATALOGUE["latency"]

        async def at_rate(exchange: Exchange, _value: str) -> None:
            exchange.line.rate = _RATE
            await act(exchange, "0")

        mirror = FaultProxy(server.origin, ProxyFault("rate", "", at_rate))
        place = urlsplit(published.container.container_url).path.removeprefix("/models").lstrip("/")
        server.objects = {f"{place}/{key}": data for key, data in server.objects.items()}
        trial = await _trial(published, mirror, volume)
    _assert_dropped(trial, published, "it sent a wrong chunk of")
