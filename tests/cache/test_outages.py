"""Wrong bytes in the cache, an unreachable origin, a refused token, TLS, a full disk.

`site_cache.serve` checks after each test that no log has a token, because nginx logs it with each error of the origin.
"""

from __future__ import annotations

import asyncio
import http.client
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.cache import site_cache
from tests.cache.measure import cached_fleet
from tests.eventually import eventually
from tests.preflight.mounts import in_tmpfs
from tests.services.faultproxy import FaultProxy
from tests.site import COMMON, DUTCH, NEWER, manifest_key, stocked

if TYPE_CHECKING:
    from tests.cache.site_cache import SiteCache
    from tests.services.azurite import Azurite
    from tests.services.certificates import Certificates
    from tests.site import Packs

_MANIFESTS_STALE_SOON = {"proxy_cache_valid 200 60s;": "proxy_cache_valid 200 1s;"}


def damage(cache: SiteCache) -> None:
    """Flip a bit in a slice of the Dutch archive."""
    slices = [
        path
        for path in cache.slices.rglob("*")
        if path.is_file() and b"nl-nl/2026.04/pack.tar.zst" in path.read_bytes()
    ]
    path = max(slices, key=lambda path: path.stat().st_size)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    with path.open("r+b") as file:
        file.write(data)


def test_wrong_slice_is_replaced_for_everyone_by_one_run(tmp_path: Path, origin: Azurite, served: Packs) -> None:
    with site_cache.serve(origin.container_url, origin.sas()) as cache:
        fleet = cached_fleet(tmp_path, served, origin, cache, 1)
        fetched = fleet.run().fetched
        damage(cache)
        fleet.forget()
        repairing = fleet.run()
        assert served.differences(fleet.sites[0], COMMON, DUTCH) == []
        fleet.forget()
        after = fleet.run()
    assert repairing.origin_bytes > 0
    assert repairing.fetched > fetched
    assert (after.origin_bytes, after.fetched) == (0, fetched)


async def test_warm_cache_serves_installs_while_origin_is_down(tmp_path: Path, origin: Azurite, served: Packs) -> None:
    """Missing slices are reported as the origin's failure."""
    async with FaultProxy(origin.origin) as proxy:
        url = proxy.url(origin.container_url)
        with site_cache.serve(url, origin.sas(), changes=_MANIFESTS_STALE_SOON) as cache:
            fleet = cached_fleet(tmp_path, served, origin, cache, 1)
            await asyncio.to_thread(fleet.run)
            await proxy.__aexit__(None, None, None)
            await eventually(lambda: _is_stale(cache, origin), "a stale manifest")
            fleet.forget()
            again = await asyncio.to_thread(fleet.run)
            assert (again.results[0]["activated"], again.origin_requests) == (True, 0)
            assert served.differences(fleet.sites[0], COMMON, DUTCH) == []
            site = fleet.sites[0].but(MODELS_RETRY_SECONDS="1")
            missing = await asyncio.to_thread(site.run, REALTIME_LANGUAGE_VERSION=NEWER.version)
            assert "connect() failed" in cache.errors()
    assert missing.code == 20, missing.err
    assert "this site cache does not reach its origin; look into the cache's log" in missing.fault


def test_refused_token_of_the_cache_is_named(tmp_path: Path, origin: Azurite, served: Packs) -> None:
    with site_cache.serve(origin.container_url, origin.sas(expires_in=-60)) as cache:
        site = cached_fleet(tmp_path, served, origin, cache, 1).sites[0]
        for done in (site.run(), site.run("--check")):
            assert done.code == 22, done.err
            assert "the origin of the site cache" in done.err + done.out
            assert "put a valid SAS token into the token file of that cache" in done.err + done.out


def test_check_through_a_cache_needs_no_token_and_lists_versions(
    tmp_path: Path, origin: Azurite, served: Packs
) -> None:
    with site_cache.serve(origin.container_url, origin.sas()) as cache:
        site = cached_fleet(tmp_path, served, origin, cache, 1).sites[0]
        checked = site.run("--check")
        missing = site.run(REALTIME_LANGUAGE_VERSION="1999.01")
    assert checked.code == 0, checked.out
    assert "not needed" in checked.out
    assert "ready to install" in checked.out
    assert missing.code == 21
    assert "versions of nl-nl are: 2026.04, 2026.07" in missing.fault


