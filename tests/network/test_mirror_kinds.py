"""Mirrors of every kind, with and without signatures, in installs, checks, plans and repairs."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from models_init.formats.manifest import OpaqueArchive
from tests.archive.archives import SUFFIXES, packed, publish
from tests.bench.servers import nginx
from tests.cache import site_cache
from tests.preflight.check_result import check
from tests.registry.conftest import push_packs
from tests.services import free_port
from tests.services import registry as registries
from tests.services.faults import CorruptingCache, FlippedBit
from tests.services.faulty import FOREVER, FaultyServer
from tests.signing.vendor import KEY, OTHER, build_signed_packs
from tests.site import COMMON, DUTCH, NOWHERE, PREFIX, Packs, Site, archive_key, in_container, manifest_key

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.bench.servers import Nginx
    from tests.services.azurite import Azurite
    from tests.signing.vendor import SignedPacks
    from tests.site import Done

_CLOSED = "http://127.0.0.1:9"  # a port on which nothing listens


@pytest.fixture(scope="module")
def web_server(packs: Packs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """An nginx with the packs, as they are in a container, below `/models`."""
    directory = tmp_path_factory.mktemp("web")
    shutil.copytree(packs.directory, directory / "site/models" / PREFIX)
    with nginx(directory / "site", directory / "server") as running:
        yield running


@pytest.fixture
def web(web_server: Nginx) -> str:
    """The URL of that server as a mirror."""
    return f"{web_server.origin}/models"


@pytest.fixture
def site(container: Azurite, packs: Packs, tmp_path: Path) -> Site:
    """A site that installs from a container."""
    return Site(tmp_path / "models", in_container(packs, container.container_url, container.sas(expires_in=100 * 3600)))


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> SignedPacks:
    """Signed packs; tests must not change them."""
    return build_signed_packs(tmp_path_factory.mktemp("signed-mirrors"))


def _mirrored(done: Done, mirror: str) -> bool:
    """Return True if all bytes are from this mirror, and nothing was wrong with it."""
    assert done.code == 0, done.err
    assert "mirror_" not in done.err
    by_source = done.json["bytes_by_source"]
    return bool(by_source[mirror] == done.json["bytes_fetched"] > 0)


def _warning(done: Done, event: str = "mirror_dropped") -> str:
    """Return the only log line about a mirror."""
    (line,) = (line for line in done.err.splitlines() if f" {event} " in line)
    return line


# -- kinds of mirrors


def test_packs_are_fetched_from_web_server(site: Site, packs: Packs, web: str) -> None:
    done = site.run("--json", MODELS_MIRRORS=web)
    assert _mirrored(done, f"{web}/realtime/")
    assert packs.differences(site, COMMON, DUTCH) == []


def test_packs_are_fetched_from_directory_of_another_site(site: Site, packs: Packs) -> None:
    done = site.run("--json", MODELS_MIRRORS=str(packs.directory))
    assert _mirrored(done, packs.url)
    assert packs.differences(site, COMMON, DUTCH) == []
    assert (
        f"is current: 11.5 MiB fetched (11.5 MiB from {packs.url}, 0 B from http://127.0.0.1:"
        in site.but(MODELS_DIR=f"{site.volume}-2").run(MODELS_MIRRORS=packs.url).out
    )


def test_packs_are_fetched_from_registry(site: Site, packs: Packs, tmp_path: Path) -> None:
    """The registry is used without a user; the user in the settings is for MODELS_URL only."""
    (tmp_path / "registry").mkdir()
    with registries.serve(tmp_path / "registry") as registry:
        push_packs(registry, packs, COMMON, DUTCH)
        mirror = f"oci://{registry.host}/models"
        assert _mirrored(site.run("--json", MODELS_MIRRORS=mirror), mirror)
    assert packs.differences(site, COMMON, DUTCH) == []


def test_poisoned_slice_of_site_cache_is_replaced_by_one_run(site: Site, container: Azurite) -> None:
    """The wrong chunk is requested past the cache, so that the next site gets the right bytes from it."""
    with site_cache.serve(container.container_url, container.sas()) as cache:
        mirror = cache.url(container.container_url)
        one, two, three = (site.but(MODELS_DIR=f"{site.volume}-{number}") for number in range(3))
        assert _mirrored(one.run("--json", MODELS_MIRRORS=mirror), f"{mirror}/realtime/")
        largest = max(
            (path for path in cache.slices.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size
        )
        data = bytearray(largest.read_bytes())
        data[len(data) // 2] ^= 1
        largest.write_bytes(data)
        done = two.run("--json", MODELS_MIRRORS=mirror)
        assert "it sent a wrong chunk of" in _warning(done)
        assert _mirrored(three.run("--json", MODELS_MIRRORS=mirror), f"{mirror}/realtime/")
    assert done.code == 0


def test_next_mirror_replaces_one_that_fails(site: Site, web: str) -> None:
    done = site.run("--json", MODELS_MIRRORS=f"{_CLOSED}, {web}/, file:///nowhere")
    assert list(done.json["bytes_by_source"].values()) == [0, done.json["bytes_fetched"], 0, 0]
    assert f"mirror={_CLOSED}/realtime/ " in _warning(done)
    assert "127.0.0.1:9 cannot be reached: Connection refused" in _warning(done)


def test_proxy_of_environment_applies_to_mirrors(site: Site, web: str) -> None:
    proxy = {"HTTP_PROXY": _CLOSED, "MODELS_MIRRORS": web}
    origin = site.environment["MODELS_URL"].split("/")[2]
    assert "the proxy cannot be reached; check HTTP_PROXY" in _warning(site.run(**proxy, NO_PROXY=origin))
    other = site.but(MODELS_DIR=f"{site.volume}-2")
    assert _mirrored(other.run("--json", **proxy, NO_PROXY="127.0.0.1"), f"{web}/realtime/")


def test_rate_limit_applies_to_all_sources_together(site: Site, web: str) -> None:
    done = site.run("--json", MODELS_MIRRORS=web, MODELS_MAX_RATE="8MB")
    assert _mirrored(done, f"{web}/realtime/")
    assert done.json["seconds"] >= done.json["bytes_fetched"] / 8e6


async def test_empty_mirror_is_reported_once_for_each_pack(site: Site, packs: Packs) -> None:
    async with FaultyServer({}) as mirror:
        url = mirror.url
        done = await asyncio.to_thread(site.run, "--json", MODELS_MIRRORS=url)
    assert (done.code, done.json["bytes_by_source"][f"{url}/realtime/"]) == (0, 0)
    lines = [line for line in done.err.splitlines() if " mirror_lacks_pack " in line]
    assert sorted(line.split(" pack=")[1].split()[0] for line in lines) == ["common", "nl-nl"]
    assert packs.differences(site, COMMON, DUTCH) == []


async def test_shorter_archive_of_mirror_is_reported(site: Site, packs: Packs) -> None:
    objects = packs.objects()
    objects[archive_key(DUTCH)] = objects[archive_key(DUTCH)][:-1000]
    async with FaultyServer(objects) as mirror:
        url = mirror.url
        done = await asyncio.to_thread(site.run, "--json", MODELS_MIRRORS=url)
    assert "pack.tar.zst has " in _warning(done)
    assert packs.differences(site, COMMON, DUTCH) == []


@pytest.mark.parametrize("is_stubborn", [False, True], ids=["healing", "stubborn"])
async def test_wrong_chunk_is_requested_from_mirror_once_past_its_cache(
    site: Site, packs: Packs, *, is_stubborn: bool
) -> None:
    key, chunk = archive_key(DUTCH), next(iter(packs.manifest(DUTCH).placements())).chunk
    fault = CorruptingCache(at=chunk.offset + chunk.length // 2, stubborn=is_stubborn, on=key, times=FOREVER)
    async with FaultyServer(packs.objects(), [fault]) as mirror:
        url = mirror.url
        done = await asyncio.to_thread(site.run, "--json", MODELS_MIRRORS=url)
        past_caches = [seen.range for seen in mirror.seen if seen.headers.get("cache-control") == "no-cache"]
    assert past_caches == [(chunk.offset, chunk.offset + chunk.length)]
    assert "it sent a wrong chunk of nl-nl 2026.04" in _warning(done)
    assert packs.differences(site, COMMON, DUTCH) == []


async def test_wrong_opaque_archive_of_mirror_is_fetched_from_origin(tmp_path: Path, packs: Packs) -> None:
    """An opaque archive is verified as a whole, so all of it is fetched again."""
    own = Packs(tmp_path / "packs", packs.trees)
    for ref in (COMMON, DUTCH):
        tree = packs.trees[ref]
        size = sum(path.stat().st_size for path in tree.rglob("*") if path.is_file())
        publish(
            own.directory, SUFFIXES["tar.zst"](packed(tree)), ref, plain=OpaqueArchive(size, len([*tree.rglob("*")]))
        )
    site = Site(tmp_path / "models", own.environment)
    async with FaultyServer(own.objects(), [FlippedBit(at=1000, on=archive_key(DUTCH), times=FOREVER)]) as mirror:
        url = mirror.url
        done = await asyncio.to_thread(site.run, "--json", MODELS_MIRRORS=url)
    assert done.code == 0, done.err
    assert "it sent wrong bytes of nl-nl 2026.04: the SHA-256 of the archive pack.tar.zst is wrong" in _warning(done)
    assert done.json["bytes_by_source"][own.url] == own.manifest(DUTCH).archive.size
    assert own.differences(site, COMMON, DUTCH) == []


def test_damaged_chunk_is_repaired_from_mirror(site: Site, packs: Packs, web: str) -> None:
    assert site.run().code == 0
    file = max(packs.manifest(DUTCH).files, key=lambda file: file.size)
    (site.active("nl-nl") / file.path).write_bytes(b"damaged")
    done = site.run("--repair", "--json", MODELS_MIRRORS=web)
    assert done.json["bytes_by_source"][f"{web}/realtime/"] == done.json["bytes_fetched"] > 0
    assert packs.differences(site, COMMON, DUTCH) == []


async def test_bundle_is_made_from_mirror(site: Site, packs: Packs, tmp_path: Path) -> None:
    """`models-pack bundle` follows the same rules."""
    bundle = tmp_path / "site.tar"
    command = [sys.executable, "-m", "models_init.publish", "bundle", "--out", str(bundle)]
    async with FaultyServer(packs.objects()) as mirror:
        environment = {**os.environ, **site.environment, "MODELS_MIRRORS": mirror.url}
        made = await asyncio.to_thread(subprocess.run, command, env=environment, capture_output=True, check=False)
        assert {seen.key for seen in mirror.seen} == {archive_key(COMMON), archive_key(DUTCH)}
    assert made.returncode == 0, made.stderr
    assert site.run(MODELS_URL=str(bundle)).code == 0
    assert packs.differences(site, COMMON, DUTCH) == []


def test_mirror_is_not_contacted_if_there_is_nothing_to_do(site: Site) -> None:
    assert site.run().code == 0
    done = site.run(MODELS_MIRRORS=NOWHERE)
    assert (done.code, done.err) == (0, "")


# -- manifests


async def test_manifest_of_mirror_is_not_read_without_public_key(site: Site, packs: Packs) -> None:
    objects = {key: data if key.endswith(".zst") else b"forged" for key, data in packs.objects().items()}
    async with FaultyServer(objects) as mirror:
        url = mirror.url
        done = await asyncio.to_thread(site.run, "--json", MODELS_MIRRORS=url)
        assert {seen.key for seen in mirror.seen} == {archive_key(COMMON), archive_key(DUTCH)}
        refused = await asyncio.to_thread(
            site.but(MODELS_DIR=f"{site.volume}-2", MODELS_URL=f"{_CLOSED}/models").run,
            MODELS_RETRY_SECONDS="1",
            MODELS_MIRRORS=url,
        )
    assert _mirrored(done, f"{url}/realtime/")
    assert (refused.code, "127.0.0.1:9 cannot be reached" in refused.fault) == (20, True)


def _signed_objects(signed: SignedPacks) -> dict[str, bytes]:
    return Packs(signed.directory, {}).objects()


async def test_signed_packs_are_installed_from_mirrors_alone(signed: SignedPacks, tmp_path: Path) -> None:
    """The origin is not contacted and no token is needed: neither for the install, nor for the check and the plan."""
    site = signed.site(tmp_path / "models", KEY).but(MODELS_URL=NOWHERE)
    async with FaultyServer(_signed_objects(signed)) as mirror:
        url = mirror.url
        mirrored = site.but(MODELS_MIRRORS=url)
        checked = await asyncio.to_thread(check, mirrored)
        planned = await asyncio.to_thread(mirrored.run, "--plan", "--json")
        done = await asyncio.to_thread(mirrored.run, "--json")
    assert (checked.code, checked.named("failed")) == (0, [])
    assert checked.named("warning") == ["source", "token"]
    assert checked.text("source").startswith("not needed, because the mirrors have all packs, but ")
    assert planned.json["mirrors"] == [f"{url}/realtime/"]
    assert _mirrored(done, f"{url}/realtime/")
    assert "signed" in done.steps


@pytest.mark.parametrize("forgery", ["changed", "signed by another key", "unsigned", "of another version"])
async def test_forged_manifest_of_mirror_is_rejected(forgery: str, signed: SignedPacks, tmp_path: Path) -> None:
    """The mirror is given up, and the pack is installed from the origin; without the origin nothing is installed."""
    objects, key = _signed_objects(signed), manifest_key(DUTCH)
    words = {
        "changed": "does not match the manifest",
        "signed by another key": "which is not trusted here",
        "unsigned": "cannot be used",
        "of another version": "is not for nl-nl 2026.04",
    }
    match forgery:
        case "changed":
            objects[key] = objects[key].replace(b'"size"', b'"size" ', 1)
        case "signed by another key":
            objects[f"{key}.minisig"] = OTHER.sign(DUTCH, objects[key]).encoded("")
        case "unsigned":
            objects[f"{key}.minisig"] = b"nothing"
        case _:
            newer = key.replace("2026.04", "2026.07")
            objects |= {key: objects[newer], f"{key}.minisig": objects[f"{newer}.minisig"]}
    site = signed.site(tmp_path / "models", KEY)
    async with FaultyServer(objects) as mirror:
        url = mirror.url
        alone = await asyncio.to_thread(site.run, MODELS_MIRRORS=url, MODELS_URL="file:///nowhere")
        assert alone.code != 0
        assert not (site.volume / "current").exists()
        done = await asyncio.to_thread(site.run, "--json", MODELS_MIRRORS=url)
    assert done.code == 0, done.err
    assert words[forgery] in _warning(done)
    assert done.json["packs"] == {"common": "2026.04", "nl-nl": "2026.04"}


# -- checks and plans


def test_check_reports_each_mirror(site: Site, packs: Packs, web: str, tmp_path: Path) -> None:
    """A mirror that has everything is ok; one that fails, or lacks a pack, is a warning, and the exit code stays 0."""
    shutil.copytree(packs.directory / COMMON.name, tmp_path / "part" / COMMON.name)
    found = check(site, MODELS_MIRRORS=f"{web} {_CLOSED} {tmp_path / 'part'}")
    assert (found.code, found.named("failed")) == (0, [])
    assert found.named("warning") == ["mirror 2", "mirror 3"]
    assert found.text("mirror 1") == (
        f"{web}/realtime/: reached, directly, without encryption, has common 2026.04, nl-nl 2026.04"
    )
    assert found.text("mirror 2") == (
        f"{_CLOSED}/realtime/: 127.0.0.1:9 cannot be reached: Connection refused; check the network; an install would "
        "continue without this mirror"
    )
    assert found.text("mirror 3").endswith("lacks nl-nl 2026.04, which would be fetched from the next source")
    assert found.states["rate"] == "ok"


def test_check_fails_without_origin_if_manifests_are_not_signed(site: Site, web: str) -> None:
    found = check(site, MODELS_MIRRORS=web, MODELS_URL=f"http://127.0.0.1:{free_port()}/models")
    assert (found.code, found.named("failed")) == (20, ["source"])
    assert found.states["mirror"] == "ok"


def test_plan_lists_mirrors_and_does_not_contact_them(site: Site) -> None:
    done = site.run("--plan", MODELS_MIRRORS=f"{_CLOSED},file:///nowhere")
    assert (done.code, "mirror_" in done.err) == (0, False)
    assert done.out.splitlines()[:2] == [f"mirror   {_CLOSED}/realtime/", "mirror   file:///nowhere"]
