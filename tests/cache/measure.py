"""Measure what a site cache saves: bytes from the origin for many clients, cold, warm and for an upgrade.

    python -m tests.cache.measure [--clients 8,32] [--slices 1m] [--size MIB] [--upgrade few|file] [DIRECTORY]

Clients, cache and Azurite share the cores of this machine, so the seconds are not those of a site.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from models_init.core.units import human_size, human_time, table
from tests import samples, upgrades
from tests.cache import site_cache
from tests.cache.fleet import Fleet
from tests.samples import MIB, Shape
from tests.services import azurite
from tests.site import COMMON, DUTCH, NEWER, Packs, build_packs, stocked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cache.fleet import Round
    from tests.services.azurite import Azurite

_HEADER = ("CLIENTS", "THROUGH", "RUN", "ORIGIN", "REQUESTS", "ONE DIRECT", "ONE CACHED", "CLIENTS GOT", "SECONDS")


def main() -> None:
    """Measure in a temporary directory."""
    parser = argparse.ArgumentParser(description="Measure what a site cache saves.")
    parser.add_argument("--clients", default="8,32", help="numbers of clients")
    parser.add_argument("--slices", default="1m", help="sizes of a slice, as nginx writes them")
    parser.add_argument("--size", type=int, default=64, help="MiB of the language pack")
    parser.add_argument(
        "--upgrade", choices=("few", "file"), default="few", help="few changed chunks, or one changed file of ten"
    )
    parser.add_argument("directory", nargs="?", help="where to work")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="measure-", dir=options.directory) as name:
        few, size = options.upgrade == "few", options.size * MIB
        packs = build(Path(name, "vendor"), size) if few else upgrades.build(Path(name, "vendor"), size // 10)
        with azurite.serve(azurite.install()) as service:
            origin = stocked(service, packs)
            numbers = [int(text) for text in options.clients.split(",")]
            rows = list(_measure(Path(name), packs, origin, numbers, options.slices.split(",")))
    sys.stdout.write(f"{table(rows, _HEADER)}\n")


def build(directory: Path, size: int) -> Packs:
    """Build `COMMON`, and two versions of a language pack of `size` bytes: the newer one has few changes."""
    common = samples.write_tree(directory / "common", Shape.of_size(size // 4), "common")
    dutch, newer = (samples.write_tree(directory / name, Shape.of_size(size)) for name in ("dutch", "newer"))
    samples.upgrade(newer)
    return build_packs(directory, {COMMON: common, DUTCH: dutch, NEWER: newer}, level=1)


def _measure(
    directory: Path, packs: Packs, origin: Azurite, numbers: list[int], slices: list[str]
) -> Iterator[tuple[str, ...]]:
    direct = list(rounds(direct_fleet(directory, packs, origin, 1)))
    for number in numbers:
        if len(slices) == 1:
            yield from _rows(number, "nothing", rounds(direct_fleet(directory, packs, origin, number)), direct, direct)
        for size in slices:
            with site_cache.serve(origin.container_url, origin.sas(), CACHE_SLICE=size) as cache:
                one = list(rounds(cached_fleet(directory, packs, origin, cache, 1)))
            with site_cache.serve(origin.container_url, origin.sas(), CACHE_SLICE=size) as cache:
                fleet = cached_fleet(directory, packs, origin, cache, number)
                yield from _rows(number, f"slices of {size}", rounds(fleet), direct, one)


def direct_fleet(directory: Path, packs: Packs, origin: Azurite, size: int) -> Fleet:
    """Return clients that install from the container."""
    settings = {"MODELS_URL": origin.container_url, "MODELS_SAS_TOKEN": origin.sas()}
    return Fleet(directory / "sites", origin, {**packs.environment, **settings}, size)


def cached_fleet(directory: Path, packs: Packs, origin: Azurite, cache: site_cache.SiteCache, size: int) -> Fleet:
    """Return clients that install from the cache, without a token."""
    settings = {"MODELS_URL": cache.url(origin.container_url), "MODELS_ANONYMOUS": "yes"}
    return Fleet(directory / "sites", origin, {**packs.environment, **settings}, size)


def rounds(fleet: Fleet) -> Iterator[tuple[str, Round]]:
    """Run the clients: first install with a cold cache, with a warm one, and an upgrade of all of them."""
    fleet.forget()
    yield "cold", fleet.run()
    fleet.forget()
    yield "warm", fleet.run()
    yield "upgrade", fleet.run(REALTIME_LANGUAGE_VERSION=NEWER.version)
    fleet.forget()


def _rows(
    number: int,
    through: str,
    measured: Iterator[tuple[str, Round]],
    direct: list[tuple[str, Round]],
    one: list[tuple[str, Round]],
) -> Iterator[tuple[str, ...]]:
    for (name, found), (_, alone), (_, cached) in zip(measured, direct, one, strict=True):
        yield (
            str(number),
            through,
            name,
            human_size(found.origin_bytes),
            str(found.origin_requests),
            _ratio(found.origin_bytes, alone.origin_bytes),
            _ratio(found.origin_bytes, cached.origin_bytes),
            human_size(found.fetched),
            human_time(found.seconds),
        )


def _ratio(size: int, other: int) -> str:
    return f"{size / other:.2f}" if other else "-"


if __name__ == "__main__":
    main()