@pytest.fixture(scope="module")
def tls_origin(azurite_tls: Azurite, served: Packs) -> Azurite:
    """Publish the packs in a container that is reached over TLS."""
    return stocked(azurite_tls, served)


def by_name(container: Azurite) -> str:
    """Return the URL with a name instead of an address, which nginx verifies."""
    return container.container_url.replace("127.0.0.1", "localhost")


def test_both_sides_use_tls_with_a_private_authority(
    tmp_path: Path, tls_origin: Azurite, served: Packs, certificates: Certificates
) -> None:
    with site_cache.serve(
        by_name(tls_origin),
        tls_origin.sas(protocol="https"),
        certificates=certificates,
        authorities=certificates.authority,
    ) as cache:
        fleet = cached_fleet(tmp_path, served, tls_origin, cache, 1)
        assert "certificate" in fleet.sites[0].run("--plan").fault
        done = fleet.run(MODELS_CA_FILE=str(certificates.authority))
        assert done.results[0]["activated"]
        assert served.differences(fleet.sites[0], COMMON, DUTCH) == []


def test_origin_with_untrusted_certificate_is_refused(tmp_path: Path, tls_origin: Azurite, served: Packs) -> None:
    with site_cache.serve(by_name(tls_origin), tls_origin.sas()) as cache:
        site = cached_fleet(tmp_path, served, tls_origin, cache, 1).sites[0]
        done = site.run(MODELS_RETRY_SECONDS="1")
        assert "upstream SSL certificate verify error" in cache.errors()
    assert done.code == 20
    assert "does not reach its origin" in done.fault


def test_full_disk_removes_old_slices(tmp_path: Path, origin: Azurite, served: Packs) -> None:
    """A file system that is smaller than the packs: the cache stays within its limits, and installs succeed."""
    disk = in_tmpfs(Path("{slices}"), "size=12m,uid=10001,mode=0700")
    token = origin.sas()
    with site_cache.serve(origin.container_url, token, within=disk, CACHE_SIZE="6m", CACHE_MIN_FREE="4m") as cache:
        fleet = cached_fleet(tmp_path, served, origin, cache, 2)
        assert [done.code for done in fleet.run(MODELS_RETRY_SECONDS="30").done] == [0, 0], cache.errors()
        assert served.differences(fleet.sites[0], COMMON, DUTCH) == []


def _is_stale(cache: SiteCache, origin: Azurite) -> bool:
    connection = http.client.HTTPConnection(urlsplit(cache.address).netloc)
    connection.request("GET", f"{urlsplit(cache.url(origin.container_url)).path}/{manifest_key(DUTCH)}")
    connection.getresponse().read()
    connection.close()
    return "STALE" in cache.accesses()


def test_clients_with_the_cache_as_mirror_use_the_origin_when_it_is_down(
    tmp_path: Path, origin: Azurite, served: Packs
) -> None:
    """While the cache runs, archives come only from it, although the client has a token."""
    with site_cache.serve(origin.container_url, origin.sas()) as cache:
        mirror = cache.url(origin.container_url)
        settings = {"MODELS_MIRRORS": mirror, "MODELS_ANONYMOUS": "", "MODELS_SAS_TOKEN": origin.sas()}
        fleet = cached_fleet(tmp_path, served, origin, cache, 1)
        site = fleet.sites[0].but(MODELS_URL=origin.container_url, **settings)
        through = site.run("--json")
        assert through.code == 0, through.err
    fleet.forget()
    without = site.run("--json")
    assert without.code == 0, without.err
    assert served.differences(site, COMMON, DUTCH) == []
    for done, used in ((through, mirror), (without, origin.container_url)):
        received = done.json["bytes_by_source"]
        assert {name for name, size in received.items() if size} == {f"{used}/realtime/"}
