"""Install from a registry under bad conditions, and print the cost.

    python -m tests.registry.measure [DIRECTORY]     1 GiB in DIRECTORY; scripts/measure-registry calls it

The registry is docker-registry: once with HTTP Basic, and once behind the imitation of a cloud's registry, whose tokens
and signed URLs expire.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from models_init.core.events import NullObserver
from models_init.core.units import human_size
from models_init.formats.manifest import MIB
from models_init.publish.pack.version_directory import VersionDirectory
from models_init.publish.upload.registry import PushOptions, push_all
from models_init.sources.oci.credential_files import RegistryCredentials
from models_init.sources.oci.registry import RegistryAccess
from models_init.sources.wrappers.retry import Retrier, RetryPolicy
from tests import upgrades
from tests.eventually import eventually_sync
from tests.services import cloud_registry, registry
from tests.site import COMMON, DUTCH, NEWER, Packs, Site

if TYPE_CHECKING:
    from tests.services.cloud_registry import Cloud
    from tests.services.registry import Registry

_PREFIX = "models"


@dataclass(frozen=True)
class Conditions:
    """The conditions: lifetimes in seconds, the rate of the install in which they expire, and the number of kills."""

    token_seconds: float = 8.0
    link_seconds: float = 3.0
    rate: str = "40MB"
    kills: int = 20


@dataclass(frozen=True)
class InstallFigures:
    """The results of one install; `differences` are lines about files that are not as published.

    `failed` counts retries of ranges, `sent` the bytes of blobs that the data host sent.
    """

    differences: list[str]
    seconds: float
    failed: int
    fetched: int
    sent: int = 0
    tokens: int = 0
    links: int = 0
    dead_links: int = 0
    authorizations: int = 0


def publish(packs: Packs, host: str, password: str) -> None:
    """Publish all packs with models-pack's code."""
    user = RegistryCredentials(registry.USER, password)
    access = RegistryAccess(f"http://{host}", _PREFIX, lambda _: user)
    found = [VersionDirectory(packs.directory / ref.name / ref.version) for ref in packs.trees]
    asyncio.run(push_all(found, access, PushOptions(Retrier(RetryPolicy(attempts=1))), NullObserver()))


def with_basic(site: Site, packs: Packs, served: Registry) -> tuple[InstallFigures, float]:
    """Install and upgrade with HTTP Basic; return the figures, and the bytes of the upgrade over the ideal."""
    site = site.but(
        MODELS_URL=f"oci://{served.host}/{_PREFIX}",
        MODELS_REGISTRY_USERNAME=registry.USER,
        MODELS_REGISTRY_PASSWORD=served.password,
    )
    done = site.run("--json").json
    figures = InstallFigures(
        packs.differences(site, COMMON, DUTCH), done["seconds"], done["retries"], done["bytes_fetched"]
    )
    upgraded = upgrades.newer(site).run("--json").json["bytes_fetched"]
    figures.differences.extend(packs.differences(site, NEWER))
    return figures, upgraded / upgrades.ideal(packs.manifest(NEWER), upgrades.CHANGED)


def with_expiry(site: Site, packs: Packs, cloud: Cloud, rate: str) -> InstallFigures:
    """Install so slowly that tokens and signed URLs expire several times."""
    return _figures(_pulling(site, cloud).but(MODELS_MAX_RATE=rate), packs, cloud)


def with_kills(site: Site, packs: Packs, cloud: Cloud, kills: int) -> InstallFigures:
    """Kill the install repeatedly, evenly distributed over the archive, then let it finish."""
    before, size = cloud.counts["bytes"], packs.manifest(DUTCH).archive.size
    site = _pulling(site, cloud)
    for number in range(1, kills + 1):
        _kill(site, cloud, before + size * number // (kills + 1))
    return _figures(site, packs, cloud, before)


def _kill(site: Site, cloud: Cloud, enough: int) -> None:
    """Start an install, and kill it when the data host has sent that many bytes."""
    with cloud.paused(at=enough), site.start() as process:
        eventually_sync(lambda: process.poll() is not None or cloud.counts["bytes"] >= enough, "a part")
        assert process.poll() is None, "the install has ended before it was killed"
        process.kill()
        process.communicate()


def _pulling(site: Site, cloud: Cloud) -> Site:
    return site.but(
        MODELS_URL=f"oci://{cloud.host}/{_PREFIX}",
        MODELS_REGISTRY_USERNAME=cloud_registry.PULL,
        MODELS_REGISTRY_PASSWORD=cloud_registry.PASSWORD,
    )


def _figures(site: Site, packs: Packs, cloud: Cloud, before: int = 0) -> InstallFigures:
    done = site.run("--json").json
    counts = cloud.counts
    return InstallFigures(
        packs.differences(site, COMMON, DUTCH),
        done["seconds"],
        done["retries"],
        done["bytes_fetched"],
        counts["bytes"] - before,
        counts["tokens"],
        counts["blobs"],
        counts["dead links"],
        counts["authorization at the data host"],
    )


def main() -> None:
    """Measure with a pack of 1 GiB."""
    conditions = Conditions()
    with tempfile.TemporaryDirectory(prefix="measure-", dir=sys.argv[1] if len(sys.argv) > 1 else None) as name:
        directory = Path(name)
        packs = upgrades.build(directory, 103 * MIB)
        for part in ("basic", "open"):
            (directory / part).mkdir()
        with registry.serve(directory / "basic", password=True) as served:
            publish(packs, served.host, served.password)
            figures, ratio = with_basic(Site(directory / "one", packs.environment), packs, served)
        _print("Basic", figures)
        sys.stdout.write(f"upgrade, one file of ten changed: {ratio:.4f} of the changed file's chunks\n")
        shutil.rmtree(directory / "one")
        shutil.copytree(directory / "basic/data", directory / "open/data")
        with registry.serve(directory / "open") as served:
            serve = partial(
                cloud_registry.serve,
                served,
                token_seconds=conditions.token_seconds,
                link_seconds=conditions.link_seconds,
            )
            with serve() as cloud:
                figures = with_expiry(Site(directory / "two", packs.environment), packs, cloud, conditions.rate)
            _print(f"tokens of {conditions.token_seconds:g} s, links of {conditions.link_seconds:g} s", figures)
            shutil.rmtree(directory / "two")
            with serve() as cloud:
                figures = with_kills(Site(directory / "three", packs.environment), packs, cloud, conditions.kills)
            _print(f"the same with {conditions.kills} kills", figures)


def _print(name: str, figures: InstallFigures) -> None:
    result = "identical" if not figures.differences else f"DIFFERENT: {figures.differences[:3]}"
    line = f"{name}: {result}, {figures.failed} failed ranges, {human_size(figures.fetched)} in {figures.seconds:.1f} s"
    if figures.sent:
        line += (
            f"; the data host sent {human_size(figures.sent)}; {figures.tokens} tokens, {figures.links} links, "
            f"{figures.dead_links} requests with an expired link, {figures.authorizations} with a token"
        )
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    main()
