"""Many clients behind one cache cost the origin as much as one client."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cache import site_cache
from tests.cache.measure import cached_fleet, direct_fleet, rounds

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cache.fleet import Round
    from tests.cache.site_cache import SiteCache
    from tests.services.azurite import Azurite
    from tests.site import Packs

_CLIENTS = 8


@pytest.fixture(scope="module")
def cache(origin: Azurite) -> Iterator[SiteCache]:
    """A cache with its own token."""
    with site_cache.serve(origin.container_url, origin.sas()) as cache:
        yield cache


@pytest.fixture(scope="module")
def alone(origin: Azurite, served: Packs, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Round]:
    """One client without a cache."""
    return dict(rounds(direct_fleet(tmp_path_factory.mktemp("alone"), served, origin, 1)))


@pytest.fixture(scope="module")
def through(
    origin: Azurite, served: Packs, cache: SiteCache, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Round]:
    """Eight clients behind the cache."""
    return dict(rounds(cached_fleet(tmp_path_factory.mktemp("fleet"), served, origin, cache, _CLIENTS)))


def test_first_install_costs_the_origin_as_much_as_one_client(
    alone: dict[str, Round], through: dict[str, Round]
) -> None:
    assert through["cold"].origin_bytes <= 1.02 * alone["cold"].origin_bytes
    assert through["cold"].fetched == _CLIENTS * alone["cold"].fetched


def test_warm_cache_fetches_no_content_from_the_origin(through: dict[str, Round]) -> None:
    """Manifests older than a minute are confirmed by the origin, without a body."""
    assert through["warm"].origin_bytes == 0
    assert through["warm"].origin_requests <= 2
    assert through["warm"].fetched == through["cold"].fetched


def test_upgrade_costs_the_origin_as_much_as_that_of_one_client(
    origin: Azurite,
    served: Packs,
    alone: dict[str, Round],
    through: dict[str, Round],
    tmp_path: Path,
) -> None:
    """The cache fetches whole slices: one client costs more than without a cache, but eight cost no more than one."""
    with site_cache.serve(origin.container_url, origin.sas()) as fresh:
        one = dict(rounds(cached_fleet(tmp_path, served, origin, fresh, 1)))
    assert through["upgrade"].origin_bytes <= 1.2 * one["upgrade"].origin_bytes
    assert through["upgrade"].origin_bytes < _CLIENTS / 2 * alone["upgrade"].origin_bytes
